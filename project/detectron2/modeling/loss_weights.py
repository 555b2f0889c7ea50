"""The weight of each loss of a head, from one number or from some names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def weight_per_loss(
    loss_weight: float | Mapping[str, float], names: Sequence[str]
) -> dict[str, float]:
    """``{name: weight}``: the same number for all names, or each its own and 1 where missing."""
    if isinstance(loss_weight, Mapping):
        return {name: loss_weight.get(name, 1.0) for name in names}
    return dict.fromkeys(names, loss_weight)
