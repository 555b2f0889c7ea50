"""utils: processes, seeds, environment, files, memory, loggers (contract 14.3, 14.4)."""

from __future__ import annotations

import json
import logging
import os
import random
import subprocess
import sys
import textwrap

import project  # noqa: F401

import numpy as np
import pytest
import torch
from detectron2.utils import comm
from detectron2.utils.collect_env import collect_env_info
from detectron2.utils.env import seed_all_rng
from detectron2.utils.file_io import PathManager
from detectron2.utils.logger import (
    create_small_table,
    log_every_n,
    log_every_n_seconds,
    log_first_n,
    setup_logger,
)
from detectron2.utils.memory import retry_if_cuda_oom


def test_a_single_process_needs_no_group():
    assert comm.get_world_size() == 1
    assert comm.get_rank() == 0
    assert comm.get_local_rank() == 0
    assert comm.get_local_size() == 1
    assert comm.is_main_process()
    comm.synchronize()
    assert comm.all_gather({"a": 1}) == [{"a": 1}]
    assert comm.gather("x") == ["x"]
    losses = {"b": torch.tensor(2.0), "a": torch.tensor(1.0)}
    assert comm.reduce_dict(losses) == losses


def test_shared_seed_is_the_first_draw_of_numpy():
    np.random.seed(5)
    first = int(np.random.randint(2**31))
    np.random.seed(5)
    assert comm.shared_random_seed() == first


WORKERS = """
    import sys
    import warnings
    warnings.simplefilter("error")
    import project
    import numpy as np
    import torch
    import torch.distributed as dist
    from detectron2.data.datasets import register_coco_instances
    from detectron2.engine import SimpleTrainer, create_ddp_model, launch
    from detectron2.evaluation import COCOEvaluator
    from detectron2.structures import Boxes, Instances
    from detectron2.utils import comm


    def worker(folder, word):
        rank = comm.get_rank()
        assert (comm.get_world_size(), comm.get_local_size()) == (2, 2)
        assert comm.get_local_rank() == rank
        assert comm.is_main_process() == (rank == 0)
        assert comm.all_gather({"rank": rank}) == [{"rank": 0}, {"rank": 1}]
        assert comm.gather(rank * "x") == (["", "x"] if rank == 0 else [])
        assert comm.gather(rank, dst=1) == ([0, 1] if rank == 1 else [])
        np.random.seed(rank)
        first = int(np.random.RandomState(0).randint(2**31))
        assert comm.shared_random_seed() == first
        # The keys come in another order on each rank.
        names = ["a", "b"] if rank == 0 else ["b", "a"]
        values = {name: torch.tensor(float(10 * rank + (name == "b"))) for name in names}
        mean = comm.reduce_dict(values)
        total = comm.reduce_dict(values, average=False)
        if rank == 0:
            assert {k: v.item() for k, v in mean.items()} == {"a": 5.0, "b": 6.0}
            assert {k: v.item() for k, v in total.items()} == {"a": 10.0, "b": 12.0}
        model = create_ddp_model(torch.nn.Linear(1, 1, bias=False), fp16_compression=False)
        model(torch.full((1, 1), float(rank))).sum().backward()
        assert model.module.weight.grad.item() == 0.5
        train_together(rank)
        evaluate_together(rank, folder)
        comm.synchronize()
        with open(f"{folder}/{word}{rank}", "w") as file:
            file.write("done")


    class RankLoss(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.w = torch.nn.Parameter(torch.zeros(()))

        def forward(self, values):
            return {"loss_a": self.w + values[0], "loss_b": self.w + values[1]}


    def train_together(rank):
        bad = float("nan") if rank == 1 else 0.0
        model = RankLoss()
        batches = [(1.0 + rank, 10.0), (bad, 10.0)]
        trainer = SimpleTrainer(model, batches, torch.optim.SGD(model.parameters(), lr=0.0))
        try:
            trainer.train(0, 2)
        except FloatingPointError:  # on both ranks, or the other one would wait for ever
            assert trainer.iter == 1
        else:
            raise AssertionError("nobody noticed the NaN")
        stored = trainer.storage.latest()
        names = {"rank_data_time"}
        if rank == 0:
            names |= {"data_time", "total_loss", "loss_a", "loss_b"}
            assert stored["loss_a"] == (1.5, 0)  # the mean of 1 and 2
            assert stored["total_loss"] == (11.5, 0)
        assert set(stored) == names, stored


    def evaluate_together(rank, folder):
        register_coco_instances("two", {}, f"{folder}/gt.json", "images")
        evaluator = COCOEvaluator("two")
        fields = Instances((40, 50))
        fields.pred_boxes = Boxes(torch.tensor([[4.0, 4, 24, 24]]))
        fields.scores, fields.pred_classes = torch.ones(1), torch.zeros(1, dtype=torch.int64)
        evaluator.process([{"image_id": 1 + rank}], [{"instances": fields}])
        results = evaluator.evaluate()
        assert (results["bbox"]["AP"] > 99.9) if rank == 0 else (results == {})


    def fails(folder, word):
        raise KeyError("rank failed")


    if __name__ == "__main__":
        func = {"worker": worker, "fails": fails}[sys.argv[2]]
        launch(func, 2, dist_url="auto", args=(sys.argv[1], "w"))
        assert not dist.is_initialized()
"""


def run_workers(folder, function: str) -> subprocess.CompletedProcess:
    """Spawned children import the worker's module by name, so it has to be a file."""
    script = folder / "two_process_workers.py"
    script.write_text(textwrap.dedent(WORKERS))
    box = {"bbox": [4, 4, 20, 20], "area": 400, "iscrowd": 0, "category_id": 1}
    images = [{"id": i, "file_name": f"{i}.png", "height": 40, "width": 50} for i in (1, 2)]
    truth = {
        "images": images,
        "annotations": [{"id": i, "image_id": i, **box} for i in (1, 2)],
        "categories": [{"id": 1, "name": "thing"}],
    }
    (folder / "gt.json").write_text(json.dumps(truth))
    return subprocess.run(
        [sys.executable, str(script), str(folder), function],
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.slow  # a second start of three processes
def test_a_failing_rank_fails_the_launch(tmp_path):
    done = run_workers(tmp_path, "fails")
    assert done.returncode != 0
    assert "rank failed" in done.stderr


@pytest.mark.bundled  # upstream: DDP on the CPU fails, and the group stays alive
def test_two_processes_exchange_objects(tmp_path):
    done = run_workers(tmp_path, "worker")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "w0").read_text() == (tmp_path / "w1").read_text() == "done"
    assert "destroy_process_group" not in done.stderr


@pytest.mark.parametrize("seed", [0, 123, 2**32 - 1])
def test_seeding_repeats_every_generator(seed):
    def draw():
        seed_all_rng(seed)
        return np.random.rand(), random.random(), torch.rand(1).item()

    try:
        assert draw() == draw()
        assert os.environ["PYTHONHASHSEED"] == str(seed)
        assert torch.initial_seed() == seed
    finally:
        os.environ.pop("PYTHONHASHSEED", None)


def test_no_seed_differs_each_time():
    try:
        seed_all_rng(None)
        first = torch.initial_seed()
        seed_all_rng(None)
        assert torch.initial_seed() != first
    finally:
        os.environ.pop("PYTHONHASHSEED", None)


def test_environment_is_told_without_cuda():
    text = collect_env_info()
    for part in (torch.__version__, np.__version__, "Python", "torchvision"):
        assert part in text


def test_model_zoo_paths_go_to_the_public_storage(monkeypatch, tmp_path):
    file = tmp_path / "R-50.pkl"
    file.write_bytes(b"weights")
    asked = []

    def fetch(self, path, **kwargs):
        asked.append(path)
        return str(file)

    from iopath.common.file_io import HTTPURLHandler

    monkeypatch.setattr(HTTPURLHandler, "_get_local_path", fetch)
    with PathManager.open("detectron2://ImageNetPretrained/MSRA/R-50.pkl", "rb") as opened:
        assert opened.read() == b"weights"
    url = "https://dl.fbaipublicfiles.com/detectron2/ImageNetPretrained/MSRA/R-50.pkl"
    assert asked == [url]


class FakeCudaTensor:
    """Has what makes something a tensor for `retry_if_cuda_oom`."""

    def __init__(self, device="cuda"):
        self.device = torch.device(device)

    def to(self, device):
        return FakeCudaTensor(device)


def failing(times, message="CUDA out of memory. Tried to allocate 2 GiB"):
    seen = []

    def func(x, y=None, z=None):
        devices = tuple(getattr(v, "device", None) and v.device.type for v in (x, y))
        seen.append((*devices, z))
        if len(seen) <= times:
            raise RuntimeError(message)
        return "result"

    return func, seen


@pytest.mark.parametrize("times", [0, 1, 2])
def test_out_of_memory_is_tried_again_and_then_on_the_cpu(times):
    func, seen = failing(times)
    nested = [FakeCudaTensor()]
    assert retry_if_cuda_oom(func)(FakeCudaTensor(), y=FakeCudaTensor(), z=nested) == "result"
    on_gpu, on_cpu = ("cuda", "cuda", nested), ("cpu", "cpu", nested)
    assert seen == [on_gpu] * min(times + 1, 2) + [on_cpu] * (times == 2)


def test_third_out_of_memory_and_other_errors_pass():
    func, seen = failing(3)
    with pytest.raises(RuntimeError, match="out of memory"):
        retry_if_cuda_oom(func)(FakeCudaTensor())
    assert len(seen) == 3
    func, seen = failing(3, "shapes differ")
    with pytest.raises(RuntimeError, match="shapes differ"):
        retry_if_cuda_oom(func)(1)
    assert len(seen) == 1


@pytest.fixture
def logger_name(request):
    """A logger of this test's own, without handlers afterwards."""
    name = f"logger_of_{request.node.name}"
    yield name
    for handler in list(logging.getLogger(name).handlers):
        logging.getLogger(name).removeHandler(handler)


def test_main_rank_writes_to_stdout_and_file(tmp_path, logger_name, capsys):
    logger = setup_logger(str(tmp_path), name=logger_name, color=False, abbrev_name="short")
    assert setup_logger(str(tmp_path), name=logger_name, color=False, abbrev_name="short") is logger
    assert logger.level == logging.DEBUG
    assert not logger.propagate
    logger.getChild("part").warning("a %s", "message")
    printed, written = capsys.readouterr().out, (tmp_path / "log.txt").read_text()
    for text in (printed, written):
        assert text.count("a message") == 1
        assert "short.part" in text
        assert "WARNING" in text


@pytest.mark.parametrize("output, file", [("", "log.txt.rank3"), ("x.log", "x.log.rank3")])
def test_other_ranks_write_to_their_own_file_only(tmp_path, logger_name, capsys, output, file):
    logger = setup_logger(str(tmp_path / output), distributed_rank=3, name=logger_name)
    logger.info("quiet")
    assert capsys.readouterr().out == ""
    assert "quiet" in (tmp_path / file).read_text()


@pytest.mark.bundled  # upstream adds a second stream for other arguments
def test_a_second_output_prints_no_line_twice(tmp_path, logger_name, capsys):
    setup_logger(str(tmp_path / "a.txt"), name=logger_name)
    logger = setup_logger(str(tmp_path / "b.txt"), name=logger_name)
    logger.info("once")
    assert capsys.readouterr().out.count("once") == 1
    assert "once" in (tmp_path / "a.txt").read_text()
    assert "once" in (tmp_path / "b.txt").read_text()


def test_log_first_n_counts_call_sites_or_messages(caplog):
    caplog.set_level(logging.INFO)
    for i in range(4):
        log_first_n(logging.INFO, f"site {i}", n=2, name="anyone")
        log_first_n(logging.INFO, "same", name="anyone", key="message")
    log_first_n(logging.INFO, "same", name="anyone", key="message")
    assert [r.getMessage() for r in caplog.records] == ["site 0", "same", "site 1"]


def test_log_first_n_with_both_keys(caplog):
    caplog.set_level(logging.INFO)
    for i in range(4):
        log_first_n(logging.INFO, f"parity {i % 2}", name="anyone", key=("caller", "message"))
    assert [r.getMessage() for r in caplog.records] == ["parity 0", "parity 1"]


def test_log_every_n(caplog):
    caplog.set_level(logging.INFO)
    for i in range(7):
        log_every_n(logging.INFO, f"{i}", n=3, name="anyone")
    assert [r.getMessage() for r in caplog.records] == ["0", "3", "6"]


def test_log_every_n_seconds(caplog):
    caplog.set_level(logging.INFO)
    for i in range(3):
        log_every_n_seconds(logging.INFO, f"{i}", n=60, name="anyone")
    assert [r.getMessage() for r in caplog.records] == ["0"]


def test_small_table_has_names_and_rounded_numbers():
    header, _, row = create_small_table({"AP": 12.34567, "AP50": 40.0}).splitlines()
    assert [cell.strip() for cell in header.strip("|").split("|")] == ["AP", "AP50"]
    assert [float(cell) for cell in row.strip("|").split("|")] == [12.346, 40.0]


@pytest.mark.bundled
def test_names_and_their_objects():
    from detectron2.utils.registry import Registry, locate

    assert locate("torch.nn.Conv2d.forward") is torch.nn.Conv2d.forward
    assert locate("os.path") is os.path
    assert locate("len") is len
    for unknown in ("torch.nn.Conv7d", "no_such_package.x"):
        with pytest.raises(ImportError, match=f"is called '{unknown}'"):
            locate(unknown)
    registry = Registry("THINGS")
    registry.register(len)
    assert registry.get("len") is len


@pytest.mark.bundled
def test_utils_modules_are_reached_from_the_package():
    import detectron2.utils

    assert detectron2.utils.comm is comm
    with pytest.raises(AttributeError, match="no_such_module"):
        _ = detectron2.utils.no_such_module
