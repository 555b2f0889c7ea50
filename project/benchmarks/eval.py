"""From a results file to COCO's metrics, and from masks to RLE, beside the usual ways."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import time
from pathlib import Path

from project.benchmarks.eval_data import (
    NUM_DETECTIONS,
    NUM_IMAGES,
    NUM_OBJECTS,
    write_eval_files,
)
from project.benchmarks.machine import describe_machine
from project.errors import UserError
from project.evaluation.rle import encode_boxed_masks

import numpy as np
import torch
from detectron2.layers import paste_masks_in_image

REPO = Path(__file__).resolve().parents[2]
_MODULES = {"ours": "hotcoco", "faster-coco-eval": "faster_coco_eval"}


def measure_eval(work_dir: Path, share: float = 1.0, num_masks: int = 200) -> dict:
    """Seconds and peak memory of each system, and of encoding masks.

    Args:
        share: of val2017's images, objects and detections.
        num_masks: to encode.

    Returns:
        ``segm``: for each system that is installed the whole way from the two files to its metrics,
        in a process of its own (ours with the records of all detections); ``ratio``: how many times
        ours the others take. ``rle``: see `measure_rle`.

    Raises:
        UserError: if a process fails, or pycocotools' figures differ from ours.
    """
    truth_file, results_file = (str(f.absolute()) for f in write_eval_files(work_dir, share))
    systems = ["ours", "hotcoco", "pycocotools", "faster-coco-eval"]
    installed = [s for s in systems if importlib.util.find_spec(_MODULES.get(s, s))]
    rows = {system: _run(system, truth_file, results_file) for system in installed}
    _check_equal(rows["ours"]["metrics"], rows["pycocotools"]["metrics"])
    ours = rows["ours"]
    others = [system for system in installed if system != "ours"]
    return {
        "machine": describe_machine(),
        "images": round(share * NUM_IMAGES),
        "objects": round(share * NUM_OBJECTS),
        "detections": round(share * NUM_DETECTIONS),
        "segm": rows,
        "ratio": {s: _ratio(rows[s], ours) for s in others},
        "rle": measure_rle(num_masks),
    }


def _run(system: str, *files: str) -> dict:
    command = [sys.executable, "-m", "project.benchmarks.eval_tasks", system, *files]
    done = subprocess.run(command, cwd=REPO, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise UserError(f"the measurement {' '.join(command[1:])} failed")
    return json.loads(done.stdout)


def _ratio(other: dict, ours: dict) -> dict[str, float]:
    keys = ("seconds", "cpu_seconds", "peak_mb")
    return {key: round(other[key] / max(ours[key], 0.01), 1) for key in keys}


def _check_equal(ours: dict[str, float], theirs: dict[str, float]) -> None:
    for name, value in theirs.items():
        if abs(ours[name] - value) > 1e-9:
            raise UserError(f"{name} is {ours[name]} by ours and {value} by pycocotools")


def measure_rle(num_masks: int = 200, height: int = 480, width: int = 640) -> dict:
    """Processor time for soft 28 x 28 masks: pasted and encoded, or encoded in their boxes.

    ``full_size`` is Detectron2's way: an array of the image's size for each mask, and pycocotools'
    ``encode``. Both give the same RLE.

    Raises:
        UserError: if they don't.
    """
    masks, boxes = _soft_masks(num_masks, height, width)
    ways = {"full_size": _encode_full_size, "ours": encode_boxed_masks}
    seconds, encoded = {}, {}
    for name, way in ways.items():
        times = []
        for _ in range(3):
            start = time.process_time()
            encoded[name] = [r["counts"] for r in way(masks, boxes, (height, width))]
            times.append(time.process_time() - start)
        seconds[name] = min(times)
    if encoded["full_size"] != encoded["ours"]:
        raise UserError("masks encoded in their boxes differ from pasted ones")
    return {
        "masks": num_masks,
        "image": [height, width],
        "mask_ms": {name: round(1000 * s / num_masks, 3) for name, s in seconds.items()},
        "ratio": round(seconds["full_size"] / seconds["ours"], 1),
    }


def _encode_full_size(masks, boxes, image_size: tuple[int, int]) -> list[dict]:
    from pycocotools import mask as coco_mask

    pasted = paste_masks_in_image(masks[:, 0], boxes, image_size)
    arrays = [np.asfortranarray(mask.numpy().astype(np.uint8)) for mask in pasted]
    rles = [coco_mask.encode(array) for array in arrays]
    return [{"size": r["size"], "counts": r["counts"].decode("ascii")} for r in rles]


def _soft_masks(number: int, height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Discs with soft, uneven edges, in boxes of all sizes."""
    generator = torch.Generator().manual_seed(0)
    axis = torch.linspace(-1, 1, 28)
    away = (axis[:, None] ** 2 + axis**2).sqrt()
    noise = 0.1 * torch.randn(number, 1, 28, 28, generator=generator)
    masks = torch.sigmoid(8 * (0.8 - away + noise))
    sides = torch.rand(number, 2, generator=generator) ** 2 * torch.tensor([width, height])
    low = torch.rand(number, 2, generator=generator) * (torch.tensor([width, height]) - sides)
    return masks, torch.cat([low, low + sides], dim=1)
