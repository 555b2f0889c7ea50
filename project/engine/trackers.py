"""Writers for experiment trackers: Weights & Biases and MLflow, both on this machine by default.

Each keeps its run's id in a file of the run folder, so that a resumed run goes on in the same
place. What a killed run had sent stays there and isn't sent again. A tracker that can't be reached
doesn't end a run: values wait.
"""

from __future__ import annotations

import importlib
import json
import re
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from project.engine.files import write_json
from project.engine.writers import Outage, Progress, Records
from project.errors import UserError, one_line, unknown_name

from detectron2.utils.events import EventWriter, get_event_storage


class Tracker(EventWriter):
    """What trackers have in common; ``package`` is the module, and the name of the id's file.

    Args:
        output_dir: the run folder.
        window_size: window of the medians, in iterations.
    """

    package: str

    def __init__(self, output_dir: str | Path, window_size: int = 20) -> None:
        self._output_dir, self._window_size = Path(output_dir), window_size
        self._module = self._import()
        self._file = self._output_dir / f"{self.package}.json"
        state = _read_state(self._file) if self._file.is_file() else {}
        self._run_id: str = state.get("run_id", "")
        self._sent = Progress(state.get("iteration", -1), state.get("names", ()))
        self._taken = self._sent.copy()  # sent, or waiting
        self._waiting: Records = {}
        self._is_open = False
        self._outage = Outage(self.package)

    def _import(self) -> ModuleType:
        try:
            return importlib.import_module(self.package)
        except ImportError as error:
            raise UserError(
                f"{type(self).__name__} needs the package {self.package!r} ({error}); install it "
                f"with pip install {self.package}, or take the writer out of train.writers"
            ) from error

    def _open(self, run_id: str) -> str:
        """Begin a run, or continue ``run_id`` where it isn't ""; returns its id."""
        raise NotImplementedError

    def _send(self, iteration: int, record: Mapping[str, float]) -> None:
        raise NotImplementedError

    def _finish(self) -> None:
        raise NotImplementedError

    def write(self) -> None:
        scalars = get_event_storage().latest_with_smoothing_hint(self._window_size)
        news = self._taken.news(scalars)
        self._taken.note(news)
        for when, record in news.items():
            self._waiting[when] = self._waiting.get(when, {}) | record
        try:
            self._flush()
        except Exception as error:  # networks, servers and disks fail in many ways
            self._outage.begin(error)
        else:
            self._outage.end()

    def _flush(self) -> None:
        if not self._waiting:
            return
        if not self._is_open:
            self._run_id = self._open(self._run_id)
            self._is_open = True
            self._keep()
        for when in sorted(self._waiting):
            self._send(when, self._waiting[when])
            self._sent.note({when: self._waiting.pop(when)})
        self._keep()

    def _keep(self) -> None:
        state = {
            "run_id": self._run_id,
            "iteration": self._sent.iteration,
            "names": sorted(self._sent.names),
        }
        write_json(self._file, state)

    def close(self) -> None:
        if not self._is_open:
            return
        self._is_open = False
        try:
            self._finish()
        except Exception as error:  # as in write: the run itself is over and well
            self._outage.begin(error)


def _read_state(file: Path) -> dict:
    """What `Tracker` keeps of a run.

    Raises:
        UserError: if the file holds something else.
    """
    try:
        state = json.loads(file.read_text("utf-8"))
        if not isinstance(state, dict):
            raise ValueError(f"expected keys with values, got {state!r}")
    except ValueError as error:
        raise UserError(
            f"{file} can't be read: {one_line(error)}; remove it to begin another run there"
        ) from error
    return state


WANDB_MODES = ("offline", "online")


class WandbWriter(Tracker):
    """Writes to Weights & Biases; the key ``iteration`` is the axis of all curves.

    Args:
        output_dir: the run folder; offline runs land in its folder ``wandb``.
        project: in Weights & Biases.
        name: of the run; default the run folder's.
        mode: "offline" sends nothing (``wandb sync`` does later), "online" needs an account.
        config: shown beside the run, e.g. ``dict(lr="${optimizer.lr}")``.
        window_size: window of the medians, in iterations.

    Raises:
        UserError: if the package is missing.
    """

    package = "wandb"

    def __init__(
        self,
        output_dir: str | Path,
        project: str,
        *,
        name: str = "",
        mode: str = "offline",
        config: Mapping[str, Any] | None = None,
        window_size: int = 20,
    ) -> None:
        if mode not in WANDB_MODES:
            raise UserError(unknown_name("mode of Weights & Biases", mode, WANDB_MODES))
        super().__init__(output_dir, window_size)
        self._options = {"project": project, "mode": mode, "config": dict(config or {})}
        self._options["name"] = name or self._output_dir.name

    def _open(self, run_id: str) -> str:
        run_id = run_id or uuid.uuid4().hex
        self._run = self._module.init(
            id=run_id, resume="allow", dir=str(self._output_dir), **self._options
        )
        # Its own steps can't be gone back to when a run resumes before them.
        self._run.define_metric("*", step_metric="iteration")
        return run_id

    def _send(self, iteration: int, record: Mapping[str, float]) -> None:
        self._run.log({**record, "iteration": iteration})

    def _finish(self) -> None:
        self._run.finish()


class MlflowWriter(Tracker):
    """Writes to MLflow, by default to the database ``mlflow.db`` of the run folder.

    Args:
        output_dir: the run folder.
        experiment: made where there is none of that name.
        name: of the run; default the run folder's.
        tracking_uri: a server or a database. MLflow no longer takes a plain folder.
        config: the run's parameters, e.g. ``dict(lr="${optimizer.lr}")``.
        window_size: window of the medians, in iterations.

    Raises:
        UserError: if the package is missing.
    """

    package = "mlflow"

    def __init__(
        self,
        output_dir: str | Path,
        experiment: str,
        *,
        name: str = "",
        tracking_uri: str = "",
        config: Mapping[str, Any] | None = None,
        window_size: int = 20,
    ) -> None:
        super().__init__(output_dir, window_size)
        self._experiment, self._config = experiment, dict(config or {})
        self._name = name or self._output_dir.name
        database = self._output_dir.absolute() / "mlflow.db"
        self._uri = tracking_uri or f"sqlite:///{database}"

    def _open(self, run_id: str) -> str:
        self._client = self._module.MlflowClient(tracking_uri=self._uri)
        if run_id:
            self._client.update_run(run_id, status="RUNNING")
            return run_id
        run = self._client.create_run(self._experiment_id(), run_name=self._name)
        for key, value in self._config.items():
            self._client.log_param(run.info.run_id, key, value)
        return run.info.run_id

    def _experiment_id(self) -> str:
        known = self._client.get_experiment_by_name(self._experiment)
        if known is not None:
            return known.experiment_id
        # Else a database would put artifacts below the folder where the tool was started.
        artifacts = (self._output_dir / "mlflow_artifacts").absolute().as_uri()
        location = artifacts if self._uri.startswith("sqlite:") else None
        return self._client.create_experiment(self._experiment, artifact_location=location)

    def _send(self, iteration: int, record: Mapping[str, float]) -> None:
        now = int(1000 * time.time())
        metric = self._module.entities.Metric
        metrics = [
            metric(_UNWANTED.sub("_", key), value, now, iteration) for key, value in record.items()
        ]
        self._client.log_batch(self._run_id, metrics=metrics)

    def _finish(self) -> None:
        self._client.set_terminated(self._run_id, "FINISHED")


_UNWANTED = re.compile(r"[^\w\-. /]")  # what MLflow doesn't take in a metric's name
