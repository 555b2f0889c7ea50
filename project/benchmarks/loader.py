"""How many images a core prepares for training: our mapper beside the ordinary one."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path

import project
from project.benchmarks.machine import describe_machine
from project.benchmarks.plain_mapper import PlainMapper
from project.data.catalog import subset_dicts
from project.data.coco_file import read_coco_file
from project.data.loader import build_train_loader
from project.data.mapper import InstanceMapper
from project.data.subset import SplitSource, SubsetPlan, build_subset
from project.errors import UserError

import numpy as np
import torch
from detectron2.data import DatasetMapper, build_detection_train_loader
from detectron2.data import transforms as T

AUGMENTATIONS = {
    "640-800": lambda: [
        T.ResizeShortestEdge([640, 672, 704, 736, 768, 800], 1333, "choice"),
        T.RandomFlip(),
    ],
    "256x256": lambda: [T.Resize((256, 256)), T.RandomFlip()],
}
_ROOMY = 100_000  # MB: the cache holds every image


def measure_loader(
    coco: tuple[Path, Path] | None,
    work_dir: Path,
    *,
    num_images: int = 100,
    num_workers: Sequence[int] = (0, 2),
    rounds: int = 3,
) -> dict:
    """Images per second of the plain mapper, of ours, and of ours with cached pictures.

    Args:
        coco: annotation file and image folder; None takes the built-in scenes (256 pixels or so).
        work_dir: where the subset made from ``coco`` is kept.
        num_images: the first ones of the dataset.
        num_workers: for the figures through the whole loader.
        rounds: passes over the images; a mapper's figure is its best of them, in turn with the
            others, a loader's is over all of them.

    Returns:
        ``mappers``: one row for each size and mask format, on one core: images per second, ratios
        to the plain mapper, and the largest differences found between outputs: ``grey_levels`` (of
        255), ``mask_pixels`` (share of the pixels of all masks) and ``box_pixels``. ``loaders``:
        wall-clock, with and without loader processes: ours through `build_train_loader`, the others
        through Detectron2's `build_detection_train_loader`.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        records = _records(coco, work_dir)[:num_images]
        formats = ("bitmask", "polygon") if _all_polygons(records) else ("bitmask",)
        kinds = [(size, masks) for size in AUGMENTATIONS for masks in formats]
        mappers = [_mapper_row(records, *kind, rounds) for kind in kinds]
        loaders = [
            _loader_row(records, *kind, workers, rounds)
            for kind in kinds
            for workers in num_workers
        ]
    finally:
        torch.set_num_threads(threads)
    return {
        "machine": describe_machine(),
        "detectron2": project.detectron2_source(),
        "dataset": "scenes" if coco is None else "/".join(Path(coco[0]).parts[-2:]),
        "images": len(records),
        "objects_per_image": round(np.mean([len(r["annotations"]) for r in records]), 2),
        "mappers": mappers,
        "loaders": loaders,
    }


def _records(coco: tuple[Path, Path] | None, work_dir: Path) -> list[dict]:
    if coco is None:
        return list(subset_dicts("scenes", "train", work_dir, filter_empty=True))
    name = "loader_benchmark"
    names = tuple(category.name for category in read_coco_file(coco[0]).categories)
    plan = SubsetPlan(name, names, {"train": SplitSource(coco[1], coco[0])})
    build_subset(plan, work_dir, overwrite=True)
    return list(subset_dicts(name, "train", work_dir, filter_empty=True))


def _all_polygons(records: Sequence[dict]) -> bool:
    return all(
        isinstance(annotation["segmentation"], list)
        for record in records
        for annotation in record["annotations"]
        if not annotation["iscrowd"]
    )


def _mapper_row(records: list[dict], size: str, mask_format: str, rounds: int) -> dict:
    mappers = _mappers(size, mask_format)
    seconds = {name: float("inf") for name in mappers}
    for mapper in mappers.values():
        _seconds(mapper, records)  # imports, allocator and the cache
    for _ in range(rounds):
        for name, mapper in mappers.items():
            seconds[name] = min(seconds[name], _seconds(mapper, records))
    rates = {name: len(records) / value for name, value in seconds.items()}
    return {
        "size": size,
        "masks": mask_format,
        "images_per_second": {name: round(rate, 1) for name, rate in rates.items()},
        "ratio": {name: round(rate / rates["plain"], 2) for name, rate in rates.items()},
        **differences(mappers["plain"], mappers["ours, cached"], records),
    }


def _mappers(size: str, mask_format: str) -> dict[str, Callable[[dict], dict]]:
    def augmentations() -> list:
        return AUGMENTATIONS[size]()

    mappers = {
        "plain": PlainMapper(augmentations=augmentations(), mask_format=mask_format),
        "ours": InstanceMapper(True, augmentations=augmentations(), mask_format=mask_format),
        "ours, cached": InstanceMapper(
            True, augmentations=augmentations(), mask_format=mask_format, cache_mb=_ROOMY
        ),
    }
    if project.detectron2_source() == "installed":
        mappers["Detectron2"] = DatasetMapper(
            True,
            augmentations=augmentations(),
            image_format="BGR",
            use_instance_mask=True,
            instance_mask_format=mask_format,
            recompute_boxes=True,
        )
    return mappers


def _seconds(mapper: Callable[[dict], dict], records: Sequence[dict]) -> float:
    """Processor time of one pass: on one thread, what others run here doesn't count."""
    np.random.seed(0)
    started = time.process_time()
    for record in records:
        mapper(record)
    return time.process_time() - started


def differences(first: Callable, second: Callable, records: Sequence[dict]) -> dict[str, float]:
    """The largest differences between what two mappers make of ``records`` with one seed."""
    grey = box = 0.0
    wrong = total = 0
    for seed, record in enumerate(records):
        outputs = []
        for mapper in (first, second):
            np.random.seed(seed)
            outputs.append(mapper(record))
        (image, one), (other_image, other) = ((o["image"], o["instances"]) for o in outputs)
        if len(one) != len(other):
            raise UserError(f"{record['file_name']}: {len(one)} objects, and {len(other)}")
        grey = max(grey, (image.int() - other_image.int()).abs().max().item())
        if len(one):
            gaps = one.gt_boxes.tensor - other.gt_boxes.tensor
            box = max(box, gaps.abs().max().item())
        if hasattr(one.gt_masks, "tensor"):
            wrong += (one.gt_masks.tensor ^ other.gt_masks.tensor).sum().item()
            total += one.gt_masks.tensor.sum().item()
    return {"grey_levels": grey, "mask_pixels": wrong / max(total, 1), "box_pixels": box}


def _loader_row(
    records: list[dict], size: str, mask_format: str, num_workers: int, rounds: int
) -> dict:
    mappers = _mappers(size, mask_format)
    rates = {
        name: _loader_rate(
            build_train_loader if name.startswith("ours") else build_detection_train_loader,
            mapper,
            records,
            num_workers,
            rounds,
        )
        for name, mapper in mappers.items()
    }
    return {
        "size": size,
        "masks": mask_format,
        "workers": num_workers,
        "images_per_second": {name: round(rate, 1) for name, rate in rates.items()},
        "ratio": {name: round(rate / rates["plain"], 2) for name, rate in rates.items()},
    }


def _loader_rate(
    build_loader: Callable,
    mapper: Callable,
    records: list[dict],
    num_workers: int,
    rounds: int,
    batch: int = 4,
) -> float:
    """Images per second of wall-clock time in ``rounds`` passes over ``records``, after one."""
    loader = build_loader(records, mapper=mapper, total_batch_size=batch, num_workers=num_workers)
    batches = iter(loader)
    num_batches = max(len(records) // batch, 1)
    for _ in islice(batches, num_batches):
        pass
    started = time.perf_counter()
    for _ in islice(batches, rounds * num_batches):
        pass
    return rounds * num_batches * batch / (time.perf_counter() - started)
