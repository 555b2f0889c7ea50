"""A run from the command line's flags to its files: what ``tools/train_net.py`` calls."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from project.data.catalog import class_names, register_subset
from project.engine.checks import check_config, check_length, check_run_folder
from project.engine.config import load_config, require, save_config
from project.engine.evaluate import (
    build_model,
    evaluate,
    evaluator_class,
    load_weights,
    newest_checkpoint,
    results_file,
)
from project.engine.files import write_json
from project.engine.interrupt import listening
from project.engine.launch import Processes, choose_device, launch, restarted
from project.engine.meeting import meet
from project.engine.trainer import Trainer
from project.engine.watchdog import Watchdog
from project.errors import UserError
from project.visualization.render import render_results

from detectron2.checkpoint import DetectionCheckpointer
from detectron2.engine import create_ddp_model
from detectron2.utils import comm
from detectron2.utils.collect_env import collect_env_info
from detectron2.utils.env import seed_all_rng
from detectron2.utils.logger import setup_logger
from omegaconf import DictConfig

logger = logging.getLogger(__name__)


def start(args: argparse.Namespace) -> Path:
    """Train, or evaluate with ``--eval-only``, in as many processes as asked; the run folder.

    Args:
        args: of `detectron2.engine.default_argument_parser`, and ``trust`` (see `load_config`).

    Raises:
        UserError: before any process starts, where the mistake can be seen by then.
    """
    if restarted():
        args.resume = True
    processes = Processes(args.num_gpus, args.num_machines, args.machine_rank, args.dist_url)
    processes.check()
    check_length(args.opts)
    cfg = load_config(args.config_file, args.opts, trust=args.trust)
    require(cfg, "train.device")
    device = choose_device(cfg.train.device, processes)
    check_config(cfg, processes.world_size, train=not args.eval_only)
    output_dir = Path(cfg.train.output_dir)
    if args.eval_only:
        choose_weights(cfg, args)
    elif args.machine_rank == 0:
        check_run_folder(output_dir, resume=args.resume)
    launch(run, processes, device, args=(args, device))
    return output_dir


def run(args: argparse.Namespace, device: str) -> None:
    """One process's share of a run."""
    cfg = load_config(args.config_file, args.opts, trust=args.trust)
    wanted, cfg.train.device = cfg.train.device, device
    set_up(cfg)
    if device == "cpu" and wanted != "cpu":
        logger.warning("No GPU was found (train.device=%s): running on the CPU.", wanted)
    folder, timeout = Path(cfg.train.output_dir), cfg.train.watchdog.timeout
    with Watchdog(folder, comm.get_rank(), comm.get_world_size(), timeout) as watchdog:
        if args.eval_only:
            watchdog.beat("evaluation", 0)
            record = {"results": evaluate_only(cfg, choose_weights(cfg, args))}
        else:
            record = train(cfg, watchdog, resume=args.resume)
        watchdog.beat("pictures", record.get("iterations", 0))
        if comm.is_main_process():
            name = "evaluation.json" if args.eval_only else "results.json"
            write_json(folder / name, record)
            draw_pictures(cfg)
        meet("end")


def train(cfg: DictConfig, watchdog: Watchdog, *, resume: bool) -> dict:
    """Train as ``cfg`` says; what ``results.json`` holds."""
    with listening():
        trainer = build_trainer(cfg, watchdog, resume=resume)
        if comm.is_main_process():  # now, as a refused --resume must not change the run's own
            save_config(cfg, cfg.train.output_dir)
        results = trainer.train()
    return {
        "iterations": trainer.iterations,
        "results": results,
        "sampling": trainer.sampling_report(),
        "weights": trainer.transfer and trainer.transfer.as_dict(),
    }


def build_trainer(cfg: DictConfig, watchdog: Watchdog, *, resume: bool) -> Trainer:
    """The run's trainer; where a mistake prevents it, a new run folder is empty again."""
    try:
        return Trainer(cfg, resume=resume, watchdog=watchdog)
    except UserError:
        if comm.is_main_process() and not resume:
            for file in Path(cfg.train.output_dir).iterdir():
                if file.is_file():
                    file.unlink()
        raise


def set_up(cfg: DictConfig) -> None:
    """Run folder, loggers, the environment in the log, random seeds.

    `detectron2.engine.default_setup` would also overwrite ``config.yaml``, even that of a run that
    is only evaluated.
    """
    rank, output_dir = comm.get_rank(), cfg.train.output_dir
    if comm.is_main_process():
        try:
            Path(output_dir).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"train.output_dir={output_dir} can't be made: {error}") from error
    comm.synchronize()
    for name in ("fvcore", "iopath", "detectron2", "project"):
        setup_logger(output_dir, distributed_rank=rank, name=name)
    logger.info("Process %d of %d\n%s", rank, comm.get_world_size(), collect_env_info())
    seed_all_rng(cfg.train.seed + rank)


def choose_weights(cfg: DictConfig, args: argparse.Namespace) -> str:
    """The checkpoint to evaluate: the one given as an override, else the run folder's newest.

    An empty override is what the run was trained with from scratch: no file is meant.
    """
    given = any(o.lstrip("+").startswith("train.init_checkpoint=") for o in args.opts)
    if given and cfg.train.init_checkpoint:
        return cfg.train.init_checkpoint
    return str(newest_checkpoint(cfg.train.output_dir))


def evaluate_only(cfg: DictConfig, weights: str) -> dict:
    """Results of ``weights`` on the config's test split."""
    model = build_model(cfg, weights_follow=bool(weights))
    classes = class_names(cfg.dataset.name, cfg.dataset.root)
    load_weights(DetectionCheckpointer(model), weights, classes, cfg.train.init_classes)
    return evaluate(cfg, create_ddp_model(model, **cfg.train.ddp))


def draw_pictures(cfg: DictConfig) -> None:
    """Overlays of the newest predictions beside the labels, in the run's ``pictures`` folder."""
    name = register_subset(cfg.dataset.name, cfg.dataset.test, root=cfg.dataset.root)
    file = results_file(cfg, name)
    folder = Path(cfg.train.output_dir, "pictures")
    if cfg.train.num_pictures and file.is_file():
        choice = {"limit": cfg.train.num_pictures, "threshold": evaluator_class(cfg).DRAWN_FROM}
        written = render_results(name, file, folder, **choice)
        logger.info("Wrote %d pictures and their contact sheet to %s", len(written) - 1, folder)
