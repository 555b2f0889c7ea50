"""The classes' rows of a trained model's last layers, found by name for a model of other classes.

Three kinds of layers depend on the classes. Scores have a row for each and one for the background
(last): ``cls_score``, ``class_predictor`` of `transformers`, and the last layers of semantic
networks, where a single class may do without the background's row. ``bbox_pred`` has four rows for
each class, ``mask_head.predictor`` one; these two may be class-agnostic, with the rows of one only.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any

import torch

# The latter three: of segmentation-models-pytorch, and U²-Net's side maps and their fusion.
_SCORES = ("cls_score", "class_predictor", "segmentation_head.0", "network.sides", "network.fuse")
_KINDS = "|".join(map(re.escape, (*_SCORES, "bbox_pred", "mask_head.predictor")))
_HEAD = re.compile(rf"(?:.*\.)?(?P<kind>{_KINDS})(?:(?<=sides)\.\d+)?\.(?:weight|bias)")
_ROWS_PER_CLASS = {**dict.fromkeys(_SCORES, 1), "bbox_pred": 4, "mask_head.predictor": 1}

BY_NAME, SHARED, FRESH = "by name", "shared by all classes", "fresh"


def match_classes(classes: Sequence[str], source: Sequence[str]) -> list[int | None]:
    """The place of each class in ``source``, None where it isn't there.

    Names are equal, or equal but for case, spaces and underscores ("Hot_Dog" is "hot dog") where
    that means one class only. Synonyms aren't guessed.
    """
    loose = [_loose(name) for name in source]
    return [_place(name, list(source), loose) for name in classes]


def _place(name: str, source: list[str], loose: list[str]) -> int | None:
    if name in source:
        return source.index(name)
    return loose.index(_loose(name)) if loose.count(_loose(name)) == 1 else None


def _loose(name: str) -> str:
    return re.sub(r"[\s_]+", "", name).casefold()


def pair_heads(
    state: Mapping[str, Any], model_state: Mapping[str, Any], *, by_suffix: bool = False
) -> dict[str, str | None]:
    """For each class-dependent key of the model the key of the checkpoint that loads into it.

    Args:
        state: the checkpoint's; ``module.`` before all of its keys is overlooked, as in loading.
        by_suffix: the loader matches keys by suffix, so a key may lack the model's prefix.
    """
    wrapped = all(key.startswith("module.") for key in state)
    keys = {key.removeprefix("module.") if wrapped else key: key for key in state}
    heads = [key for key in model_state if _HEAD.fullmatch(key)]
    return {head: _source_key(head, keys, by_suffix) for head in heads}


def _source_key(head: str, keys: Mapping[str, str], by_suffix: bool) -> str | None:
    if head in keys or not by_suffix:
        return keys.get(head)
    parts = head.split(".")
    suffixes = (".".join(parts[k:]) for k in range(1, len(parts)))  # the longest first
    return next((keys[s] for s in suffixes if s in keys and _HEAD.fullmatch(s)), None)


def num_source_classes(state: Mapping[str, Any], pairs: Mapping[str, str | None]) -> int | None:
    """Classes of the checkpoint by its score layers, background left out; None without any.

    Raises:
        ValueError: if its score layers differ in that.
    """
    layers = (key for head, key in pairs.items() if key and kind_of(head) in _SCORES)
    counts = {max(len(state[key]) - 1, 1) for key in layers}
    if len(counts) > 1:
        raise ValueError(f"its score layers have different numbers of classes: {sorted(counts)}")
    return counts.pop() if counts else None


def kind_of(key: str) -> str:
    """The layer that a class-dependent key belongs to: ``cls_score``, ``bbox_pred``, ..."""
    return _HEAD.fullmatch(key)["kind"]


def transfer_heads(
    state: MutableMapping[str, Any],
    model_state: Mapping[str, torch.Tensor],
    pairs: Mapping[str, str | None],
    rows: Sequence[int | None],
    num_source: int | None,
) -> dict[str, str]:
    """Give the checkpoint's class-dependent layers the model's classes, in place.

    Args:
        state: the checkpoint's, of tensors or arrays; layers that don't fit are taken out of it.
        model_state: the model's, whose values stay for classes that are new.
        pairs: see `pair_heads`.
        rows: for each class of the model its place among the checkpoint's, or None.
        num_source: the checkpoint's number of classes; None takes nothing.

    Returns:
        For each such layer of the model `BY_NAME`, `SHARED` or `FRESH`.
    """
    layers: dict[str, dict[str, str | None]] = {}
    for head, key in pairs.items():
        layers.setdefault(head.rpartition(".")[0], {})[head] = key
    done = {}
    for layer, keys in layers.items():
        new = [_new_values(state, model_state, pair, rows, num_source) for pair in keys.items()]
        if None in new:  # a weight without its bias means nothing
            done[layer] = FRESH
            for key in keys.values():
                state.pop(key, None)
        else:
            done[layer] = new[0][1]
            state.update(zip(keys.values(), (values for values, _ in new), strict=True))
    return done


def _new_values(
    state: Mapping[str, Any],
    model_state: Mapping[str, torch.Tensor],
    pair: tuple[str, str | None],
    rows: Sequence[int | None],
    num_source: int | None,
) -> tuple[torch.Tensor, str] | None:
    """`_transferred` for one key of the model and that of the checkpoint, if there is one."""
    head, key = pair
    if key is None or num_source is None:
        return None
    source = torch.as_tensor(state[key])
    return _transferred(kind_of(head), source, model_state[head], rows, num_source)


def _transferred(
    kind: str,
    source: torch.Tensor,
    target: torch.Tensor,
    rows: Sequence[int | None],
    num_source: int,
) -> tuple[torch.Tensor, str] | None:
    """New values for ``target`` and how they came about; None if ``source`` doesn't fit."""
    if kind == "network.fuse" and source.ndim > 1:
        return _fused(source, target, rows)
    if source.shape[1:] != target.shape[1:]:
        return None
    per_class = _ROWS_PER_CLASS[kind]
    if len(source) % per_class or len(target) % per_class:
        return None
    new = target.detach().clone()
    old, mine = (t.unflatten(0, (-1, per_class)) for t in (source, new))
    if kind in _SCORES:
        if (len(old) == 1) != (len(mine) == 1):
            return None
        if len(old) > 1:
            mine[-1] = old[-1]
            old, mine = old[:-1], mine[:-1]
    elif len(old) == 1 and (num_source > 1 or len(mine) < len(rows)):
        mine[:] = old
        return new, SHARED
    if len(old) != num_source or len(mine) != len(rows):
        return None
    kept = [(k, row) for k, row in enumerate(rows) if row is not None]
    if kept:
        places, wanted = map(list, zip(*kept, strict=True))
        mine[places] = old[wanted].to(mine)
    return new, BY_NAME


def _fused(
    source: torch.Tensor, target: torch.Tensor, rows: Sequence[int | None]
) -> tuple[torch.Tensor, str] | None:
    """`_transferred` for U²-Net's fusion ``[C, S * C, 1, 1]`` of S maps of the same C outputs."""
    if (len(source) == 1) != (len(target) == 1):
        return None
    pairs = [(k, row) for k, row in enumerate(rows) if row is not None]
    if len(source) > 1:
        pairs.append((len(target) - 1, len(source) - 1))
    new = target.detach().clone()
    old, mine = (t.unflatten(1, (-1, len(t))) for t in (source, new))
    if pairs:
        places, wanted = torch.tensor(pairs).T
        taken = old[wanted[:, None], :, wanted]
        mine[places[:, None], :, places] = taken.to(mine)
    return new, BY_NAME
