"""Weights of a model of other classes: what its last layers know of ours is kept, by name."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from project.data.coco_classes import COCO_CLASSES
from project.errors import UserError
from project.modeling.head_transfer import (
    BY_NAME,
    match_classes,
    num_source_classes,
    pair_heads,
    transfer_heads,
)
from project.modeling.norms import norm_mismatch

from detectron2.checkpoint import DetectionCheckpointer

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Transfer:
    """What became of the classes when weights were loaded.

    Attributes:
        weights: the file or URL.
        named_by: what told the classes of the weights.
        num_source: how many classes they have; None if no layer of theirs depends on classes.
        kept: class → (its name, its place) in the weights.
        fresh: classes that start from random values.
        cut: classes of the weights that nobody asked for.
        layers: class-dependent layer → "by name", "shared by all classes" or "fresh".
    """

    weights: str
    named_by: str
    num_source: int | None
    kept: dict[str, tuple[str, int]]
    fresh: list[str]
    cut: list[str]
    layers: dict[str, str]

    def as_dict(self) -> dict[str, Any]:
        """The same as plain data, for JSON."""
        return asdict(self)

    def table(self) -> str:
        """A line for each class, then what was cut and each layer."""
        width = max(map(len, ["class", *self.kept, *self.fresh]))
        lines = [f"{'class':<{width}}  taken from"]
        lines += [f"{name:<{width}}  {old} (row {row})" for name, (old, row) in self.kept.items()]
        lines += [f"{name:<{width}}  nothing: starts fresh" for name in self.fresh]
        if self.num_source is not None:
            lines.append(f"{len(self.cut)} of {self.num_source} classes of the weights are cut")
        lines += [f"{layer}: {how}" for layer, how in self.layers.items()]
        return "\n".join(lines)


def load_pretrained(
    checkpointer: DetectionCheckpointer,
    weights: str,
    classes: Sequence[str],
    source_classes: Sequence[str] | None = None,
) -> Transfer | None:
    """Load weights into the checkpointer's model, class-dependent layers by the names of classes.

    Everything else loads as `DetectionCheckpointer` does it, and no checkpointable is loaded.
    Classes that the weights don't have start from the model's own values.

    Args:
        weights: file or URL of any kind that the checkpointer knows; "" loads nothing.
        classes: names of the model's classes, in order.
        source_classes: names of the weights' classes, in order. By default those that the
            checkpoint keeps as ``classes``; or COCO's where it has 80; or, where it has as many as
            the model, the model's own.

    Returns:
        What was kept, cut and fresh, also logged; None where no file was read ("", or a rank that
        gets the weights from rank 0).

    Raises:
        UserError: if ``source_classes`` are not as many as the checkpoint's.
        Exception: what the checkpointer raises for a file that can't be read.
    """
    found: list[Transfer] = []
    load_model = checkpointer._load_model

    def with_heads_by_name(checkpoint: dict[str, Any]):
        found.append(_prepare(checkpoint, checkpointer, weights, classes, source_classes))
        return load_model(checkpoint)

    # Between reading and loading is where every checkpointer, Detectron2's and fvcore's, calls
    # this method; reading the file ourselves would do without their formats and their ranks.
    checkpointer._load_model = with_heads_by_name
    try:
        checkpointer.resume_or_load(weights, resume=False)
    finally:
        del checkpointer._load_model
    if not found:
        return None
    transfer = found[0]
    names = f"classes named by {transfer.named_by}"
    logger.info("Last layers from %s (%s):\n%s", weights, names, transfer.table())
    return transfer


def _prepare(
    checkpoint: dict[str, Any],
    checkpointer: DetectionCheckpointer,
    weights: str,
    classes: Sequence[str],
    source_classes: Sequence[str] | None,
) -> Transfer:
    """Change the heads in ``checkpoint`` to those of our classes; the account of it."""
    state, model_state = checkpoint["model"], checkpointer.model.state_dict()
    if mismatch := norm_mismatch(checkpointer.model, state):
        logger.warning("%s: %s", weights, mismatch)
    by_suffix = bool(checkpoint.get("matching_heuristics", False))
    pairs = pair_heads(state, model_state, by_suffix=by_suffix)
    count = num_source_classes(state, pairs)
    names, named_by = _source_names(checkpoint, count, weights, classes, source_classes)
    rows = match_classes(classes, names)
    layers = transfer_heads(state, model_state, pairs, rows, count if names else None)
    if BY_NAME not in layers.values():
        rows = [None] * len(classes)
    places = dict(zip(classes, rows, strict=True))
    kept = {name: (names[row], row) for name, row in places.items() if row is not None}
    return Transfer(
        weights=str(weights),
        named_by=named_by,
        num_source=count,
        kept=kept,
        fresh=[name for name in classes if name not in kept],
        cut=[name for row, name in enumerate(names) if row not in rows],
        layers=layers,
    )


def _source_names(
    checkpoint: dict[str, Any],
    count: int | None,
    weights: str,
    classes: Sequence[str],
    given: Sequence[str] | None,
) -> tuple[list[str], str]:
    """The checkpoint's classes in order, none if nobody knows them; and who told."""
    if count is None:
        return [], "nobody, as they have no such layers"
    if given is not None:
        if len(given) != count:
            raise UserError(
                f"train.init_classes names {len(given)} classes and {weights} has {count}; name "
                f"them all, in its order"
            )
        return list(given), "train.init_classes"
    own = checkpoint.get("classes")
    if isinstance(own, list | tuple) and len(own) == count and all(isinstance(x, str) for x in own):
        return list(own), "the checkpoint"
    if count == len(COCO_CLASSES):
        return list(COCO_CLASSES), "COCO, as there are 80"
    if count == len(classes):
        logger.warning(
            "%s doesn't name its %d classes: taken for the model's own, in their order; if they "
            "are others, name them in train.init_classes",
            weights,
            count,
        )
        return list(classes), "the model, as there are as many"
    logger.warning(
        "%s doesn't name its %d classes, so none of them is kept; name them in their order with "
        "train.init_classes=[...]",
        weights,
        count,
    )
    return [], "nobody"
