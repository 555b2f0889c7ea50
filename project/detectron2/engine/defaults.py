"""What most trainings start with; follows ``detectron2.engine.defaults``.

Better: `create_ddp_model` works on CPUs; `default_setup` takes any of the three places where a
config may keep its output folder.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from typing import Any

import torch
from torch import nn

from ..utils import comm
from ..utils.collect_env import collect_env_info
from ..utils.env import seed_all_rng
from ..utils.events import CommonMetricPrinter, EventWriter, JSONWriter, TensorboardXWriter
from ..utils.file_io import PathManager
from ..utils.logger import setup_logger

__all__ = ["create_ddp_model", "default_argument_parser", "default_setup", "default_writers"]

_FIRST_DYNAMIC_PORT, _DYNAMIC_PORTS = 49152, 16384  # RFC 6335


def default_argument_parser(epilog: str | None = None) -> argparse.ArgumentParser:
    """A parser of the usual options of training tools, and of config overrides after them.

    Args:
        epilog: text after the help; default some examples.
    """
    parser = argparse.ArgumentParser(
        epilog=epilog or _examples(), formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--config-file", default="", metavar="FILE", help="the config (.py or .yaml)")
    add("--resume", action="store_true", help="go on from the last checkpoint, if there is one")
    add("--eval-only", action="store_true", help="evaluate, don't train")
    add("--num-gpus", type=int, default=1, help="processes a machine, one per GPU")
    add("--num-machines", type=int, default=1, help="number of machines")
    add("--machine-rank", type=int, default=0, help="number of this machine, from 0")
    # Two users of one machine get different ports, two runs of one user must choose.
    user = os.getuid() if hasattr(os, "getuid") else 0
    port = _FIRST_DYNAMIC_PORT + user % _DYNAMIC_PORTS
    add("--dist-url", default=f"tcp://127.0.0.1:{port}", help="where the processes meet, or 'auto'")
    add("opts", nargs=argparse.REMAINDER, default=[], help="config overrides: path.key=value ...")
    return parser


def _examples() -> str:
    tool = os.path.basename(sys.argv[0])
    return (
        "examples:\n"
        f"  {tool} --config-file cfg.py --num-gpus 8\n"
        f"  {tool} --config-file cfg.py --resume train.max_iter=9000\n"
        f"  {tool} --config-file cfg.py --num-machines 2 --machine-rank 0 --dist-url <URL>"
    )


def default_setup(cfg, args: argparse.Namespace) -> None:
    """Folder, loggers, a record of what runs, seeds and backend flags, in this order.

    * the output folder is the first of ``OUTPUT_DIR``, ``output_dir``, ``train.output_dir``; it
      gets ``log.txt`` and ``config.yaml``;
    * ``train.seed`` >= 0 seeds each process with seed + rank; -1 (default) seeds at random;
    * ``train.cudnn_benchmark`` (default False) is set unless ``args.eval_only``;
    * ``train.float32_precision`` ("highest", "high", "medium") is set if given.

    Args:
        cfg: a LazyConfig (omegaconf), or any object with these attributes.
        args: parsed by `default_argument_parser`.
    """
    output_dir = _first_of(cfg, "OUTPUT_DIR", "output_dir", "train.output_dir")
    rank = comm.get_rank()
    if output_dir and comm.is_main_process():
        PathManager.mkdirs(output_dir)
    setup_logger(output_dir, distributed_rank=rank, name="fvcore")
    logger = setup_logger(output_dir, distributed_rank=rank)
    _log_run(logger, args)
    if output_dir and comm.is_main_process():
        from ..config import LazyConfig

        path = os.path.join(output_dir, "config.yaml")
        LazyConfig.save(cfg, path)
        logger.info("Full config saved to %s", path)
    seed = _first_of(cfg, "SEED", "train.seed", default=-1)
    seed_all_rng(None if seed < 0 else seed + rank)
    if not getattr(args, "eval_only", False):
        benchmark = _first_of(cfg, "CUDNN_BENCHMARK", "train.cudnn_benchmark", default=False)
        torch.backends.cudnn.benchmark = bool(benchmark)
    precision = _first_of(cfg, "FLOAT32_PRECISION", "train.float32_precision", default="")
    if precision:
        torch.set_float32_matmul_precision(precision)


def _log_run(logger: logging.Logger, args: argparse.Namespace) -> None:
    logger.info("Rank %d of %d processes", comm.get_rank(), comm.get_world_size())
    logger.info("Environment:\n%s", collect_env_info())
    logger.info("Command line arguments: %s", args)
    config_file = getattr(args, "config_file", "")
    if config_file:
        with PathManager.open(config_file) as file:
            logger.info("Contents of %s:\n%s", config_file, file.read())


def _first_of(cfg, *paths: str, default: Any = None) -> Any:
    """The value at the first dotted path that ``cfg`` has and that isn't None."""
    for path in paths:
        node = cfg
        for key in path.split("."):
            node = node.get(key) if hasattr(node, "get") else getattr(node, key, None)
            if node is None:
                break
        else:
            return node
    return default


def default_writers(output_dir: str, max_iter: int | None = None) -> list[EventWriter]:
    """A log line, ``metrics.json`` and TensorBoard events; makes ``output_dir``."""
    PathManager.mkdirs(output_dir)
    metrics = JSONWriter(os.path.join(output_dir, "metrics.json"))
    return [CommonMetricPrinter(max_iter), metrics, TensorboardXWriter(output_dir)]


def create_ddp_model(model: nn.Module, *, fp16_compression: bool = False, **kwargs) -> nn.Module:
    """``model`` as it is for one process, else wrapped in DistributedDataParallel.

    Args:
        model: on the device of this process.
        fp16_compression: send gradients as float16.
        **kwargs: of DistributedDataParallel; ``device_ids`` defaults to this process' GPU, and to
            None for a model on the CPU.
    """
    if comm.get_world_size() == 1:
        return model
    from torch.nn.parallel import DistributedDataParallel

    if any(parameter.is_cuda for parameter in model.parameters()):
        kwargs.setdefault("device_ids", [comm.get_local_rank()])
    ddp = DistributedDataParallel(model, **kwargs)
    if fp16_compression:
        from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import fp16_compress_hook

        ddp.register_comm_hook(state=None, hook=fp16_compress_hook)
    return ddp
