"""What a run's files say about training itself: time, memory, where its weights came from."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

from project.errors import UserError, one_line
from project.visualization.report.run_files import RunFiles

import numpy as np

_INFERENCE = re.compile(r"Total inference time: (\S+) \(([\d.]+) s/(\w+)")
# Our model zoo's and Detectron2's names of weights that were trained on COCO's train2017.
_COCO_WEIGHTS = re.compile(
    r"COCO-(?:InstanceSegmentation|Detection|Keypoints|PanopticSegmentation)"
    r"|MASKRCNN_RESNET50_FPN\w*COCO|maskrcnn_resnet50_fpn(?:_v2)?_coco"
    r"|model_final_(?:a54504|f10217|a3ec72)\.pkl",  # the zoo's Mask R-CNNs, downloaded by hand
    re.IGNORECASE,
)
_TRAIN_NAME = re.compile(r"(?:^|/)(?:COCO_)?train20(?:14|17)", re.IGNORECASE)
# train2017 is all of train2014 and val2014 but 5,000 images of the latter.
_IN_TRAIN2017 = {"train2017": "all", "train2014": "all", "val2014": "most of the"}


def timings(run: RunFiles) -> dict[str, float]:
    """Seconds and mebibytes by name; what wasn't logged is left out."""
    found: dict[str, float] = {}
    _, step = run.curve("time")
    _, wait = run.curve("data_time")
    _, memory = run.curve("max_mem_MB")
    iterations = run.recorded.get("iterations")
    if len(step):
        found["seconds of an iteration, median"] = float(np.median(step))
    if len(wait):
        found["seconds of it waiting for data, median"] = float(np.median(wait))
    if len(step) and isinstance(iterations, int):
        found["seconds of all iterations, without evaluations"] = (
            float(np.median(step)) * iterations
        )
    if len(memory):
        found["peak GPU memory, MiB"] = float(memory.max())
    told = [match for line in run.log if (match := _INFERENCE.search(line))]
    if told:
        found[f"seconds of inference for each {told[-1][3]}"] = float(told[-1][2])
    return found


def leak(run: RunFiles) -> str:
    """A warning if the run was judged on images that its first weights were trained on, else ""."""
    weights = str(run.config.get("train.init_checkpoint") or "")
    if not _COCO_WEIGHTS.search(weights):
        return ""
    found = _train2017_images(run)
    if not found:
        return ""
    return (
        f"The weights that {run.name} started from ({weights.rsplit('/', 1)[-1]}) were trained on "
        f"COCO train2017, and {found}. The figures are too good: judge on images of val2017."
    )


def _train2017_images(run: RunFiles) -> str:
    """How many of the images that a run is judged on are COCO's training images; "" for none."""
    split = _manifest_split(run.annotations.parents[1] / "manifest.json", run.annotations.stem)
    source = str(split.get("coco") or split.get("annotations") or "")
    for name, share in _IN_TRAIN2017.items():
        if name in source:
            return f"{share} images it is judged on belong to train2017 (made from {name})"
    if split.get("coco"):
        return ""
    images = _images(run.annotations)
    named = sum(
        any(_TRAIN_NAME.search(str(image.get(key))) for key in ("file_name", "coco_url"))
        for image in images
    )
    share = f"{named:,} of the {len(images):,}"
    return f"{share} images it is judged on belong to train2017, as their names tell" * bool(named)


def _manifest_split(file: Path, split: str) -> Mapping:
    try:
        found = json.loads(file.read_text("utf-8"))["splits"][split]
    except (OSError, ValueError, KeyError, TypeError):  # subsets of other makers have none
        return {}
    return found if isinstance(found, dict) else {}


def _images(file: Path) -> list[dict]:
    try:
        return [image for image in json.loads(file.read_bytes())["images"] if image]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{file} is no readable COCO instances file: {one_line(error)}") from None
