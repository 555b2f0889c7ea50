"""Where subsets live on this machine."""

from __future__ import annotations

import os
from pathlib import Path


def datasets_root(root: str | Path | None = None) -> Path:
    """``root``, else the environment's ``DETECTRON2_DATASETS``, else ``datasets``."""
    return Path(root or os.environ.get("DETECTRON2_DATASETS") or "datasets")
