"""What a model costs: parameters, arithmetic and time of one image, the model built and run.

Arithmetic is counted by `torch.utils.flop_counter` while the model runs: convolutions, matrix
products and attention, a multiplication and an addition as two. It leaves out element-wise work,
normalisation, pooling, resizing, RoIAlign and the suppression of double detections. That of a
detector depends on what it finds; the figure is the median of the images.

Time is from the resized image in memory to masks or label map at the image's own size, one image at
a time; reading and resizing aren't in it. The models take turns at each image, so that whatever
else the machine does meets all of them.
"""

from __future__ import annotations

import logging
import os
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from project.data.catalog import class_names
from project.engine.config import build, require
from project.engine.evaluate import build_model, load_weights, newest_checkpoint
from project.engine.launch import Processes, choose_device
from project.errors import UserError
from project.experiments.models.compare import JudgedModel
from project.experiments.models.footing import Footing
from project.experiments.models.runs import ModelRun

import numpy as np
import torch
from detectron2.checkpoint import DetectionCheckpointer
from torch import nn

NUM_IMAGES = 10
NUM_ROUNDS = 2
WARM_UP = 2

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Cost:
    """A model's cost.

    Attributes:
        parameters: trainable or not; the running statistics of normalisation aren't counted.
        flops: of one image, median over the images.
        milliseconds: of one image, one for each measurement.
        input_size: height and width that went into the model, of the median image.
    """

    parameters: int
    flops: float
    milliseconds: Sequence[float]
    input_size: tuple[int, int]

    @property
    def median(self) -> float:
        return float(np.median(self.milliseconds))

    @property
    def quartiles(self) -> tuple[float, float]:
        low, high = np.percentile(self.milliseconds, [25, 75])
        return float(low), float(high)


@dataclass(frozen=True)
class Costs:
    """The costs of the models that could be built.

    Attributes:
        models: label → cost.
        problems: label → why there is none.
        device: its name.
        num_images: that each model was run on.
    """

    models: Mapping[str, Cost]
    problems: Mapping[str, str]
    device: str
    num_images: int


def measure_costs(
    models: Sequence[JudgedModel],
    footing: Footing,
    *,
    device: str | None = None,
    num_images: int = NUM_IMAGES,
    num_rounds: int = NUM_ROUNDS,
) -> Costs:
    """Build each model's first run and run it on a few of the common images.

    Args:
        device: "cpu" or "cuda"; None, and "cuda" without a GPU, take what is there.
        num_images: spread evenly over the common ones.
        num_rounds: how often each image is measured.
    """
    device = choose_device(device or "cuda", Processes())
    places = np.unique(np.linspace(0, len(footing.image_names) - 1, num_images).astype(int))
    names = [footing.image_names[i] for i in places]
    built: dict[str, tuple[nn.Module, list[dict]]] = {}
    problems = {}
    for model in models:
        run = model.model.runs[0]
        try:
            built[model.label] = load_model(run, device), model_inputs(run, footing, names)
        except UserError as error:
            problems[model.label] = str(error)
            logger.warning("%s isn't measured: %s", model.label, error)
    times = _take_turns(built, num_rounds)
    costs = {
        label: Cost(
            parameters=sum(p.numel() for p in module.parameters()),
            flops=float(np.median([count_flops(module, item) for item in inputs])),
            milliseconds=times[label],
            input_size=_median_size(inputs),
        )
        for label, (module, inputs) in built.items()
    }
    return Costs(costs, problems, device_name(device), len(names))


def load_model(run: ModelRun, device: str) -> nn.Module:
    """The model of a run with its newest weights, ready to predict.

    Raises:
        UserError: if it can't be built, or the run holds no weights.
    """
    cfg = run.cfg.copy()
    require(cfg, "model", "train.device", "dataset.root")
    cfg.train.device, cfg.dataset.root = device, run.root
    weights = newest_checkpoint(run.folder)
    model = build_model(cfg, weights_follow=True)
    classes = class_names(cfg.dataset.name, cfg.dataset.root)
    load_weights(DetectionCheckpointer(model), str(weights), classes)
    return model.eval()


def model_inputs(run: ModelRun, footing: Footing, names: Sequence[str]) -> list[dict]:
    """What the run's test mapper makes of images.

    Raises:
        UserError: if an image can't be read.
    """
    require(run.cfg, "dataloader.test.mapper")
    mapper = build(run.cfg.dataloader.test.mapper, "dataloader.test.mapper")
    labels = footing.labels[run.annotations]
    made = []
    for name in names:
        image_id = labels.ids[name]
        height, width = labels.truth.sizes[np.searchsorted(labels.truth.image_ids, image_id)]
        record = {"file_name": str(run.image_dir / name), "image_id": image_id}
        made.append(mapper({**record, "height": int(height), "width": int(width)}))
    return made


def _take_turns(
    built: Mapping[str, tuple[nn.Module, list[dict]]], num_rounds: int
) -> dict[str, list[float]]:
    """Label → milliseconds of each image in each round."""
    times: dict[str, list[float]] = {label: [] for label in built}
    for module, inputs in built.values():
        for item in inputs[:WARM_UP]:
            _milliseconds(module, item)
    for _ in range(num_rounds):
        for at in range(max((len(inputs) for _, inputs in built.values()), default=0)):
            for label, (module, inputs) in built.items():
                times[label].append(_milliseconds(module, inputs[at]))
    return times


def _milliseconds(module: nn.Module, item: dict) -> float:
    on_gpu = next(module.parameters()).is_cuda
    with torch.no_grad():
        if on_gpu:
            torch.cuda.synchronize()
        start = time.perf_counter()
        module([item])
        if on_gpu:
            torch.cuda.synchronize()
        return 1e3 * (time.perf_counter() - start)


def count_flops(module: nn.Module, item: dict) -> int:
    """Operations of one image, as the head of this file says."""
    from torch.utils.flop_counter import FlopCounterMode

    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module([item])
    return counter.get_total_flops()


def _median_size(inputs: Sequence[dict]) -> tuple[int, int]:
    sizes = sorted((tuple(item["image"].shape[-2:]) for item in inputs), key=np.prod)
    return sizes[len(sizes) // 2]


def device_name(device: str) -> str:
    """The device in words: the GPU, or the processor with the threads that torch uses."""
    if device != "cpu":
        return torch.cuda.get_device_name(device)
    threads, cores = torch.get_num_threads(), os.cpu_count()
    return f"{_processor()}, {threads} thread{'s' if threads > 1 else ''} on {cores} cores"


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
