"""A trained run on any image, in three lines.

from project.applications import Predictor
predictor = Predictor("output/quickstart")
instances = predictor("photo.jpg")
alpha = predictor.probability("photo.jpg", "person")
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from project.applications.choice import Choice, soft_mask
from project.applications.masks import SoftMasks
from project.applications.regions import RegionMasks, class_regions
from project.applications.thresholds import DEFAULT_THRESHOLD, class_thresholds
from project.data.catalog import class_names
from project.data.images import planes
from project.engine.checkpoints import checkpoint_files
from project.engine.config import build, load_run, require, select
from project.engine.evaluate import check_num_classes, load_weights, without_hub
from project.engine.launch import Processes, choose_device
from project.errors import UserError, one_line, unknown_name
from project.modeling.semantic import SemanticSegmenter
from project.modeling.transformers_segmenter import TransformersSegmenter

import numpy as np
import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.data import detection_utils
from detectron2.data import transforms as T
from detectron2.modeling import FastRCNNOutputLayers, GeneralizedRCNN
from detectron2.modeling.postprocessing import detector_postprocess
from detectron2.structures import Instances
from omegaconf import OmegaConf
from torch import nn

Image = str | os.PathLike | np.ndarray

BEST_CHECKPOINT = "model_best.pth"  # what project.engine.hooks.BestCheckpoint writes


class UnreadableImage(UserError):
    """An image that is missing, damaged, or no image."""


class Predictor:
    """Finds the objects in images with the model of a run folder.

    A semantic model gives one object for each class that an image shows: all that its label map
    has of the class.

    Args:
        run_dir: folder of a run, with ``config.yaml`` and checkpoints. Read as plain data.
        weights: "newest", "best" (by the run's own metric) or a checkpoint file.
        thresholds: the lowest score that counts: for all classes, or by class name. None takes the
            run folder's ``thresholds.json``, or 0.5 where there is none. A semantic model's score
            is the mean probability over all that an image shows of a class, so a threshold drops a
            class from an image and never moves an edge; without ``thresholds.json`` it is 0.
        device: "cpu", "cuda", "cuda:1", …; None takes the run's, or the CPU where that is missing.
        batch_size: images that go through the model together. Images of different sizes are padded
            to the largest then, which can change scores a little.
        trust: build anything that the run's config names; only for runs of your own.

    Attributes:
        class_names: of ``pred_classes``, in order.
        thresholds: float64 [K], by class.
        semantic: whether the model tells classes, and not objects.

    Raises:
        UserError: if the folder is no run, holds no such checkpoint, or doesn't fit together.
    """

    def __init__(
        self,
        run_dir: str | os.PathLike,
        *,
        weights: str | os.PathLike = "newest",
        thresholds: float | Mapping[str, float | None] | None = None,
        device: str | None = None,
        batch_size: int = 1,
        trust: bool = False,
    ) -> None:
        if batch_size < 1:
            raise UserError(f"the batch size is {batch_size}; expected at least 1")
        cfg = load_run(run_dir, trust=trust)
        require(cfg, "model", "dataloader.test.mapper", "train.device")
        file = checkpoint_file(run_dir, weights)
        self.class_names = _classes(cfg, file)
        self.batch_size = batch_size
        self.device = choose_device(device or select(cfg, "train.device"), Processes())
        mapper = build(cfg.dataloader.test.mapper, "dataloader.test.mapper")
        self._augmentations, self._input_format = mapper.augmentations, mapper.image_format
        self._model = build(without_hub(cfg).model, "model").to(self.device).eval()
        self.semantic = isinstance(self._model, SemanticSegmenter)
        usual = 0.0 if self.semantic else DEFAULT_THRESHOLD
        self.thresholds = class_thresholds(self.class_names, thresholds, run_dir, usual)
        check_num_classes(self._model, self.class_names)
        load_weights(DetectionCheckpointer(self._model), str(file), self.class_names)
        _set_lowest_score(self._model, self.thresholds.min(initial=1.0))

    def __call__(
        self, images: Image | Sequence[Image], *, channels: str = "BGR"
    ) -> Instances | list[Instances]:
        """The objects in one image, or a list of them for several.

        Args:
            images: a file, or an array uint8 ``[H, W, 3]``, or a sequence of these. Files are
                turned upright as their EXIF orientation says.
            channels: order of an array's channels: "BGR" as OpenCV has it, or "RGB".

        Returns:
            On the CPU, at the image's own size, surest first: ``pred_boxes`` (XYXY pixels),
            ``scores``, ``pred_classes`` (see `class_names`) and, where the model gives masks,
            ``pred_masks``: `SoftMasks` or `RegionMasks`, which iterate over bitmaps.

        Raises:
            UnreadableImage: if a file can't be read.
            UserError: if an array isn't an image.
        """
        if isinstance(images, str | os.PathLike | np.ndarray):
            return next(self.stream([images], channels=channels))
        return list(self.stream(images, channels=channels))

    def stream(self, images: Iterable[Image], *, channels: str = "BGR") -> Iterator[Instances]:
        """The same one after another, for more images than memory holds; see `__call__`."""
        images = iter(images)
        while batch := list(itertools.islice(images, self.batch_size)):
            yield from self._predict([self._input(image, channels) for image in batch])

    def probability(
        self,
        image: Image,
        class_name: str = "person",
        choice: Choice | None = None,
        *,
        channels: str = "BGR",
    ) -> np.ndarray:
        """How probably each pixel belongs to a class's objects, float32 ``[H, W]``, 0-1.

        See `project.applications.choice.soft_mask`, which does the same to what `__call__` found.

        Args:
            choice: some of the objects, as ``Choice("largest")``; None for all.

        Raises:
            NobodyFound: if the image doesn't show what is asked for.
            UserError: if the model doesn't know the class, or has no masks; or as `__call__`.
        """
        index = self.class_index(class_name)
        return soft_mask(self(image, channels=channels), index, class_name, choice)

    def class_index(self, name: str) -> int:
        """The place of a class in ``pred_classes``.

        Raises:
            UserError: if the model doesn't know it.
        """
        if name not in self.class_names:
            raise UserError(unknown_name("class of the model", name, self.class_names))
        return self.class_names.index(name)

    def _input(self, image: Image, channels: str) -> dict:
        if not isinstance(image, np.ndarray):
            image, channels = read_rgb(image), "RGB"
        height, width = _check_array(image, channels)
        if channels != self._input_format:  # both are among BGR and RGB
            image = image[..., ::-1]
        prepared = T.AugInput(np.ascontiguousarray(image))
        self._augmentations(prepared)
        return {"image": planes(prepared.image), "height": height, "width": width}

    @torch.no_grad()  # results may be changed in place, which inference mode forbids
    def _predict(self, inputs: list[dict]) -> list[Instances]:
        if isinstance(self._model, GeneralizedRCNN):
            raw = self._model.inference(inputs, do_postprocess=False)
            return [self._finish(r, x) for r, x in zip(raw, inputs, strict=True)]
        outputs = self._model(inputs)
        if self.semantic:
            return [class_regions(output["sem_seg"], self.thresholds) for output in outputs]
        return [self._finish_large(output["instances"]) for output in outputs]

    def _finish_large(self, found: Instances) -> Instances:
        """What a model gives with masks of the image's size, above the thresholds, on the CPU."""
        found = self._counting(found.to("cpu"))
        found = found[found.scores.argsort(descending=True, stable=True)]
        if found.has("pred_masks"):
            found.set("pred_masks", RegionMasks(np.asarray(found.pred_masks).astype(bool)))
        return found

    def _counting(self, found: Instances) -> Instances:
        """Those from the thresholds on."""
        lowest = torch.from_numpy(self.thresholds).to(found.scores.dtype)[found.pred_classes]
        return found[found.scores >= lowest]

    def _finish(self, raw: Instances, image: dict) -> Instances:
        """Detections at the size of the image, above the thresholds, on the CPU."""
        size, fields = (image["height"], image["width"]), raw.to("cpu").get_fields()
        if "pred_masks" in fields:  # under another name, nobody pastes them
            fields["soft_masks"] = fields.pop("pred_masks")[:, 0].float()
        found = self._counting(detector_postprocess(Instances(raw.image_size, **fields), *size))
        if found.has("soft_masks"):
            masks = SoftMasks(found.soft_masks, found.pred_boxes.tensor, size)
            found.remove("soft_masks")
            found.set("pred_masks", masks)
        return found


def read_rgb(file: str | os.PathLike) -> np.ndarray:
    """The upright image of a file, uint8 RGB ``[H, W, 3]``.

    Raises:
        UnreadableImage: with the file and the reason.
    """
    try:
        return np.ascontiguousarray(detection_utils.read_image(os.fspath(file), format="RGB"))
    except FileNotFoundError:
        raise UnreadableImage(f"image {file} does not exist") from None
    except Exception as error:  # decoders of damaged files raise anything
        raise UnreadableImage(f"image {file} can't be read: {one_line(error)}") from error


def checkpoint_file(run_dir: str | os.PathLike, weights: str | os.PathLike) -> Path:
    """The checkpoint that ``weights`` means: "newest", "best", or a file.

    Raises:
        UserError: if there is none.
    """
    if weights == "newest":
        if not (files := checkpoint_files(Path(run_dir))):
            raise UserError(f"{run_dir} holds no checkpoint; train first, or name a weights file")
        file = files[0]
    elif weights == "best":
        file = Path(run_dir, BEST_CHECKPOINT)
    else:
        file = Path(weights)
    if not file.is_file():
        known = sorted(found.name for found in Path(run_dir).glob("*.pth"))
        there = ", ".join(known) or "no checkpoint"
        raise UserError(f"checkpoint {file} does not exist; {run_dir} holds {there}")
    return file


def _classes(cfg, file: Path) -> list[str]:
    """The model's classes: those that the checkpoint names, so that no dataset is needed.

    Where it doesn't, the run's dataset tells them.
    """
    try:
        content = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
        names = content.get("classes")
    except Exception:  # of another kind, or damaged: loading it will tell
        names = None
    # As `project.engine.pretrained` takes them.
    if not (names and isinstance(names, list | tuple) and all(isinstance(x, str) for x in names)):
        require(cfg, "dataset.name", "dataset.root")
        return class_names(str(select(cfg, "dataset.name")), select(cfg, "dataset.root"))
    heads = OmegaConf.select(cfg, "model.roi_heads", throw_on_resolution_failure=False)
    place = "model" if heads is None else "model.roi_heads"
    require(cfg, f"{place}.num_classes")
    select(cfg, place).num_classes = len(names)
    return list(names)


def _set_lowest_score(model: nn.Module, threshold: float) -> None:
    """Let the model give all detections from ``threshold`` on, and hardly any below.

    A lower score never suppresses a higher one, so the others stay as they are; each detection
    less is a mask less to predict.
    """
    for module in model.modules():
        if isinstance(module, FastRCNNOutputLayers | TransformersSegmenter):
            # The model wants more than this score; ours is "at least", taken exactly afterwards.
            module.test_score_thresh = 0.999 * threshold


def _check_array(image: np.ndarray, channels: str) -> tuple[int, int]:
    """(height, width) of an array that is an image."""
    if channels not in ("BGR", "RGB"):
        raise UserError(f"channels is {channels!r}; expected 'BGR' or 'RGB'")
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        raise UserError(
            f"an image is an array of shape {image.shape} and type {image.dtype}; expected uint8 "
            f"(height, width, 3)"
        )
    return image.shape[:2]
