"""Devices, processes on the CPU, and whose message ends a failed run."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

from project.engine.children import describe_exit
from project.engine.launch import Processes, choose_device, launch, restarted, speaks
from project.errors import UserError

import pytest
import torch

REPO = Path(__file__).resolve().parents[2]

SCRIPT = """
    import sys, time
    from project.engine.launch import Processes, launch
    from project.errors import UserError
    from detectron2.utils import comm

    CONFIG = "REPO/configs/quickstart.py"

    def gather():
        ranks = comm.all_gather(comm.get_rank() + 10 * comm.get_local_rank())
        if comm.is_main_process():
            print(ranks, comm.get_world_size(), comm.get_local_size())

    def share():
        import torch
        from project.engine.trainer import share_buffers

        norm = torch.nn.BatchNorm2d(2)
        norm.running_mean += comm.get_rank() + 1
        share_buffers(norm)
        means = comm.all_gather(norm.running_mean.tolist())
        if comm.is_main_process():
            print(means)

    def average():
        import torch
        from project.engine.config import load_config
        from project.engine.trainer import Trainer, bare

        torch.save({"model": {"proposal_generator.rpn_head.conv.bias": torch.zeros(48)}}, "rpn.pth")
        torch.manual_seed(comm.get_rank())
        options = ["dataset.name=tiny", "train.device=cpu", "train.output_dir=run"]
        options += ["train.init_checkpoint=rpn.pth", "train.ema.decay=0.9"]
        trainer = Trainer(load_config(CONFIG, options))
        models = bare(trainer.model), trainer.ema_model
        sums = [sum(float(p.detach().double().sum()) for p in m.parameters()) for m in models]
        everyone = comm.all_gather(sums)
        if comm.is_main_process():
            print("equal", len({total for each in everyone for total in each}) == 1)

    def fail():
        if comm.get_rank() == 1:
            raise UserError("image 7 is broken")
        comm.synchronize()

    def crash():
        if comm.get_rank() == 0:
            raise ZeroDivisionError("in rank 0")
        comm.synchronize()

    if __name__ == "__main__":
        try:
            launch(globals()[sys.argv[1]], Processes(num_gpus=2, dist_url=sys.argv[2]), "cpu")
        except UserError as error:
            sys.exit(f"user error: {error}")
        except RuntimeError as error:
            sys.exit(f"runtime error: {error}")
"""


def run(function: str, tmp_path: Path, url: str = "auto") -> subprocess.CompletedProcess:
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SCRIPT).replace("REPO", str(REPO)))
    command = [sys.executable, str(script), function, url]
    return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)


def test_two_processes_on_the_cpu(tmp_path):
    done = run("gather", tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[0, 11] 2 2"


def test_all_processes_judge_the_main_ones_batch_norm(tmp_path):
    assert run("share", tmp_path).stdout.strip() == "[[1.0, 1.0], [1.0, 1.0]]"


@pytest.mark.slow
def test_all_processes_begin_with_the_same_fresh_weights_with_averaging(tmp_path, datasets_root):
    done = run("average", tmp_path)
    assert "equal True" in done.stdout, done.stdout + done.stderr


def test_a_users_mistake_in_one_process_ends_the_run_with_its_words(tmp_path):
    done = run("fail", tmp_path)
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1] == "user error: image 7 is broken"


def test_a_crash_in_one_process_shows_that_process(tmp_path):
    done = run("crash", tmp_path)
    assert "runtime error: process 0 failed" in done.stderr
    assert "ZeroDivisionError: in rank 0" in done.stderr


def test_one_process_runs_here():
    seen = []
    launch(seen.append, Processes(), "cpu", args=(3,))
    assert seen == [3]


@pytest.fixture
def gpus(monkeypatch):
    def pretend(count: int) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)

    monkeypatch.delenv("LOCAL_RANK", raising=False)
    return pretend


@pytest.mark.parametrize(
    "wanted, found, asked, device",
    [
        ("cuda", 0, 1, "cpu"),  # nothing to choose: the CPU
        ("cuda", 1, 1, "cuda"),
        ("cuda", 4, 4, "cuda"),
        ("cpu", 4, 2, "cpu"),
        ("cpu", 0, 4, "cpu"),
    ],
)
def test_device(gpus, wanted, found, asked, device):
    gpus(found)
    assert choose_device(wanted, Processes(num_gpus=asked)) == device


@pytest.mark.parametrize("found, asked", [(0, 2), (2, 4)])
def test_more_gpus_than_there_are(gpus, found, asked):
    gpus(found)
    with pytest.raises(UserError, match=f"{asked} GPUs were asked for and {found} found.*=cpu"):
        choose_device("cuda", Processes(num_gpus=asked))


@pytest.mark.parametrize("wanted", ["gpu", "cuda:x", None])
def test_unknown_device(wanted):
    with pytest.raises(UserError, match="expected 'cuda' or 'cpu'"):
        choose_device(wanted, Processes())


def test_one_gpu_by_its_number(gpus):
    gpus(2)
    assert choose_device("cuda:1", Processes()) == "cuda:1"
    with pytest.raises(UserError, match="has 2 GPUs, counted from 0"):
        choose_device("cuda:2", Processes())
    with pytest.raises(UserError, match="several processes need train.device=cuda"):
        choose_device("cuda:1", Processes(num_gpus=2))


@pytest.mark.parametrize(
    "flags, message",
    [
        ({"num_gpus": 0}, "--num-gpus 0: expected at least 1"),
        ({"num_gpus": -2}, "--num-gpus -2"),
        ({"num_machines": 0}, "--num-machines 0"),
        ({"num_machines": 2, "machine_rank": 2, "dist_url": "tcp://a:1"}, "expected 0 to 1"),
        ({"num_machines": 2}, "--dist-url tcp://"),
    ],
)
def test_flags_that_describe_no_run(flags, message):
    with pytest.raises(UserError, match=message):
        launch(print, Processes(**flags), "cpu")


def test_torchrun_says_how_many_processes_there_are(monkeypatch):
    for name, value in {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "4"}.items():
        monkeypatch.setenv(name, value)
    assert Processes().world_size == 4
    assert not speaks()
    with pytest.raises(UserError, match="leave out --num-gpus"):
        Processes(num_gpus=2).check()
    monkeypatch.setenv("RANK", "0")
    assert speaks()


def test_processes_that_can_not_meet(tmp_path):
    done = run("gather", tmp_path, "nonsense://x")
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert "can't meet the others at nonsense://x" in last


FAULTS = """
    import os, signal, sys, time
    from datetime import timedelta
    from pathlib import Path
    from project.engine import interrupt
    from project.engine.interrupt import Interrupted
    from project.engine.launch import Processes, launch
    from project.engine.meeting import meet
    from project.errors import UserError
    from detectron2.utils import comm
    import torch
    import torch.distributed as dist

    def killed():
        if comm.get_rank() == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(60)  # as if in a collective that knows no end

    def faulty():
        if comm.get_rank() == 0:
            import ctypes
            ctypes.string_at(0)
        comm.synchronize()

    def patient():
        short = dist.new_group(timeout=timedelta(seconds=1))
        if comm.is_main_process():
            time.sleep(1.5)
        meet("evaluation")
        dist.all_reduce(torch.ones(1), group=short)
        meet("evaluation")
        if comm.is_main_process():
            print("together")

    def train():
        with interrupt.listening():
            Path(f"pid{comm.get_rank()}").write_text(str(os.getpid()))
            asked = 0
            while not asked:
                time.sleep(0.05)
                asked = sum(comm.all_gather(int(interrupt.requested())))
            if asked == 2 and sys.argv[2] != "stubborn":
                os.kill(os.getpid(), signal.SIGTERM)  # one more, from a scheduler
                time.sleep(0.2)  # saving
                raise Interrupted(f"{interrupt.signal_name()}: saved at 7; add --resume")
            time.sleep(60)

    if __name__ == "__main__":
        try:
            launch(globals()[sys.argv[1]], Processes(num_gpus=2), "cpu")
        except UserError as error:
            sys.exit(f"user error: {error}")
        except Interrupted as error:
            print(f"interrupted: {error}", file=sys.stderr)
            sys.exit(interrupt.EXIT_CODE)
"""


def start(function: str, tmp_path: Path, mood: str = "") -> subprocess.Popen:
    script = tmp_path / "faults.py"
    script.write_text(textwrap.dedent(FAULTS))
    command = [sys.executable, str(script), function, mood]
    return subprocess.Popen(
        command, cwd=tmp_path, stdout=-1, stderr=-1, text=True, start_new_session=True
    )


def last_line(process: subprocess.Popen) -> str:
    return process.communicate(timeout=55)[1].strip().splitlines()[-1]


def both_run(tmp_path: Path) -> list[int]:
    """The process ids of the two ranks, once they train."""
    files = [tmp_path / "pid0", tmp_path / "pid1"]
    deadline = time.time() + 50
    while not all(file.is_file() and file.read_text() for file in files):
        assert time.time() < deadline
        time.sleep(0.05)
    return [int(file.read_text()) for file in files]


def test_a_killed_process_is_named_and_the_others_do_not_hang(tmp_path):
    last = last_line(start("killed", tmp_path))
    assert last.startswith("user error: process 1 was ended by SIGKILL (often out of memory")
    assert last.endswith("go on from the newest checkpoint with --resume")


@pytest.mark.slow
def test_a_fault_in_compiled_code(tmp_path):
    assert "process 0 was ended by SIGSEGV" in last_line(start("faulty", tmp_path))


@pytest.mark.parametrize(
    "code, words",
    [(-9, "SIGKILL"), (-7, "/dev/shm"), (-40, "signal 40"), (3, "exit code 3 and no message")],
)
def test_how_a_process_ended(code, words):
    assert words in describe_exit(code)


@pytest.mark.slow
def test_nobody_times_out_while_one_process_works_alone(tmp_path):
    process = start("patient", tmp_path)
    out, error = process.communicate(timeout=55)
    assert out.strip() == "together", error


@pytest.mark.parametrize(
    "to_the_group", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["kill", "ctrl-c"]
)
def test_a_signal_is_handed_on_once_and_the_run_saves(tmp_path, to_the_group):
    process = start("train", tmp_path)
    both_run(tmp_path)
    if to_the_group:
        os.killpg(process.pid, signal.SIGINT)
    else:
        process.terminate()
    name = "SIGINT" if to_the_group else "SIGTERM"
    assert last_line(process) == f"interrupted: {name}: saved at 7; add --resume"
    assert process.returncode == 75


@pytest.mark.slow
def test_a_second_signal_ends_the_run_at_once(tmp_path):
    process = start("train", tmp_path, "stubborn")
    ranks = both_run(tmp_path)
    process.terminate()
    time.sleep(1.2)
    process.terminate()
    assert "SIGTERM came twice and the run was ended at once" in last_line(process)
    assert process.returncode == 75
    for rank in ranks:
        with pytest.raises(ProcessLookupError):
            os.kill(rank, 0)


@pytest.mark.slow
def test_the_ranks_end_with_their_parent(tmp_path):
    process = start("train", tmp_path)
    ranks = both_run(tmp_path)
    process.kill()
    process.communicate(timeout=55)  # the pipes close when the last of them is gone
    for rank in ranks:
        assert not Path(f"/proc/{rank}").exists() or "Z" in Path(f"/proc/{rank}/stat").read_text()


def test_a_worker_that_torchrun_started_again_resumes(monkeypatch):
    assert not restarted()
    for name, value in {"LOCAL_RANK": "0", "WORLD_SIZE": "1"}.items():
        monkeypatch.setenv(name, value)
    assert not restarted()
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert restarted()


ELASTIC = """
    import os, signal
    from project.engine.launch import Processes, launch, restarted
    from project.engine.meeting import meet
    from project.engine.watchdog import Watchdog
    from detectron2.utils import comm

    def main():
        with Watchdog("run", comm.get_rank(), comm.get_world_size()) as watchdog:
            watchdog.beat("step", 0)
            if not restarted() and comm.get_rank() == 1:
                os.kill(os.getpid(), signal.SIGKILL)
            meet("end")
        if comm.is_main_process():
            print("resumed" if restarted() else "not resumed")

    if __name__ == "__main__":
        launch(main, Processes(), "cpu")
"""


@pytest.mark.slow
def test_torchrun_starts_a_dead_process_again(tmp_path):
    script = tmp_path / "elastic.py"
    script.write_text(textwrap.dedent(ELASTIC))
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command += ["--max-restarts", "1", "--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0"]
    done = subprocess.run(
        [*command, str(script)], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.strip() == "resumed"


GRADIENTS = """
    import sys, torch
    from project.engine.launch import Processes, launch
    from project.engine.config import load_config
    from detectron2.config import instantiate
    from detectron2.engine import create_ddp_model
    from detectron2.utils import comm
    from detectron2.utils.events import EventStorage

    def gradients(model, share, batches):
        torch.manual_seed(100 + share)  # the RPN and the heads draw the same samples
        model.zero_grad()
        with EventStorage():
            sum(model(batches[share]).values()).backward()
        return {n.removeprefix("module."): p.grad.clone() for n, p in model.named_parameters()
                if p.grad is not None}

    def main(out):
        torch.set_num_threads(1)
        torch.manual_seed(0)
        cfg = load_config(sys.argv[1], ["dataset.name=tiny"])
        model = instantiate(cfg.model).train()
        batches = torch.load(out + ".batches", weights_only=False)
        if comm.get_world_size() == 1:
            both = [gradients(model, share, batches) for share in (0, 1)]
            torch.save({n: (both[0][n] + both[1][n]) / 2 for n in both[0]}, out + ".one")
        else:
            ddp = create_ddp_model(model, broadcast_buffers=False)
            mine = gradients(ddp, comm.get_rank(), batches)
            if comm.is_main_process():
                torch.save(mine, out + ".two")

    if __name__ == "__main__":
        out = sys.argv[2]
        cfg = load_config(sys.argv[1], ["dataset.name=tiny"])
        cfg.dataloader.train.total_batch_size = 2
        loader = iter(instantiate(cfg.dataloader.train))
        torch.save([next(loader), next(loader)], out + ".batches")
        main(out)
        launch(main, Processes(num_gpus=2), "cpu", args=(out,))
"""


def test_gradients_of_two_processes_are_the_mean_of_their_shares(tmp_path, datasets_root):
    script = tmp_path / "gradients.py"
    script.write_text(textwrap.dedent(GRADIENTS))
    out = str(tmp_path / "out")
    command = [sys.executable, str(script), str(REPO / "configs/quickstart.py"), out]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    one, two = torch.load(out + ".one"), torch.load(out + ".two")
    assert set(one) == set(two)
    largest = max(g.abs().max().item() for g in one.values())
    assert largest > 0
    for name, gradient in one.items():
        scale = gradient.norm().item()
        assert (two[name] - gradient).norm().item() <= 1e-6 * max(scale, 1e-3 * largest), name
