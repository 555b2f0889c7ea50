"""The training loader: which images, in which batches, augmented how follows from one seed.

Each sample has a position in the run, from which its image and its augmentation follow. So a batch
is the same with any number of loader processes and of ranks, and a run that goes on at position
``start`` sees what the unbroken run sees.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from project.data.broken_images import BrokenImages, OrNext
from project.data.records import flat_records
from project.data.sample_order import Draw, RankDraws, SampleOrder
from project.data.sampler import Scheme, WeightedSampler, sampling_report
from project.data.seeding import sample_randomness
from project.data.statistics import ClassStatistics, class_statistics
from project.data.transport import Packed, pack, unpack
from project.errors import UserError, from_worker

import numpy as np
from detectron2.data import DatasetFromList, build_detection_train_loader
from detectron2.utils import comm
from torch.utils.data import Dataset


class TrainLoader:
    """Iterates over lists of mapped dicts for ever; what it draws can be told.

    Attributes:
        sampler: the `WeightedSampler` behind the batches (equal weights without a scheme).
        statistics: `ClassStatistics` of the dataset.
        broken_images: what this rank skipped so far, in ``counts``.
    """

    def __init__(
        self,
        batches: Iterable[list[dict] | Packed],
        order: SampleOrder,
        statistics: ClassStatistics,
    ) -> None:
        self._batches, self._order, self.statistics = batches, order, statistics
        self.sampler = order.sampler
        self.broken_images = BrokenImages()

    def __iter__(self) -> Iterator[list[dict]]:
        try:
            for received in self._batches:
                batch = unpack(received) if isinstance(received, Packed) else received
                self.broken_images.take(batch)
                yield batch
        except UserError as error:
            mistake = from_worker(error)
            if mistake is not error:
                # Its frames hold torch's iterator, which waits five seconds for its processes where
                # it is found among circular garbage.
                error.with_traceback(None)
            raise mistake from None

    def order_digest(self) -> str:
        """16 hexadecimal digits that change with the sampling weights and the grouping."""
        return self._order.digest()

    def sampling_report(self, num_drawn: int = 0) -> dict:
        """What each class will get and, after ``num_drawn`` samples of the run, what it got.

        ``num_drawn`` counts the samples of all ranks from the first iteration on, that is
        iterations times total batch size, also in a resumed run. An image that was broken counts,
        not the one in its place. See `project.data.sampler.sampling_report`.
        """
        drawn = self._order.counts(num_drawn) if num_drawn else None
        return sampling_report(self.statistics, self.sampler.weights, drawn)


def build_train_loader(
    dataset: Sequence[dict],
    *,
    mapper: Callable[[dict], dict],
    sampling: Scheme | None = None,
    total_batch_size: int,
    num_workers: int = 0,
    seed: int = 0,
    aspect_ratio_grouping: bool = True,
    start: int = 0,
    on_broken_image: str = "skip",
) -> TrainLoader:
    """An endless loader of training batches of ``total_batch_size`` images over all ranks.

    Args:
        dataset: dataset dicts, e.g. of `project.data.catalog.subset_dicts`.
        mapper: dataset dict → model input. The dict has one key more, ``position``: the sample's
            place in the run, all ranks together, from 0 on. The model's input has it too. What is
            drawn from NumPy's global generator follows from seed and position. A method
            ``bind(records, statistics)``, if there is one, is called with the dataset first.
        sampling: a scheme of `project.data.sampler`; None draws every image equally often.
        num_workers: loader processes of each rank; 0 loads in this one.
        seed: decides all draws and augmentations.
        aspect_ratio_grouping: batches hold either wide or high images, so less is padded; useless
            where the mapper makes all images the same size. One batch in
            `project.data.sample_order.BLOCK` may be mixed.
        start: samples of the run (all ranks) that are behind us: iterations times
            ``total_batch_size``. This is all that a run has to remember, and it costs the same
            however large it is.
        on_broken_image: what becomes of an image that is missing, damaged or of the wrong size, or
            that the mapper makes None of: "skip" names it in the log, counts it and takes the next
            one of the dataset in its place; "fatal" ends the run.

    Raises:
        UserError: if the batch doesn't split over the ranks, ``start`` isn't whole batches, or the
            scheme doesn't fit the dataset.
    """
    world_size = comm.get_world_size()
    if total_batch_size < 1 or total_batch_size % world_size:
        raise UserError(
            f"total_batch_size={total_batch_size} must be a multiple of {world_size} process(es)"
        )
    if start % total_batch_size:
        raise UserError(f"start={start} must be whole batches of {total_batch_size} samples")
    if seed < 0:
        raise UserError(f"the loader's seed must be at least 0, got {seed}")
    if not len(dataset):
        raise UserError("the training dataset has no images")
    statistics = class_statistics(dataset)
    weights = np.ones(len(dataset)) if sampling is None else sampling(statistics)
    sampler = WeightedSampler(weights, seed, rank=0, world_size=1)  # ranks share out batches later
    wide = _wide(dataset) if aspect_ratio_grouping else None
    order = SampleOrder(sampler, total_batch_size, wide)
    # Flat arrays or one byte buffer: loader processes share both instead of copying Python objects
    # page by page.
    records = flat_records(dataset) or DatasetFromList(list(dataset), copy=False)
    if hasattr(mapper, "bind"):
        mapper.bind(records, statistics)
    batches = build_detection_train_loader(
        _MappedDraws(records, mapper, seed, on_broken_image),
        mapper=None,
        sampler=RankDraws(order, start),
        total_batch_size=total_batch_size,
        aspect_ratio_grouping=False,
        num_workers=num_workers,
        collate_fn=pack if num_workers else None,
    )
    return TrainLoader(batches, order, statistics)


def _wide(dataset: Sequence[dict]) -> np.ndarray:
    """bool [N]: whether each image is wider than high."""
    if flat := flat_records(dataset):
        height, width = flat.sizes.T
        return width > height
    return np.array([record["width"] > record["height"] for record in dataset])


class _MappedDraws(Dataset):
    """Maps a `Draw` to a model input; the mapper's randomness follows from seed and position."""

    def __init__(
        self, records: Sequence[dict], mapper: Callable, seed: int, on_broken_image: str
    ) -> None:
        self._num_records = len(records)
        self._mapped = OrNext(records, mapper, on_broken_image)
        self._seed = seed

    def __len__(self) -> int:
        return self._num_records

    def __getitem__(self, draw: Draw) -> dict:
        with sample_randomness(self._seed, draw.position):
            return self._mapped(draw.index, draw.position)
