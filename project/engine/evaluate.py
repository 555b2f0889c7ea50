"""Trained models on datasets: results as numbers and as files.

What a model gives, instances or a map of classes, is told by its config's evaluator; nothing else
in the engine has to know.
"""

from __future__ import annotations

import copy
import pydoc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from project.data.catalog import class_names
from project.engine.checkpoints import newest_name
from project.engine.checks import check_dataset_name
from project.engine.config import build, require
from project.engine.pretrained import Transfer, load_pretrained
from project.errors import UserError, from_worker, one_line, unknown_name
from project.evaluation.coco import InstanceEvaluator
from project.evaluation.semantic import SemanticEvaluator
from project.evaluation.unpasted import UnpastedDetector
from project.modeling.norms import check_norm_names, check_sync_norms

from detectron2.checkpoint import DetectionCheckpointer
from detectron2.data import DatasetCatalog, MetadataCatalog, build_detection_test_loader
from detectron2.evaluation import DatasetEvaluator, inference_on_dataset
from detectron2.modeling import GeneralizedRCNN
from detectron2.utils import comm
from omegaconf import DictConfig, OmegaConf
from torch import nn
from torch.nn.parallel import DistributedDataParallel


def build_model(cfg: DictConfig, *, weights_follow: bool = False) -> nn.Module:
    """The config's model on its device, its number of classes checked against the dataset's.

    Args:
        weights_follow: a checkpoint is loaded next, so no encoder's weights are fetched from a hub.
    """
    if weights_follow:
        cfg = without_hub(cfg)
    check_norm_names(OmegaConf.to_container(cfg.model, resolve=False))
    model = build(cfg.model, "model").to(cfg.train.device)
    check_num_classes(model, class_names(cfg.dataset.name, cfg.dataset.root))
    check_sync_norms(model, cfg.train.device, comm.get_world_size())
    return model


def without_hub(cfg: DictConfig) -> DictConfig:
    """``cfg``, or a copy whose semantic network starts from random weights."""
    key = "model.network.encoder_weights"
    if OmegaConf.select(cfg, key, throw_on_resolution_failure=False) is None:
        return cfg
    cfg = copy.deepcopy(cfg)
    OmegaConf.update(cfg, key, None)
    return cfg


def check_num_classes(model: nn.Module, classes: Sequence[str]) -> None:
    """Raise a `UserError` unless the model has as many classes as the dataset."""
    heads, key = getattr(model, "roi_heads", None), "model.num_classes"
    if heads is not None:
        model, key = heads, "model.roi_heads.num_classes"
    if model.num_classes != len(classes):
        raise UserError(
            f"the model has {model.num_classes} classes and the dataset has {len(classes)} "
            f"({', '.join(classes)}); leave {key} to the config, or choose another dataset.name"
        )


def resume_weights(checkpointer: DetectionCheckpointer) -> None:
    """Load all of the newest checkpoint of the checkpointer's folder.

    Raises:
        UserError: if it can't be loaded.
    """
    source = checkpointer.get_checkpoint_file()
    remedy = "write the name of an older one into the file last_checkpoint beside it"
    with _told(source, remedy):
        checkpointer.resume_or_load("", resume=True)


def load_weights(
    checkpointer: DetectionCheckpointer,
    weights: str,
    classes: Sequence[str],
    source_classes: Sequence[str] | None = None,
    *,
    thaw: str = "",
) -> Transfer | None:
    """Load weights, the last layers by the names of classes (`project.engine.pretrained`).

    Args:
        weights: a file, a URL, ``detectron2://…``, or "" for the weights as they are.
        classes: of the model.
        source_classes: of the weights, where they don't tell.
        thaw: what `unfrozen` says of the config, for those who can't have the weights.

    Raises:
        UserError: if the file can't be had or loaded.
    """
    remedy = "give another file with train.init_checkpoint=FILE"
    if "://" in str(weights):
        remedy = (
            "give a local file with train.init_checkpoint=FILE, or start from random weights "
            f'with train.init_checkpoint=""{thaw}'
        )
    with _told(weights, remedy):
        return load_pretrained(checkpointer, weights, classes, source_classes)


def unfrozen(cfg: DictConfig) -> str:
    """The overrides, if any, with which no layer of the config's backbone keeps its first weights.

    Each follows a blank.
    """
    place, found = "model.backbone.bottom_up", ""
    for key in (f"{place}.stem.norm", f"{place}.norm"):  # a ResNet's; the quickstart's and timm's
        if OmegaConf.select(cfg, key) == "FrozenBN":
            found += f" {key}=BN"
    if OmegaConf.select(cfg, f"{place}.freeze_at"):
        found += f" {place}.freeze_at=0"
    return found


@contextmanager
def _told(source: str, remedy: str) -> Iterator[None]:
    """Tell in one line that ``source`` can't be loaded."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # any file may be given, and any network may be missing
        raise UserError(f"weights {source} can't be loaded: {one_line(error)}; {remedy}") from error


def newest_checkpoint(run_dir: str | Path) -> Path:
    """The checkpoint that a run folder's ``last_checkpoint`` names.

    Raises:
        UserError: if there is none.
    """
    if not (name := newest_name(Path(run_dir))):
        raise UserError(
            f"{run_dir} holds no checkpoint to evaluate; train first, or give one with "
            f"train.init_checkpoint=FILE"
        )
    return Path(run_dir, name)


def evaluate(cfg: DictConfig, model: nn.Module) -> dict:
    """Results in percent on ``cfg.dataloader.test``: of COCO as ``{"bbox": {...}, "segm": {...}}``,
    or of a map of classes as ``{"sem_seg": {...}}``.

    On the main process; the others get ``{}``. Predictions land in the evaluator's folder.
    """
    loader = build(cfg.dataloader.test, "dataloader.test")
    return _infer(model, loader, build(cfg.dataloader.evaluator, "dataloader.evaluator"))


def _infer(model: nn.Module, loader, evaluator: DatasetEvaluator) -> dict:
    if isinstance(model, DistributedDataParallel):
        # Processes have shards of different length: nothing may be exchanged batch by batch.
        model = model.module
    if isinstance(evaluator, InstanceEvaluator) and isinstance(model, GeneralizedRCNN):
        model = UnpastedDetector(model)
    try:
        return inference_on_dataset(model, loader, evaluator)
    except UserError as error:
        mistake = from_worker(error)
        if mistake is not error:
            error.with_traceback(None)  # its frames hold the loader's processes
        raise mistake from None


def evaluator_class(cfg: DictConfig) -> type[InstanceEvaluator] | type[SemanticEvaluator]:
    """Our evaluator for what the config's model gives."""
    node = OmegaConf.select(cfg, "dataloader.evaluator")
    semantic = node is not None and _target(node) is SemanticEvaluator
    return SemanticEvaluator if semantic else InstanceEvaluator


def _target(node: DictConfig) -> Any:
    """The object that a node's ``_target_`` names."""
    target = node.get("_target_")
    return pydoc.locate(target) if isinstance(target, str) else target


def evaluator_for(cfg: DictConfig, dataset_name: str, output_dir: Path) -> DatasetEvaluator:
    """Our evaluator for another dataset, with the options of the config's if that is ours."""
    kind, node = evaluator_class(cfg), OmegaConf.select(cfg, "dataloader.evaluator")
    if node is None or _target(node) is not kind:
        return kind(dataset_name, output_dir=str(output_dir))
    node = copy.deepcopy(node)
    node.dataset_name, node.output_dir = dataset_name, str(output_dir)
    return build(node, "dataloader.evaluator")


def results_file(cfg: DictConfig, dataset_name: str) -> Path:
    """Where a run keeps its predictions for a registered dataset.

    Raises:
        UserError: if the name would lead out of the folder; a stranger's config may give any.
    """
    check_dataset_name(dataset_name)
    folder = Path(cfg.train.output_dir, "inference", dataset_name)
    return folder / evaluator_class(cfg).RESULTS_FILE


def predict_dataset(cfg: DictConfig, weights: str | Path, dataset_name: str) -> Path:
    """Run a trained model over a registered dataset, labelled or not; the COCO results file.

    Args:
        cfg: a run's config (`project.engine.config.load_run`).
        weights: a checkpoint file; "" takes the run's newest.
        dataset_name: registered already, e.g. by `project.data.catalog.register_subset`.
    """
    if dataset_name not in DatasetCatalog.list():
        raise UserError(unknown_name("dataset", dataset_name, DatasetCatalog.list()))
    records = DatasetCatalog.get(dataset_name)  # fills in the metadata
    require(cfg, "model", "dataloader.test.mapper")
    model = build(without_hub(cfg).model, "model").to(cfg.train.device)
    check_num_classes(model, MetadataCatalog.get(dataset_name).thing_classes)
    weights = str(weights or newest_checkpoint(cfg.train.output_dir))
    load_weights(
        DetectionCheckpointer(model), weights, MetadataCatalog.get(dataset_name).thing_classes
    )
    mapper = build(cfg.dataloader.test.mapper, "dataloader.test.mapper")
    loader = build_detection_test_loader(records, mapper=mapper)
    file = results_file(cfg, dataset_name)
    _infer(model, loader, evaluator_for(cfg, dataset_name, file.parent))
    return file
