"""How long the gradients are."""

from __future__ import annotations

import logging
import math
from collections import defaultdict

from project.engine.checks import check_whole
from project.engine.loop import bare

import torch
from detectron2.engine import HookBase
from detectron2.utils import comm
from torch import nn

logger = logging.getLogger(__name__)


class GradientNorms(HookBase):
    """Stores L2 norms of the gradients before clipping: ``gradient_norm/total`` and per module.

    The modules are the model's direct children: ``gradient_norm/backbone``, .... Parameters without
    a gradient count as 0. Norms that aren't finite are named in the log, except where float16's
    loss scaling is on, which meets and skips them by design. The host waits for the device only in
    the steps that are measured.

    Args:
        period: iterations from one measurement to the next.
    """

    stage = "step"

    def __init__(self, period: int = 20) -> None:
        check_whole("gradient norms' period", period, 1)
        self._period = period

    def after_backward(self) -> None:
        if (self.trainer.iter + 1) % self._period or not comm.is_main_process():
            return
        scaler = getattr(self.trainer, "grad_scaler", None)
        scaled = scaler is not None and scaler.is_enabled()
        norms = gradient_norms(self.trainer.model, scaler.get_scale() if scaled else 1.0)
        for name, norm in norms.items():
            self.trainer.storage.put_scalar(f"gradient_norm/{name}", norm)
        bad = [name for name, norm in norms.items() if not math.isfinite(norm)]
        if bad and not scaled:
            logger.warning(
                "gradients are not finite at iteration %d: %s", self.trainer.iter, ", ".join(bad)
            )


def gradient_norms(model: nn.Module, scale: float = 1.0) -> dict[str, float]:
    """``{"total": norm, child: norm, ...}``, divided by ``scale``, from one read of the device."""
    gradients: dict[str, list[torch.Tensor]] = defaultdict(list)
    for name, parameter in bare(model).named_parameters():
        child = gradients[name.split(".")[0]]
        if parameter.grad is not None:
            child.append(parameter.grad)
    if not any(gradients.values()):
        return dict.fromkeys(["total", *gradients], 0.0)
    device = next(chain[0].device for chain in gradients.values() if chain)
    norms = [nn.utils.get_total_norm(chain).to(device) for chain in gradients.values()]
    norms = torch.stack([norm.double() for norm in norms])
    total, *each = (torch.cat([norms.norm()[None], norms]) / scale).tolist()
    return {"total": total, **dict(zip(gradients, each, strict=True))}
