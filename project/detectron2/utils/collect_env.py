"""What a run ran on; follows ``detectron2.utils.collect_env``.

Versions come from the packages' metadata: nothing is imported for them (torchvision alone would
cost seconds), and no compiler, CUDA toolkit or GPU is needed.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
from pathlib import Path

import numpy as np
import torch
from tabulate import tabulate

__all__ = ["collect_env_info"]

_DISTRIBUTIONS = (
    "torchvision",
    "Pillow",
    "opencv-python",
    "opencv-python-headless",
    "pycocotools",
    "fvcore",
    "iopath",
    "omegaconf",
    "hydra-core",
)


def collect_env_info() -> str:
    """A text table (platform, versions, GPUs, variables), then PyTorch's build settings."""
    rows = [*_system(), *_torch(), *_gpus(), *_packages(), *_variables()]
    return tabulate(rows) + "\n" + torch.__config__.show()


def _system() -> list[tuple[str, str]]:
    return [
        ("Platform", platform.platform()),
        ("CPU cores", str(os.cpu_count())),
        ("Python", sys.version.replace("\n", "")),
        ("Interpreter", sys.executable),
        ("detectron2", str(Path(__file__).parents[1])),
        ("numpy", np.__version__),
    ]


def _torch() -> list[tuple[str, str]]:
    rows = [
        ("PyTorch", f"{torch.__version__} @ {Path(torch.__file__).parent}"),
        ("PyTorch debug build", str(torch.version.debug)),
        ("CUDA of PyTorch", torch.version.cuda or "none"),
        ("GPU available", str(torch.cuda.is_available())),
    ]
    if torch.backends.cudnn.is_available():
        rows.append(("cuDNN", str(torch.backends.cudnn.version())))
    return rows


def _gpus() -> list[tuple[str, str]]:
    rows = []
    for i in range(torch.cuda.device_count()):
        gpu = torch.cuda.get_device_properties(i)
        memory = f"{gpu.total_memory / 2**30:.1f} GiB"
        rows.append((f"GPU {i}", f"{gpu.name} (arch {gpu.major}.{gpu.minor}, {memory})"))
    return rows


def _packages() -> list[tuple[str, str]]:
    found = ((name, _version(name)) for name in _DISTRIBUTIONS)
    return [(name, version) for name, version in found if version]


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _variables() -> list[tuple[str, str]]:
    wanted = ("CUDA_", "NCCL_", "OMP_", "DETECTRON2_", "FVCORE_", "PROJECT_DETECTRON2")
    return [(name, value) for name, value in sorted(os.environ.items()) if name.startswith(wanted)]
