"""Weights & Biases and MLflow, spoken to through stand-ins for their packages."""

import builtins
import json
import sys
from types import ModuleType, SimpleNamespace

from project.engine.trackers import MlflowWriter, WandbWriter
from project.errors import UserError

import pytest
from detectron2.config import LazyCall, instantiate
from detectron2.utils.events import EventStorage


def write(writer, iteration, **scalars):
    with EventStorage(iteration) as storage:
        storage.put_scalars(smoothing_hint=False, **scalars)
        writer.write()


@pytest.fixture
def wandb(monkeypatch):
    """A stand-in that notes its calls in ``calls``, and what it was sent in ``rows``."""
    module = ModuleType("wandb")
    module.calls, module.rows = [], []

    def init(**options):
        module.calls.append(("init", options))
        return SimpleNamespace(
            log=module.rows.append,
            define_metric=lambda *args, **kw: module.calls.append(("define_metric", args, kw)),
            finish=lambda: module.calls.append(("finish",)),
        )

    module.init = init
    monkeypatch.setitem(sys.modules, "wandb", module)
    return module


@pytest.fixture
def mlflow(monkeypatch):
    """A stand-in with one server: ``calls`` of clients, ``metrics`` as (key, value, step)."""
    module = ModuleType("mlflow")
    module.calls, module.metrics, experiments = [], [], {}

    class Client:
        def __init__(self, tracking_uri):
            module.calls.append(("client", tracking_uri))

        def get_experiment_by_name(self, name):
            return experiments.get(name)

        def create_experiment(self, name, artifact_location):
            module.calls.append(("create_experiment", name, artifact_location))
            experiments[name] = SimpleNamespace(experiment_id="7")
            return "7"

        def create_run(self, experiment_id, run_name):
            module.calls.append(("create_run", experiment_id, run_name))
            return SimpleNamespace(info=SimpleNamespace(run_id="abc"))

        def update_run(self, run_id, status):
            module.calls.append(("update_run", run_id, status))

        def log_param(self, run_id, key, value):
            module.calls.append(("log_param", run_id, key, value))

        def log_batch(self, run_id, metrics):
            assert run_id == "abc"
            module.metrics += [(m.key, m.value, m.step) for m in metrics]

        def set_terminated(self, run_id, status):
            module.calls.append(("set_terminated", run_id, status))

    def metric(key, value, timestamp, step):
        assert timestamp > 1.6e12  # milliseconds
        return SimpleNamespace(key=key, value=value, step=step)

    module.MlflowClient, module.entities = Client, SimpleNamespace(Metric=metric)
    monkeypatch.setitem(sys.modules, "mlflow", module)
    return module


def named(module, name):
    return [call for call in module.calls if call[0] == name]


def test_wandb_gets_each_iteration_once(wandb, tmp_path):
    node = LazyCall(WandbWriter)(output_dir=str(tmp_path), project="cakes", config=dict(lr=0.1))
    writer = instantiate(node)
    assert not wandb.calls  # nothing is begun before there is something to send
    write(writer, 9, loss=1.0)
    write(writer, 9, loss=1.0)
    write(writer, 19, **{"loss": 2.0, "segm/AP": 30.0})
    writer.close()
    ((_, options),) = named(wandb, "init")
    assert options.pop("id") == json.loads((tmp_path / "wandb.json").read_text())["run_id"]
    assert options == {
        "resume": "allow",
        "dir": str(tmp_path),
        "project": "cakes",
        "mode": "offline",
        "config": {"lr": 0.1},
        "name": tmp_path.name,
    }
    assert named(wandb, "define_metric") == [
        ("define_metric", ("*",), {"step_metric": "iteration"})
    ]
    assert wandb.rows == [
        {"iteration": 9, "loss": 1.0},
        {"iteration": 19, "loss": 2.0, "segm/AP": 30.0},
    ]
    assert len(named(wandb, "finish")) == 1


def test_a_resumed_run_goes_on_in_the_same_wandb_run(wandb, tmp_path):
    first = WandbWriter(tmp_path, "cakes")
    write(first, 9, loss=1.0)
    write(first, 19, loss=2.0)  # then it was killed, and goes on from iteration 10
    second = WandbWriter(tmp_path, "cakes")
    write(second, 19, loss=2.0)
    write(second, 19, **{"segm/AP": 30.0})
    write(second, 29, loss=3.0)
    ids = {options["id"] for _, options in named(wandb, "init")}
    assert len(ids) == 1
    assert wandb.rows == [
        {"iteration": 9, "loss": 1.0},
        {"iteration": 19, "loss": 2.0},
        {"iteration": 19, "segm/AP": 30.0},
        {"iteration": 29, "loss": 3.0},
    ]


def test_runs_in_two_folders_are_two_runs(wandb, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write(WandbWriter(tmp_path / name, "cakes"), 9, loss=1.0)
    assert len({options["id"] for _, options in named(wandb, "init")}) == 2


def test_mlflow_gets_metrics_parameters_and_an_end(mlflow, tmp_path):
    writer = MlflowWriter(tmp_path, "cakes", config={"lr": 0.1})
    write(writer, 9, **{"loss": 1.0, "segm/AP-hot dog": 5.0, "[metric]scale": 2.0})
    writer.close()
    assert mlflow.calls == [
        ("client", f"sqlite:///{tmp_path}/mlflow.db"),
        ("create_experiment", "cakes", f"file://{tmp_path}/mlflow_artifacts"),
        ("create_run", "7", tmp_path.name),
        ("log_param", "abc", "lr", 0.1),
        ("set_terminated", "abc", "FINISHED"),
    ]
    assert sorted(mlflow.metrics) == [
        ("_metric_scale", 2.0, 9),
        ("loss", 1.0, 9),
        ("segm/AP-hot dog", 5.0, 9),
    ]


def test_a_resumed_run_goes_on_in_the_same_mlflow_run(mlflow, tmp_path):
    first = MlflowWriter(tmp_path, "cakes", config={"lr": 0.1})
    write(first, 9, loss=1.0)
    first.close()
    second = MlflowWriter(tmp_path, "cakes", config={"lr": 0.2})
    write(second, 9, loss=1.0)
    write(second, 19, loss=2.0)
    assert len(named(mlflow, "create_run")) == len(named(mlflow, "log_param")) == 1
    assert named(mlflow, "update_run") == [("update_run", "abc", "RUNNING")]
    assert mlflow.metrics == [("loss", 1.0, 9), ("loss", 2.0, 19)]


def test_an_mlflow_server_keeps_its_own_artifacts(mlflow, tmp_path):
    write(MlflowWriter(tmp_path, "cakes", tracking_uri="http://there:5000"), 9, loss=1.0)
    write(MlflowWriter(tmp_path, "cakes", tracking_uri="http://there:5000"), 19, loss=1.0)
    assert named(mlflow, "create_experiment") == [("create_experiment", "cakes", None)]
    assert named(mlflow, "client")[0] == ("client", "http://there:5000")


def test_a_tracker_that_cannot_be_reached_ends_nothing(wandb, tmp_path, caplog):
    real, wandb.init = wandb.init, None
    writer = WandbWriter(tmp_path, "cakes")
    write(writer, 9, loss=1.0)
    write(writer, 19, loss=2.0)
    assert len([r for r in caplog.records if r.levelname == "WARNING"]) == 1
    assert "wandb can't be written" in caplog.text
    wandb.init = real
    write(writer, 29, loss=3.0)
    assert [row["iteration"] for row in wandb.rows] == [9, 19, 29]


def test_nothing_sent_nothing_to_close(wandb, tmp_path):
    WandbWriter(tmp_path, "cakes").close()
    assert not wandb.calls
    assert not (tmp_path / "wandb.json").exists()


@pytest.mark.parametrize("kind, package", [(WandbWriter, "wandb"), (MlflowWriter, "mlflow")])
def test_a_missing_package_is_told(kind, package, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, package, None)  # import raises ImportError
    with pytest.raises(UserError, match=f"needs the package '{package}'.*pip install {package}"):
        kind(tmp_path, "cakes")


@pytest.mark.parametrize("content", [b'{"run_id": "a', b"[]", b"\xff"])
def test_a_damaged_file_is_named(wandb, tmp_path, content):
    (tmp_path / "wandb.json").write_bytes(content)
    with pytest.raises(UserError, match="wandb.json can't be read: .*; remove it to begin another"):
        WandbWriter(tmp_path, "cakes")


def test_importing_the_writers_imports_no_tracker(monkeypatch):
    asked = []
    real = builtins.__import__

    def spy(name, *args, **kwargs):
        asked.append(name.partition(".")[0])
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", spy)
    monkeypatch.delitem(sys.modules, "project.engine.trackers")
    __import__("project.engine.trackers")
    assert "json" in asked
    assert not {"wandb", "mlflow"} & set(asked)


def test_an_unknown_mode_is_told(wandb, tmp_path):
    with pytest.raises(UserError, match="unknown mode of Weights & Biases 'ofline'; did you mean"):
        WandbWriter(tmp_path, "cakes", mode="ofline")
