"""The watchdog: who is late, whose stacks are written, and how the run ends."""

import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

from project.engine.watchdog import SLOWER, Sign, Watchdog, find_late

import pytest


def sign(rank, phase="step", iteration=5, count=0, age=0.0, done=False) -> Sign:
    return Sign(rank, phase, iteration, count, age, done)


def late(*signs: Sign) -> int | None:
    found = find_late(list(signs), timeout=10)
    return None if found is None else found.rank


def test_all_are_in_time():
    assert late(sign(0, age=9), sign(1, age=10)) is None
    assert late() is None


def test_the_one_that_came_least_far_is_late():
    assert late(sign(0, iteration=6, age=30), sign(1, iteration=5, age=29)) == 1
    assert late(sign(0, count=2, age=30), sign(1, count=1, age=29), sign(2, count=2)) == 1


def test_among_equals_the_longest_silent_one_is_late():
    assert late(sign(0, age=11), sign(1, age=12)) == 1


def test_those_who_wait_for_a_slow_phase_of_another_are_not_late():
    saving = sign(0, "checkpoint", iteration=4, age=10 * SLOWER - 1)
    assert late(saving, sign(1, age=10 * SLOWER)) is None
    assert late(saving._replace(age=10 * SLOWER + 1), sign(1, age=10 * SLOWER)) == 0


def test_who_is_done_is_not_late():
    assert late(sign(0, age=99, done=True), sign(1, age=1)) is None


def test_a_run_without_trouble_leaves_no_file(tmp_path):
    with Watchdog(tmp_path, timeout=0.5) as watchdog:
        for iteration in range(8):
            watchdog.beat("step", iteration)
            time.sleep(0.1)
    assert list(tmp_path.iterdir()) == []


def test_another_process_may_remove_the_folder_first(tmp_path, monkeypatch):
    def removed(folder):
        raise FileNotFoundError(folder)

    monkeypatch.setattr(Path, "rmdir", removed)
    with Watchdog(tmp_path):
        pass


def test_an_evaluation_may_take_longer(tmp_path):
    with Watchdog(tmp_path, timeout=0.2) as watchdog:
        watchdog.beat("evaluation", 3)
        time.sleep(0.8)
    assert list(tmp_path.iterdir()) == []


def test_off(tmp_path):
    with Watchdog(tmp_path, timeout=0) as watchdog:
        watchdog.beat("step", 0)
        assert list(tmp_path.iterdir()) == []


def test_a_beat_costs_microseconds(tmp_path):
    watchdog = Watchdog(tmp_path)
    begin = time.perf_counter()
    for iteration in range(1000):
        watchdog.beat("step", iteration)
    assert (time.perf_counter() - begin) / 1000 < 1e-4


def test_stacks_on_demand(tmp_path):
    import signal

    with Watchdog(tmp_path) as watchdog:
        os.kill(os.getpid(), signal.SIGUSR1)
        assert "test_stacks_on_demand" in watchdog.file.read_text()


SCRIPT = """
    import sys, time
    from project.engine.interrupt import Interrupted
    from project.engine.launch import Processes, launch
    from project.engine.watchdog import Watchdog
    from project.errors import UserError
    from detectron2.utils import comm
    import torch
    import torch.distributed as dist

    def step(watchdog, iteration):
        watchdog.beat("data", iteration)
        if iteration == 3 and comm.get_rank() == comm.get_world_size() - 1:
            oversleep()
        watchdog.beat("step", iteration)
        if comm.get_world_size() > 1:
            dist.all_reduce(torch.ones(1))

    def oversleep():
        time.sleep(60)

    class Sleeper(torch.utils.data.Dataset):
        def __len__(self):
            return 8

        def __getitem__(self, index):
            if index == 3:
                oversleep()
            return index

    def stuck(folder):
        with Watchdog(folder, comm.get_rank(), comm.get_world_size(), timeout=1.0) as watchdog:
            for iteration in range(5):
                step(watchdog, iteration)

    def loader(folder):
        with Watchdog(folder, timeout=1.0) as watchdog:
            batches = torch.utils.data.DataLoader(Sleeper(), num_workers=1, batch_size=None)
            for iteration, _ in enumerate(batches):
                watchdog.beat("data", iteration)

    if __name__ == "__main__":
        try:
            launch(globals()[sys.argv[1]], Processes(int(sys.argv[2])), "cpu", args=("run",))
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(getattr(error, "exit_code", 2))
"""


def run(function: str, processes: int, tmp_path) -> subprocess.CompletedProcess:
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SCRIPT))
    command = [sys.executable, str(script), function, str(processes)]
    return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=55)


def test_a_stuck_process_is_named_and_ends_the_run(tmp_path):
    done = run("stuck", 2, tmp_path)
    assert done.returncode == 70, done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: process 1 of 2 is late: in data of iteration 3 since ")
    assert "the others wait (process 0 in step of iteration 3" in last
    assert "--resume" in last
    first, second = ((tmp_path / f"run/stacks/rank{rank}.txt").read_text() for rank in (0, 1))
    assert "process 1 of 2 is late" in first
    assert "all_reduce" in first
    assert "oversleep" not in first
    assert "oversleep" in second


@pytest.mark.slow
@pytest.mark.parametrize("function, phase", [("stuck", "data of iteration 3"), ("loader", "data")])
def test_a_run_of_one_process(tmp_path, function, phase):
    done = run(function, 1, tmp_path)
    assert done.returncode == 70, done.stderr
    assert f"error: process 0 of 1 is late: in {phase}" in done.stderr
    assert "oversleep" in (tmp_path / "run/stacks/rank0.txt").read_text()
