"""How good and how long the quickstart is: the real tool, once a seed, on the same scenes."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from project.benchmarks.machine import describe_machine
from project.errors import UserError

REPO = Path(__file__).resolve().parents[2]


def run_quickstart(seeds: Sequence[int], work_dir: Path, overrides: Sequence[str] = ()) -> dict:
    """Train the quickstart with each seed; ``{"machine", "command", "runs": [...]}``.

    Each run holds ``seed``, ``seconds`` (the whole command, start-up and evaluation included),
    ``iterations`` and percent (0-100) on ``scenes_val``: ``segm_AP50``, ``segm_AP``, ``bbox_AP``,
    and the masks' AP of each class.

    Raises:
        UserError: if a run fails or its folder is in use.
    """
    runs = []
    for seed in seeds:
        run_dir = work_dir / f"quickstart_seed{seed}"
        command = [sys.executable, "tools/train_net.py", f"train.seed={seed}"]
        command += [f"train.output_dir={run_dir.absolute()}", *overrides]
        started = time.perf_counter()
        if subprocess.run(command, cwd=REPO).returncode:
            raise UserError(f"the run with seed {seed} failed; see {run_dir}/log.txt")
        runs.append(summary(seed, time.perf_counter() - started, run_dir))
    numbers = map(str, seeds)
    command = ["python tools/benchmark.py quickstart", *overrides, "--seeds", *numbers]
    return {"machine": describe_machine(), "command": " ".join(command), "runs": runs}


def summary(seed: int, seconds: float, run_dir: Path) -> dict:
    """One run's row, from its ``results.json``."""
    record = json.loads((run_dir / "results.json").read_text("utf-8"))
    segm, bbox = record["results"]["segm"], record["results"]["bbox"]
    return {
        "seed": seed,
        "seconds": round(seconds),
        "iterations": record["iterations"],
        "segm_AP50": segm["AP50"],
        "segm_AP": segm["AP"],
        "bbox_AP": bbox["AP"],
        **{f"segm_{key}": value for key, value in segm.items() if key.startswith("AP-")},
    }
