"""The records of one or several registered datasets, checked and filtered for training.

Follows the API of ``detectron2.data.build.get_detection_dataset_dicts``. Keypoint counts and
precomputed proposals, which nothing else here reads, are refused instead of ignored.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterable, Sequence

import numpy as np

from .catalog import DatasetCatalog, MetadataCatalog

__all__ = ["get_detection_dataset_dicts"]

logger = logging.getLogger(__name__)


def get_detection_dataset_dicts(
    names: str | Sequence[str],
    filter_empty: bool = True,
    min_keypoints: int = 0,
    proposal_files: Sequence[str] | None = None,
    check_consistency: bool = True,
) -> list[dict]:
    """The records of all ``names`` behind each other.

    Args:
        names: one dataset name, or several.
        filter_empty: leave out images without an annotation that isn't a crowd. Does nothing if the
            first record has no ``annotations`` (a dataset without instance labels).
        min_keypoints: also leave out images with fewer visible keypoints on their non-crowd
            instances; 0 asks for none.
        proposal_files: not supported; must be None.
        check_consistency: check, and log, classes: category ids lie in ``[0, K)``, and all datasets
            have the same ``thing_classes``.

    Raises:
        KeyError: if a name isn't registered.
        AssertionError: if there are no names, a dataset is empty, a category id is out of range,
            or nothing is left after filtering.
        ValueError: if ``thing_classes`` differ between the datasets.
        NotImplementedError: if ``proposal_files`` is given.
    """
    if proposal_files is not None:
        raise NotImplementedError(
            "Precomputed proposals are not supported; leave proposal_files out"
        )
    names = [names] if isinstance(names, str) else list(names)
    assert names, "No dataset names were given"
    datasets = [DatasetCatalog.get(name) for name in names]
    for name, records in zip(names, datasets, strict=True):
        assert len(records), f"Dataset {name!r} is empty"
    records = list(itertools.chain.from_iterable(datasets))
    labelled = "annotations" in records[0]
    if labelled and filter_empty:
        records = _with_instances(records)
    if labelled and min_keypoints > 0:
        records = _with_keypoints(records, min_keypoints)
    if labelled and check_consistency:
        _check_classes(names, records)
    assert records, f"No usable image in {', '.join(names)}: filtering left nothing"
    return records


def _instances(record: dict) -> list[dict]:
    """The annotations of ``record`` that single out one object each."""
    return [anno for anno in record["annotations"] if anno.get("iscrowd", 0) == 0]


def _with_instances(records: list[dict]) -> list[dict]:
    kept = [record for record in records if _instances(record)]
    logger.info(
        "Removed %d images without usable annotations; %d are left",
        len(records) - len(kept),
        len(kept),
    )
    return kept


def _with_keypoints(records: list[dict], at_least: int) -> list[dict]:
    def visible(record: dict) -> int:
        keypoints = [
            np.asarray(a["keypoints"])[2::3] for a in _instances(record) if "keypoints" in a
        ]
        return sum(int((visibility > 0).sum()) for visibility in keypoints)

    kept = [record for record in records if visible(record) >= at_least]
    logger.info("Removed %d images with too few keypoints", len(records) - len(kept))
    return kept


def _check_classes(names: Sequence[str], records: Iterable[dict]) -> None:
    """Class names agree between the datasets and cover the category ids of ``records``."""
    classes = [MetadataCatalog.get(name).get("thing_classes") for name in names]
    for name, other in zip(names[1:], classes[1:], strict=True):
        if other != classes[0]:
            raise ValueError(
                f"Datasets {names[0]!r} and {name!r} have different thing_classes: "
                f"{classes[0]} and {other}"
            )
    if classes[0] is not None:
        _log_histogram(list(classes[0]), records)


def _log_histogram(classes: list[str], records: Iterable[dict]) -> None:
    ids = np.array(
        [anno["category_id"] for record in records for anno in _instances(record)], dtype=np.int64
    )
    if ids.size:
        assert ids.min() >= 0, f"Category id {ids.min()} is negative"
        assert ids.max() < len(classes), (
            f"Category id {ids.max()} has no name: there are {len(classes)} classes"
        )
    counts = np.bincount(ids, minlength=len(classes)).tolist()
    rows = [*zip(classes, counts, strict=True), ("total", ids.size)]
    width = max(len(name) for name, _ in rows)
    lines = [f"{name:>{width}}  {count}" for name, count in rows]
    logger.info("Instances of each class (crowds left out):\n%s", "\n".join(lines))
