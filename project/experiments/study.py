"""A sweep that searches: Optuna proposes the points, hears how they do, and prunes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from project.errors import UserError, unknown_name
from project.experiments.plan import Point, Range, Setting, Sweep, make_point, short_keys
from project.experiments.runs import flat_results, read_metrics, read_record, read_results
from project.experiments.store import (
    DONE,
    FAILED,
    MAX_ATTEMPTS,
    PRUNED,
    WAITING,
    Record,
    SweepStore,
)

JOURNAL = "study.log"


class StudySource:
    """The runs of a study; its journal in the sweep's folder says all that was tried.

    A trial that was begun before (in the journal, without a result) goes on first.
    """

    def __init__(self, sweep: Sweep, folder: Path, store: SweepStore) -> None:
        self.sweep, self.folder, self.store = sweep, folder, store
        self.study = open_study(sweep, store.folder)
        search = sweep.study.search
        self.space = {key: _distribution(what) for key, what in search.items()}
        self._check_unchanged()
        self.trials, self.told = {}, {}
        self._sizes: dict[int, int] = {}  # of each trial's metrics file, when it was last read
        records = [r for r in store.records.values() if r.trial is not None]
        self._begun = [record for record in records if _is_open(record)]
        self._left = sweep.study.trials - len(records)

    def _check_unchanged(self) -> None:
        """Raise a `UserError` where what was begun isn't of the sweep's study."""
        file, remedy = self.store.folder / JOURNAL, "choose another --output"
        known, wanted = self.study.trials, self.sweep.study.direction
        for record in self.store.records.values():
            if record.trial is not None and record.trial >= len(known):
                raise UserError(f"{file} has lost {record.point.name}; put it back, or {remedy}")
        if (begun := self.study.direction.name.lower()) != wanted:
            raise UserError(f"study: {file} was begun to {begun}, not to {wanted}; {remedy}")
        for trial in known:
            for key, before in trial.distributions.items():
                if key in self.space and not _go_together(before, self.space[key]):
                    raise UserError(f"study: {file} was begun with {key} from {before}; {remedy}")

    def take(self) -> Record | None:
        from optuna.trial import Trial

        if self._begun:
            record = self._begun.pop(0)
            trial = self.study.trials[record.trial]
            self.trials[record.trial] = Trial(self.study, trial._trial_id)
            self.told[record.trial] = set(trial.intermediate_values)
            return record
        if self._left <= 0:
            return None
        self._left -= 1
        trial = self.study.ask(self.space)
        self.trials[trial.number], self.told[trial.number] = trial, set()
        record = self.store.add(self._point(trial), trial.number)
        self.store.save()
        return record

    def _point(self, trial) -> Point:
        values = {key: trial.params[key] for key in self.space}
        short = short_keys(self.sweep.keys)
        seed = self.sweep.seeds[0]
        point = make_point(self.sweep, self.folder, Setting(), "", values, seed, short)
        return Point(f"trial-{trial.number:03}", values, seed, point.config, point.overrides)

    def is_hopeless(self, record: Record) -> bool:
        """Tell the study what the run's evaluations gave since; whether it would prune the run.

        It is asked several times a second: only what is new is read, and judged.
        """
        news = self._report(record)
        return news and self.sweep.study.prune and self.trials[record.trial].should_prune()

    def _report(self, record: Record) -> bool:
        """Tell the study what is new; whether anything was."""
        folder, number = self.store.run_dir(record.point.name), record.trial
        file = folder / "metrics.json"
        size = file.stat().st_size if file.is_file() else 0
        if size == self._sizes.get(number, 0):
            return False
        self._sizes[number] = size
        trial, told = self.trials[number], self.told[number]
        before = len(told)
        for row in read_metrics(folder):
            value, step = row.get(self.sweep.study.metric), row["iteration"]
            if value is not None and math.isfinite(value) and step not in told:
                trial.report(value, step)
                told.add(step)
        return len(told) > before

    def finished(self, record: Record) -> None:
        from optuna.trial import TrialState

        if record.state == FAILED and record.attempts < MAX_ATTEMPTS:
            return  # it is tried again by the next call
        self._report(record)
        trial = self.trials[record.trial]
        metric, found = self.sweep.study.metric, {}
        if record.state == DONE:
            folder = self.store.run_dir(record.point.name)
            found = flat_results(read_record(folder))
        if found.get(metric) is not None:
            self.study.tell(trial, found[metric])
        else:
            state = TrialState.PRUNED if record.state == PRUNED else TrialState.FAIL
            self.study.tell(trial, state=state)
        if record.state == DONE and metric not in found:  # no trial would ever have it
            raise UserError(f"study: {unknown_name('metric', metric, found)}")


def _is_open(record: Record) -> bool:
    return record.state == WAITING or (record.state == FAILED and record.attempts < MAX_ATTEMPTS)


def open_study(sweep: Sweep, folder: Path):
    """The Optuna study in the sweep's folder, new or as it was left."""
    try:
        import optuna
        from optuna.storages.journal import JournalFileBackend
    except ImportError:
        raise UserError("a study needs Optuna: pip install -e '.[sweep]'") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    plan = sweep.study
    pruner = optuna.pruners.NopPruner()
    if plan.prune:
        pruner = optuna.pruners.MedianPruner(n_startup_trials=plan.warmup_trials)
    folder.mkdir(parents=True, exist_ok=True)
    return optuna.create_study(
        storage=optuna.storages.JournalStorage(JournalFileBackend(str(folder / JOURNAL))),
        # Each call of the tool draws anew: the same seed would propose the first points again.
        sampler=optuna.samplers.TPESampler(seed=None if (folder / JOURNAL).exists() else plan.seed),
        pruner=pruner,
        study_name="sweep",
        direction=plan.direction,
        load_if_exists=True,
    )


def _distribution(what: Range | Sequence):
    """What Optuna draws a key's values from."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if not isinstance(what, Range):
        return CategoricalDistribution(list(what))
    whole = isinstance(what.low, int) and isinstance(what.high, int)
    return (IntDistribution if whole else FloatDistribution)(what.low, what.high, log=what.log)


def _go_together(one, other) -> bool:
    """Whether a study may hold values from both: ranges may become others, choices may not."""
    same = (getattr(one, name, None) == getattr(other, name, None) for name in ("choices", "log"))
    return type(one) is type(other) and all(same)


def best_line(sweep: Sweep, store: SweepStore) -> str:
    """What the study found, in a line; "" before any run is done."""
    done = [r for r in store.records.values() if r.state == DONE]
    values = {r.point.name: read_results(store.run_dir(r.point.name)) for r in done}
    scored = [(v[sweep.study.metric], n) for n, v in values.items() if sweep.study.metric in v]
    if not scored:
        return ""
    value, name = (max if sweep.study.direction == "maximize" else min)(scored)
    found = ", ".join(f"{k}={v}" for k, v in store.records[name].point.columns.items())
    return f"best {sweep.study.metric} {value:.4g}: {name} ({found})"
