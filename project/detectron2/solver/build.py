"""Parameter groups for an optimizer (API of ``detectron2.solver.build``).

Better than upstream: the caller's ``overrides`` stay as they are, so one dict serves many calls.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from torch import nn

__all__ = ["get_default_optimizer_params"]

_NORMS = (
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.BatchNorm3d,
    nn.SyncBatchNorm,
    nn.GroupNorm,
    nn.InstanceNorm1d,
    nn.InstanceNorm2d,
    nn.InstanceNorm3d,
    nn.LayerNorm,
    nn.LocalResponseNorm,
)


def get_default_optimizer_params(
    model: nn.Module,
    base_lr: float | None = None,
    weight_decay: float | None = None,
    weight_decay_norm: float | None = None,
    bias_lr_factor: float | None = 1.0,
    weight_decay_bias: float | None = None,
    lr_factor_func: Callable[[str], float] | None = None,
    overrides: Mapping[str, Mapping[str, float]] | None = None,
) -> list[dict]:
    """Groups of trainable parameters with equal settings, in order of first appearance.

    A group holds ``params`` and those of ``lr`` and ``weight_decay`` that were set. Each parameter
    appears once, however many modules share it.

    Args:
        model: its parameters with ``requires_grad`` are grouped.
        base_lr: learning rate of every parameter.
        weight_decay: weight decay of every parameter.
        weight_decay_norm: weight decay of parameters of normalization layers.
        bias_lr_factor: factor on `base_lr` for parameters called ``bias``.
        weight_decay_bias: weight decay of parameters called ``bias``, those of norms too.
        lr_factor_func: factor on `base_lr` for a parameter by its name ``module.parameter`` (a
            parameter of `model` itself is called ``.parameter``).
        overrides: settings by the local name of a parameter (``"weight"``, ``"bias"``, ...); they
            win over everything else.

    Raises:
        ValueError: if a factor has no `base_lr` to multiply, or both the bias options and
            `overrides` speak of ``bias``.
    """
    by_name = _overrides_with_bias(base_lr, bias_lr_factor, weight_decay_bias, overrides)
    if lr_factor_func is not None and base_lr is None:
        raise ValueError("lr_factor_func needs base_lr, the rate that its factors multiply")
    defaults = _without_none(lr=base_lr, weight_decay=weight_decay)
    for_norms = _without_none(weight_decay=weight_decay_norm)

    groups: dict[tuple, dict] = {}
    for module, module_name, name, parameter in _trainable(model):
        settings = defaults | (for_norms if isinstance(module, _NORMS) else {})
        if lr_factor_func is not None:
            settings["lr"] = base_lr * lr_factor_func(f"{module_name}.{name}")
        settings |= by_name.get(name, {})
        group = groups.setdefault(tuple(sorted(settings.items())), {"params": [], **settings})
        group["params"].append(parameter)
    return list(groups.values())


def _trainable(model: nn.Module) -> Iterator[tuple[nn.Module, str, str, nn.Parameter]]:
    seen = set()
    for module_name, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.requires_grad and parameter not in seen:
                seen.add(parameter)
                yield module, module_name, name, parameter


def _overrides_with_bias(base_lr, bias_lr_factor, weight_decay_bias, overrides) -> dict[str, dict]:
    """`overrides` as plain dicts, the bias options among them as an entry for ``bias``."""
    merged = {name: dict(settings) for name, settings in (overrides or {}).items()}
    bias = _without_none(weight_decay=weight_decay_bias)
    if bias_lr_factor not in (None, 1.0):
        if base_lr is None:
            raise ValueError(f"bias_lr_factor={bias_lr_factor} needs base_lr, which it multiplies")
        bias["lr"] = base_lr * bias_lr_factor
    if bias and "bias" in merged:
        raise ValueError("give the settings of 'bias' in overrides or as bias options, not both")
    return merged | ({"bias": bias} if bias else {})


def _without_none(**settings: float | None) -> dict[str, float]:
    return {key: value for key, value in settings.items() if value is not None}
