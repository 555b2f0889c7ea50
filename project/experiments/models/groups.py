"""Runs that differ by seed only are one model."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass

from project.errors import UserError, unknown_name
from project.experiments.models.runs import ModelRun
from project.experiments.plan import value_text
from project.experiments.runs import IGNORED

# "_seed1", "-s1", "run", or a separator alone; other digits belong to the name ("unet_R34").
_SEED_ENDING = re.compile(r"[\W_]*((seed|run|(?<=[\W_])s)[\W_]*\d*)?$", re.IGNORECASE)


@dataclass(frozen=True, eq=False)
class Model:
    """A model with the runs that trained it; seeds ascend.

    Attributes:
        label: unique among the models of a comparison.
    """

    label: str
    runs: Sequence[ModelRun]

    @property
    def kind(self) -> str:
        return self.runs[0].kind


def group_models(runs: Sequence[ModelRun]) -> list[Model]:
    """The runs as models, in the order of their first.

    Raises:
        UserError: if two runs have the same config and seed.
    """
    grouped: dict[str, list[ModelRun]] = {}
    for run in runs:
        grouped.setdefault(_setting(run), []).append(run)
    for members in grouped.values():
        members.sort(key=lambda run: run.seed)
        for a, b in zip(members, members[1:], strict=False):
            if a.seed == b.seed:
                raise UserError(
                    f"{a.folder} and {b.folder} have the same config and the same seed {a.seed}; "
                    f"leave one of them out"
                )
    labels = _labels(list(grouped.values()))
    return [Model(*pair) for pair in zip(labels, grouped.values(), strict=True)]


def _setting(run: ModelRun) -> str:
    """What makes a run another model: its config without seed, places and logging."""
    ignored = tuple(f"{key}." for key in IGNORED)
    kept = {k: v for k, v in run.config.items() if not f"{k}.".startswith(ignored)}
    return value_text([run.kind, sorted(kept.items())])


def _labels(groups: Sequence[Sequence[ModelRun]]) -> list[str]:
    """The folders' names, without what tells seeds apart; unique."""
    labels = [_common_name([run.name for run in members]) for members in groups]
    if len(set(labels)) < len(labels):
        paths = [members[0].folder.resolve() for members in groups]
        labels = [
            f"{path.parent.name}/{label}" if labels.count(label) > 1 else label
            for path, label in zip(paths, labels, strict=True)
        ]
    return [
        f"{label} ({labels[: place + 1].count(label)})" if labels.count(label) > 1 else label
        for place, label in enumerate(labels)
    ]


def _common_name(names: Sequence[str]) -> str:
    """ "unet" of "unet_seed0" and "unet_seed1"; a single name as it is."""
    if len(names) == 1:
        return names[0]
    shared = os.path.commonprefix(list(names))
    if any(name[len(shared) :][:1].isdigit() for name in names):
        shared = shared.rstrip("0123456789")  # 1 of 10 and 11 is part of a number
    return _SEED_ENDING.sub("", shared) or names[0]


def find_model(models: Sequence[Model], name: str) -> Model:
    """The model of that label, or with a run in a folder of that name.

    Raises:
        UserError: if there is none.
    """
    for model in models:
        if name == model.label or name in [run.name for run in model.runs]:
            return model
    raise UserError(unknown_name("model", name, [model.label for model in models]))
