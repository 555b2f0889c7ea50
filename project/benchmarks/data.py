"""COCO-scale annotations: choosing classes and keeping records, beside the usual ways."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from project.benchmarks.coco_scale import CLASSES, NUM_ANNOTATIONS, NUM_IMAGES, write_coco_file
from project.benchmarks.machine import describe_machine
from project.errors import UserError

REPO = Path(__file__).resolve().parents[2]


def measure_data(
    work_dir: Path, num_images: int = NUM_IMAGES, num_annotations: int = NUM_ANNOTATIONS
) -> dict:
    """Seconds and peak memory of each way, every one in a process of its own.

    Returns:
        ``choose``: reading the file, keeping the annotations of four classes and counting them, by
        `project.data.selection` and by pycocotools, and the ratios between them (both must find the
        same counts). ``keep``: dataset dicts in memory: as `project.data.records.FlatRecords`, as
        plain Python objects, and pickled as `detectron2.data.DatasetFromList` has them. ``whole``:
        a subset of all classes built and written, and the label part of an exploration.

    Raises:
        UserError: if a process fails, or the two ways find different counts.
    """
    file, name = write_coco_file(work_dir, num_images, num_annotations)
    choose = {task: _run(task, file) for task in ("ours", "pycocotools")}
    counts = [row.pop("counts") for row in choose.values()]
    if counts[0] != counts[1]:
        raise UserError(f"{file}: {counts[0]} annotations and images found, and {counts[1]}")
    ours, theirs = choose["ours"], choose["pycocotools"]
    ratio = {key: round(theirs[key] / ours[key], 2) for key in ("seconds", "peak_mb")}
    keep, whole = (
        {task: _run(task, work_dir.absolute(), name) for task in tasks}
        for tasks in (("flat", "dicts"), ("build", "explore"))
    )
    return {
        "machine": describe_machine(),
        "file_mb": round(file.stat().st_size / 2**20),
        "images": num_images,
        "annotations": num_annotations,
        "classes": list(CLASSES),
        "counts": counts[0],
        "choose": {**choose, "ratio": ratio},
        "keep": keep,
        "whole": whole,
    }


def _run(task: str, *arguments: object) -> dict:
    command = [sys.executable, "-m", "project.benchmarks.data_tasks", task, *map(str, arguments)]
    done = subprocess.run(command, cwd=REPO, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise UserError(f"the measurement {' '.join(command[1:])} failed")
    return json.loads(done.stdout.splitlines()[-1])
