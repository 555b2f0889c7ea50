"""What a sweep runs: named settings, grids over config keys, seeds, as one list of points."""

from __future__ import annotations

import json
import os
import re
import runpy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from project.errors import UserError, one_line

SEED = "train.seed"
Value = bool | int | float | str | None | Sequence


def _is_list(values: Any) -> bool:
    """Whether it is a sequence with anything in it, and no text."""
    return isinstance(values, Sequence) and not isinstance(values, str) and len(values) > 0


def _check_mapping(words: str, value: Any) -> None:
    """Raise a `UserError`, which begins with ``words``, unless texts are mapped to something."""
    if not (isinstance(value, Mapping) and all(isinstance(key, str) for key in value)):
        raise UserError(f"{words}, got {value!r}")


def _check_values(key: str, values: Sequence) -> None:
    """Raise a `UserError` for values that no override can give."""
    try:
        json.dumps(list(values))
    except (TypeError, ValueError):
        raise UserError(
            f"sweep: {key} has {values!r}; expected numbers, texts, True, False, None or lists"
        ) from None


@dataclass(frozen=True)
class Setting:
    """What sets one named setting apart: a config file of its own, or overrides, or both.

    Attributes:
        config: relative to the sweep file; "" is the sweep's base.
        overrides: ``key=value`` texts.
    """

    config: str = ""
    overrides: Sequence[str] = ()


@dataclass(frozen=True)
class Range:
    """Numbers between ``low`` and ``high`` for a study; ``log`` for what spans powers of ten."""

    low: float
    high: float
    log: bool = False


@dataclass(frozen=True)
class Study:
    """A search that learns from its own runs (Optuna; Akiba et al. 2019) instead of a grid.

    Attributes:
        search: config key → a `Range` (whole numbers where both ends are whole) or a list of
            choices.
        metric: what is optimised: a scalar that evaluations write to ``metrics.json``.
        direction: "maximize" or "minimize".
        trials: runs in all.
        prune: stop a run whose metric falls below the median of the others at the same iteration.
        warmup_trials: finished runs before anything is pruned.
        seed: of the search; each trial trains with the sweep's first seed.
    """

    search: Mapping[str, Range | Sequence]
    metric: str = "segm/AP"
    direction: str = "maximize"
    trials: int = 20
    prune: bool = True
    warmup_trials: int = 4
    seed: int = 0

    def check(self) -> None:
        """Raise a `UserError` for what can't be searched."""
        if self.direction not in ("maximize", "minimize"):
            raise UserError(
                f"study: direction {self.direction!r}; expected 'maximize' or 'minimize'"
            )
        if self.trials < 1:
            raise UserError(f"study: trials={self.trials}; expected at least 1")
        _check_mapping("study: search maps config keys to ranges or choices", self.search)
        for key, what in self.search.items():
            if not isinstance(what, Range):
                if not _is_list(what):
                    raise UserError(f"study: {key} has no Range or list of choices, but {what!r}")
                _check_values(key, what)
            elif not what.low <= what.high or (what.log and what.low <= 0):
                raise UserError(f"study: {key} has {what}; expected low <= high, above 0 for log")


@dataclass(frozen=True)
class Sweep:
    """A sweep file assigns one of these to ``sweep``.

    Attributes:
        base: config file, relative to the sweep file.
        overrides: ``key=value`` texts for all runs.
        settings: name → `Setting`; the first one is what the others are compared to.
        column: what the names of ``settings`` are names of, e.g. "backbone".
        grid: config key → values: every combination; or several such grids, each around ``center``.
        center: config key → the value where a grid says nothing of the key.
        seeds: of each combination, as ``train.seed``.
        study: instead of ``grid``.
        output: the folder, "" for ``output/sweeps/<name of the sweep file>``.
    """

    base: str
    overrides: Sequence[str] = ()
    settings: Mapping[str, Setting] = field(default_factory=dict)
    column: str = "setting"
    grid: Mapping[str, Sequence] | Sequence[Mapping[str, Sequence]] = field(default_factory=dict)
    center: Mapping[str, Value] = field(default_factory=dict)
    seeds: Sequence[int] = (0,)
    study: Study | None = None
    output: str = ""

    def check(self) -> None:
        """Raise a `UserError` for what can't be run."""
        if not _is_list(self.seeds) or len(set(self.seeds)) < len(self.seeds):
            raise UserError(f"seeds {self.seeds!r}: expected at least one, each once")
        _check_mapping("sweep: settings map names to a Setting(...)", self.settings)
        _check_mapping("sweep: center maps config keys to values", self.center)
        _check_values("center", list(self.center.values()))
        for name, setting in self.settings.items():
            if not isinstance(setting, Setting):
                raise UserError(f"sweep: {name!r} is {setting!r}; expected a Setting(...)")
        for overrides in (self.overrides, *(s.overrides for s in self.settings.values())):
            if isinstance(overrides, str) or not isinstance(overrides, Sequence):
                raise UserError(f"sweep: overrides are a list of texts, got {overrides!r}")
        for grid in self.grids:
            _check_mapping("sweep: a grid maps config keys to values", grid)
            for key, values in grid.items():
                if not _is_list(values):
                    raise UserError(f"sweep: {key} has no list of values, but {values!r}")
                _check_values(key, values)
        if self.study is not None:
            if any(self.grids) or self.settings or self.center:
                raise UserError("a sweep has either a study or settings, a grid and its center")
            if not isinstance(self.study, Study):
                raise UserError(f"sweep: study is {self.study!r}; expected a Study(...)")
            self.study.check()
        if SEED in self.keys:
            raise UserError(f"sweep: {SEED} is varied by 'seeds'")

    @property
    def grids(self) -> Sequence[Mapping[str, Sequence]]:
        return self.grid if _is_list(self.grid) else [self.grid]

    @property
    def keys(self) -> list[str]:
        """The config keys that are varied, in the order of the file."""
        search = self.study.search if self.study is not None else {}
        return list(dict.fromkeys([*self.center, *(k for g in self.grids for k in g), *search]))


@dataclass(frozen=True)
class Point:
    """One run to do.

    Attributes:
        name: of its folder; unique in the sweep.
        columns: what it is, for tables: the setting's name and the varied config keys.
        config: its config file.
        overrides: ``key=value`` texts, without the run folder.
    """

    name: str
    columns: Mapping[str, Value]
    seed: int
    config: str
    overrides: Sequence[str]


def load_sweep(file: str | Path) -> Sweep:
    """The `Sweep` that a sweep file assigns to ``sweep``, its paths relative to the file resolved.

    Raises:
        UserError: if the file is missing, fails, or holds none that can be run.
    """
    file = Path(file)
    if not file.is_file():
        raise UserError(f"sweep file {file} does not exist")
    try:
        content = runpy.run_path(str(file))
    except UserError:
        raise
    except Exception as error:  # a sweep file is a program: anything may come
        raise UserError(
            f"sweep file {file} fails: {type(error).__name__}: {one_line(error)}"
        ) from error
    sweep = content.get("sweep")
    if not isinstance(sweep, Sweep):
        raise UserError(f"{file} assigns no project.experiments.Sweep to the name 'sweep'")
    sweep.check()
    return sweep


def points(sweep: Sweep, folder: Path) -> list[Point]:
    """The runs of a sweep without a study; seeds vary slowest, so that pairs come early.

    Args:
        folder: of the sweep file, which its paths are relative to.
    """
    sweep.check()
    made: dict[str, Point] = {}
    short = short_keys(sweep.keys)
    settings = sweep.settings or {"": Setting()}
    for seed in sweep.seeds:
        for (name, setting), values in product(settings.items(), _combinations(sweep)):
            point = make_point(sweep, folder, setting, name, values, seed, short)
            if made.setdefault(point.name, point) != point:
                raise UserError(f"sweep: two points are called {point.name}; rename a setting")
    return list(made.values())


def first_point(sweep: Sweep, folder: Path) -> Point:
    """Some point of a sweep with a study: that of the lowest numbers and the first choices."""
    sweep.check()
    search = sweep.study.search.items()
    values = {key: what.low if isinstance(what, Range) else what[0] for key, what in search}
    short = short_keys(sweep.keys)
    return make_point(sweep, folder, Setting(), "", values, sweep.seeds[0], short)


def make_point(
    sweep: Sweep,
    folder: Path,
    setting: Setting,
    setting_name: str,
    values: Mapping[str, Value],
    seed: int,
    short: Mapping[str, str],
) -> Point:
    """The point of one setting and one choice of values."""
    words = [setting_name] if setting_name else []
    words += [f"{short[key]}-{value_text(value)}" for key, value in values.items()]
    overrides = [*sweep.overrides, *setting.overrides]
    overrides += [f"{key}={value_text(value)}" for key, value in values.items()]
    columns = {sweep.column: setting_name} if setting_name else {}
    return Point(
        name=_file_name("_".join([*words, f"seed-{seed}"])),
        columns={**columns, **values},
        seed=seed,
        config=_shown_path(folder / (setting.config or sweep.base)),
        overrides=[*overrides, f"{SEED}={seed}"],
    )


def _combinations(sweep: Sweep) -> Iterator[dict[str, Value]]:
    seen = []
    for grid in sweep.grids:
        for values in product(*grid.values()):
            chosen = {**sweep.center, **dict(zip(grid, values, strict=True))}
            if chosen not in seen:
                seen.append(chosen)
                yield chosen


def short_keys(keys: Sequence[str]) -> dict[str, str]:
    """Config key → as many of its last parts as tell it from the others: ``optimizer.lr`` → lr."""
    short = {}
    for key in keys:
        parts = key.split(".")
        for n in range(1, len(parts) + 1):
            short[key] = ".".join(parts[-n:])
            if not any(k != key and f".{k}".endswith(f".{short[key]}") for k in keys):
                break
    return short


def value_text(value: Any) -> str:
    """A value as an override's text: 0.001, true, null, [1,2]; also what else a config may hold."""
    if isinstance(value, str):
        return value
    return json.dumps(value, separators=(",", ":"), default=str)


def _file_name(text: str) -> str:
    """``text`` with all but letters, digits and ``._-+`` replaced, 120 characters at most."""
    return re.sub(r"[^\w.+-]+", "-", text).strip("-.")[:120]


def _shown_path(file: Path) -> str:
    """Relative to the working folder where it lies below, so that commands can be read."""
    file = Path(os.path.abspath(file))
    return str(file.relative_to(Path.cwd())) if file.is_relative_to(Path.cwd()) else str(file)


def parse_vary(text: str) -> tuple[str, list[str]]:
    """``("optimizer.lr", ["0.01", "0.1"])`` of ``"optimizer.lr=0.01,0.1"``; lists stay whole."""
    key, equals, rest = text.partition("=")
    values, depth = [""], 0
    for character in rest:
        depth += (character in "[{(") - (character in "]})")
        if character == "," and depth == 0:
            values.append("")
        else:
            values[-1] += character
    if not equals or not key.strip() or not all(v.strip() for v in values):
        raise UserError(f"--vary {text!r}: expected key=value,value,...")
    return key.strip(), [_plain(v.strip()) for v in values]


def _plain(text: str) -> Any:
    """A number, true, false, null or list as such, so that tables can sort it; else the text."""
    try:
        return json.loads(text)
    except ValueError:
        return text
