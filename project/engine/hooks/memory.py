"""How much memory a run needs."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from project.engine.checks import check_whole

import torch
from detectron2.engine import HookBase

MIB = 2**20


class Memory(HookBase):
    """Stores what this process holds: ``memory/process_mib``, and on a GPU its peaks.

    ``memory/gpu_allocated_peak_mib`` is what tensors took at most since the last report,
    ``memory/gpu_reserved_peak_mib`` what PyTorch held for them; then the peaks begin anew. Loader
    processes aren't counted. Each rank stores its own; that of rank 0 is written.

    Args:
        period: iterations from one report to the next.
    """

    stage = "step"

    def __init__(self, period: int = 20) -> None:
        check_whole("memory's period", period, 1)
        self._period = period

    def after_step(self) -> None:
        if (self.trainer.iter + 1) % self._period:
            return
        figures = {"process_mib": process_mib()}
        device = next(self.trainer.model.parameters()).device
        if device.type == "cuda":
            figures["gpu_allocated_peak_mib"] = torch.cuda.max_memory_allocated(device) / MIB
            figures["gpu_reserved_peak_mib"] = torch.cuda.max_memory_reserved(device) / MIB
            torch.cuda.reset_peak_memory_stats(device)
        for name, value in figures.items():
            self.trainer.storage.put_scalar(f"memory/{name}", value, smoothing_hint=False)


def process_mib() -> float:
    """Resident memory of this process in MiB; where there is no ``/proc``, its peak so far."""
    try:
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    except OSError:
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / (MIB if sys.platform == "darwin" else 1024)  # bytes there, KiB elsewhere
    return pages * os.sysconf("SC_PAGE_SIZE") / MIB
