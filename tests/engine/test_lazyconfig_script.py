"""A config of ours under a plain Detectron2 script: our own trainer isn't needed.

Detectron2's own lazyconfig tool can't be brought along, so the steps that it documents are written
out here: everything comes from the config file and from `detectron2`, by `instantiate`.
"""

import json
from pathlib import Path

import project  # noqa: F401 - makes `detectron2` importable

import pytest
import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import LazyConfig, instantiate
from detectron2.engine import (
    AMPTrainer,
    SimpleTrainer,
    create_ddp_model,
    default_argument_parser,
    default_setup,
    default_writers,
    hooks,
)
from detectron2.evaluation import inference_on_dataset, print_csv_format

CONFIG = Path(__file__).resolve().parents[2] / "configs/quickstart.py"


def judge(cfg, model) -> dict:
    results = inference_on_dataset(
        model, instantiate(cfg.dataloader.test), instantiate(cfg.dataloader.evaluator)
    )
    print_csv_format(results)
    return results


def fit(cfg, *, resume: bool):
    """Train what ``cfg`` describes with Detectron2's parts alone; the loop after its end."""
    model = instantiate(cfg.model).to(cfg.train.device)
    cfg.optimizer.params.model = model
    optimizer = instantiate(cfg.optimizer)
    loader = instantiate(cfg.dataloader.train)
    model = create_ddp_model(model, **cfg.train.ddp)
    kind = AMPTrainer if cfg.train.amp.enabled else SimpleTrainer
    precision = {"precision": torch.bfloat16} if cfg.train.amp.enabled else {}
    loop = kind(model, loader, optimizer, **precision)
    checkpointer = DetectionCheckpointer(model, cfg.train.output_dir, trainer=loop)
    loop.register_hooks(
        [
            hooks.IterationTimer(),
            hooks.LRScheduler(scheduler=instantiate(cfg.lr_multiplier)),
            hooks.PeriodicCheckpointer(checkpointer, **cfg.train.checkpointer),
            hooks.EvalHook(cfg.train.eval_period, lambda: judge(cfg, model)),
            hooks.PeriodicWriter(
                default_writers(cfg.train.output_dir, cfg.train.max_iter),
                period=cfg.train.log_period,
            ),
        ]
    )
    checkpointer.resume_or_load(cfg.train.init_checkpoint, resume=resume)
    first = loop.iter + 1 if resume and checkpointer.has_checkpoint() else 0
    loop.train(first, cfg.train.max_iter)
    return loop


def script(*argv: str):
    args = default_argument_parser().parse_args(["--config-file", str(CONFIG), *argv])
    cfg = LazyConfig.apply_overrides(LazyConfig.load(args.config_file), args.opts)
    default_setup(cfg, args)
    return fit(cfg, resume=args.resume)


@pytest.mark.parametrize(
    "amp",
    [False, pytest.param(True, marks=pytest.mark.bundled)],  # the real one's AMP needs a GPU
)
def test_a_plain_script_trains_evaluates_and_resumes(datasets_root, tmp_path, amp):
    options = [
        "dataset.name=tiny",
        "dataloader.train.total_batch_size=2",
        "train.device=cpu",
        "train.log_period=1",
        f"train.output_dir={tmp_path}",
        f"train.amp.enabled={amp}",
        "model.roi_heads.box_predictor.test_score_thresh=0.0",
        "model.roi_heads.box_predictor.test_topk_per_image=20",
    ]
    loop = script(*options, "train.max_iter=2", "train.eval_period=0")
    assert loop.iter == 2
    assert {"bbox/AP", "segm/AP", "segm/AP-person"} <= set(loop.storage.latest())
    assert (tmp_path / "inference/tiny_val/coco_instances_results.json").stat().st_size > 100
    assert (tmp_path / "config.yaml").is_file()

    script("--resume", *options, "train.max_iter=3", "train.eval_period=0")
    rows = map(json.loads, (tmp_path / "metrics.json").read_text().splitlines())
    trained = [row for row in rows if "total_loss" in row]
    assert [row["iteration"] for row in trained] == [0, 1, 2]
    assert all(0 < row["total_loss"] < 100 for row in trained)
    assert torch.load(tmp_path / "model_final.pth", weights_only=True)["iteration"] == 2
