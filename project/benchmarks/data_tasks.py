"""The single measurements of `project.benchmarks.data`: ``python -m`` this, a task, its arguments.

Prints one line of JSON with ``seconds`` of the work (imports apart), ``peak_mb`` of the process and
what the task found. Sizes in units of 2^20 bytes.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from project.benchmarks.coco_scale import CLASSES


def choose_with_ours(file: str) -> dict:
    """Annotations and images of each class, from the selection that subsets are made by."""
    from project.data.coco_file import read_coco_file
    from project.data.selection import select_labels

    started = time.perf_counter()
    labels = select_labels(read_coco_file(file), CLASSES)
    counts = {name: [0, 0] for name in CLASSES}
    for records in labels.annotations.values():
        present = [record["category_id"] for record in records]
        for category in present:
            counts[CLASSES[category - 1]][0] += 1
        for category in set(present):
            counts[CLASSES[category - 1]][1] += 1
    return {"seconds": time.perf_counter() - started, "counts": counts}


def choose_with_pycocotools(file: str) -> dict:
    """The same through the index of `pycocotools.coco.COCO`."""
    from contextlib import redirect_stdout

    from pycocotools.coco import COCO

    started = time.perf_counter()
    with redirect_stdout(sys.stderr):  # it reports its progress
        coco = COCO(file)
    counts = {}
    for name in CLASSES:
        annotations = coco.loadAnns(coco.getAnnIds(catIds=coco.getCatIds(catNms=[name])))
        counts[name] = [len(annotations), len({a["image_id"] for a in annotations})]
    return {"seconds": time.perf_counter() - started, "counts": counts}


def keep_flat(root: str, name: str) -> dict:
    """Dataset dicts in arrays, as the catalog loads them."""
    from project.data.catalog import subset_dicts

    started = time.perf_counter()
    records = subset_dicts(name, "train", root).records
    return {"seconds": time.perf_counter() - started, "size_mb": _mb(records.num_bytes)}


def keep_dicts(root: str, name: str) -> dict:
    """The same as Python objects, and those pickled by Detectron2's `DatasetFromList`."""
    import pickle

    from project.data.catalog import subset_dicts

    records = subset_dicts(name, "train", root).records
    before, started = _resident_bytes(), time.perf_counter()
    dicts = list(records)
    grown = _resident_bytes() - before
    pickled = sum(len(pickle.dumps(record, protocol=-1)) for record in dicts)
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "plain_mb": _mb(grown), "pickled_mb": _mb(pickled)}


def build_whole_subset(root: str, name: str) -> dict:
    """A subset of all classes and all images that show one, with its links written to disk."""
    from project.data.coco_file import read_coco_file
    from project.data.subset import SplitSource, SubsetPlan, build_subset

    folder = Path(root, name)
    file, images = folder / "annotations" / "train.json", folder / "images" / "train"
    labels = read_coco_file(file)
    for image in labels.images:
        (images / image.file_name).touch()  # a builder looks at no pixel
    classes = tuple(category.name for category in labels.categories)
    del labels
    plan = SubsetPlan(f"{name}_whole", classes, {"train": SplitSource(images, file)})
    started = time.perf_counter()
    manifest = build_subset(plan, root, overwrite=True)
    seconds = time.perf_counter() - started
    counts = manifest.splits["train"].class_counts.values()
    annotations = sum(count.annotations for count in counts)
    return {
        "seconds": seconds,
        "images": manifest.splits["train"].num_images,
        "annotations": annotations,
    }


def explore_labels(root: str, name: str) -> dict:
    """All statistics that need no pixel, and the tables of them; masks of one image only."""
    from project.data.exploration.explore import explore
    from project.data.exploration.files import write_numbers
    from project.data.exploration.fit import AnchorGrid, Detector, InputSize
    from project.data.exploration.labels import read_labels

    import numpy as np

    folder, strides = Path(root, name), (4, 8, 16, 32, 64)
    cells = [[[-s * a, -s / a, s * a, s / a] for a in (0.7, 1, 1.4)] for s in strides]
    grid = AnchorGrid(tuple(4 * np.array(cell) for cell in cells), strides)
    detector = Detector("benchmark", InputSize(800, 1333), grid, (2, 3, 4, 5))
    started = time.perf_counter()
    table = read_labels(folder / "annotations" / "train.json")
    found = explore(table, None, detector, limit=1, workers=1, progress=False)
    write_numbers(found, folder)
    return {"seconds": time.perf_counter() - started, "objects": len(found.objects.rows)}


TASKS: dict[str, Callable[..., dict]] = {
    "ours": choose_with_ours,
    "pycocotools": choose_with_pycocotools,
    "flat": keep_flat,
    "dicts": keep_dicts,
    "build": build_whole_subset,
    "explore": explore_labels,
}


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def _mb(num_bytes: int) -> int:
    return round(num_bytes / 2**20)


def main(argv: Sequence[str]) -> int:
    found = TASKS[argv[0]](*argv[1:])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # kibibytes on Linux
    found["seconds"] = round(found["seconds"], 4)
    print(json.dumps({**found, "peak_mb": _mb(peak)}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
