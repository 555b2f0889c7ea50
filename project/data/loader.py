"""The training loader: which images, in which batches, augmented how follows from one seed.

Each draw has a position in the stream of the sampler; numpy's generator is seeded with it around
the mapper. So a batch is the same with any number of loader processes, and a run that goes on at
position ``start`` sees what the unbroken run sees, augmentations included.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from project.data.broken_images import BrokenImages, OrNext
from project.data.records import flat_records
from project.data.sampler import Scheme, WeightedSampler, sampling_report
from project.data.statistics import ClassStatistics, class_statistics
from project.errors import UserError, from_worker

import numpy as np
from detectron2.data import DatasetFromList, build_detection_train_loader
from detectron2.utils import comm
from torch.utils.data import Dataset, Sampler


class Draw(NamedTuple):
    """One draw of the whole stream, all ranks together."""

    index: int
    position: int


class TrainLoader:
    """Iterates over lists of mapped dicts for ever; what it draws can be told.

    Attributes:
        sampler: the `WeightedSampler` behind the batches (equal weights without a scheme).
        statistics: `ClassStatistics` of the dataset.
        broken_images: what this rank skipped so far, in ``counts``.
    """

    def __init__(
        self, batches: Iterable[list[dict]], sampler: WeightedSampler, statistics: ClassStatistics
    ) -> None:
        self._batches, self.sampler, self.statistics = batches, sampler, statistics
        self.broken_images = BrokenImages()

    def __iter__(self) -> Iterator[list[dict]]:
        try:
            for batch in self._batches:
                self.broken_images.take(batch)
                yield batch
        except UserError as error:
            raise from_worker(error) from None

    def sampling_report(self, num_drawn: int = 0) -> dict:
        """What each class will get and, after ``num_drawn`` samples of the run, what it got.

        ``num_drawn`` counts the samples of all ranks from the first iteration on, that is
        iterations times total batch size, also in a resumed run. See
        `project.data.sampler.sampling_report`. Exact without aspect-ratio grouping; with it, up to
        two batches of each rank are still being filled.
        """
        drawn = self.sampler.draws(num_drawn) if num_drawn else None
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
        mapper: dataset dict → model input.
        sampling: a scheme of `project.data.sampler`; None draws every image equally often.
        num_workers: loader processes of each rank; 0 loads in this one.
        seed: decides all draws and augmentations.
        aspect_ratio_grouping: batches hold either wide or high images, so less is padded; useless
            where the mapper makes all images the same size.
        start: samples of the run (all ranks) that are behind us: iterations times
            ``total_batch_size``.
        on_broken_image: what becomes of an image that is missing, damaged or of the wrong size:
            "skip" names it in the log, counts it and takes the next one of the dataset in its
            place; "fatal" ends the run.

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
    sampler = WeightedSampler(weights, seed, start=0 if aspect_ratio_grouping else start)
    batch_size = total_batch_size // world_size
    if aspect_ratio_grouping:
        wide = _wide(dataset)
        draws = _GroupedDraws(sampler, wide, batch_size, skip=start // total_batch_size)
    else:
        draws = _Draws(sampler)
    batches = build_detection_train_loader(
        _MappedDraws(dataset, mapper, seed, on_broken_image),
        mapper=None,
        sampler=draws,
        total_batch_size=total_batch_size,
        aspect_ratio_grouping=False,
        num_workers=num_workers,
    )
    return TrainLoader(batches, sampler, statistics)


def _wide(dataset: Sequence[dict]) -> Sequence[bool]:
    """Whether each image is wider than high."""
    if flat := flat_records(dataset):
        height, width = flat.sizes.T
        return (width > height).tolist()
    return [record["width"] > record["height"] for record in dataset]


class _Draws(Sampler[Draw]):
    """This rank's draws with their positions."""

    def __init__(self, sampler: WeightedSampler) -> None:
        self._sampler = sampler

    def __iter__(self) -> Iterator[Draw]:
        position = self._sampler.start + self._sampler.rank
        for index in self._sampler:
            yield Draw(index, position)
            position += self._sampler.world_size


class _GroupedDraws(Sampler[Draw]):
    """This rank's draws, reordered so that each ``batch_size`` of them share an orientation.

    A draw waits until its orientation has a full batch. Resuming plays the stream again from its
    beginning without reading images (half a second for a million draws), since what was waiting
    must be known.
    """

    def __init__(
        self, sampler: WeightedSampler, wide: Sequence[bool], batch_size: int, *, skip: int
    ) -> None:
        self._draws = _Draws(sampler)
        self._wide, self._batch_size, self._skip = wide, batch_size, skip

    def __iter__(self) -> Iterator[Draw]:
        waiting: tuple[list[Draw], list[Draw]] = ([], [])
        behind = 0
        for draw in self._draws:
            group = waiting[self._wide[draw.index]]
            group.append(draw)
            if len(group) == self._batch_size:
                if behind >= self._skip:
                    yield from group
                behind += 1
                group.clear()


class _MappedDraws(Dataset):
    """Maps a `Draw` to a model input; the mapper's randomness follows from seed and position."""

    def __init__(
        self, dataset: Sequence[dict], mapper: Callable, seed: int, on_broken_image: str
    ) -> None:
        # Flat arrays or one byte buffer: loader processes share both instead of copying Python
        # objects page by page.
        self._records = flat_records(dataset) or DatasetFromList(list(dataset), copy=False)
        self._mapped = OrNext(self._records, mapper, on_broken_image)
        self._seed = seed

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, draw: Draw) -> dict:
        before = np.random.get_state()
        np.random.seed(np.random.SeedSequence([self._seed, draw.position]).generate_state(4))
        try:
            return self._mapped(draw.index)
        finally:
            np.random.set_state(before)
