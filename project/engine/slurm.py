"""Runs as SLURM jobs: what is asked of the cluster, the job itself, and how it comes back.

One task on each node runs ``tools/train_net.py``, which starts that node's processes. Before the
time limit, and where the cluster preempts with it, SLURM sends the job SIGUSR2: the run finishes
its step, saves and ends with code 75, and the job is queued again. A run is always started with
``--resume``, which begins anew where there is no checkpoint, so a job that SLURM itself queues
again (a lost node, preemption by SIGTERM) goes on as well. After ``scancel``, which sends SIGTERM,
the run saves too, but isn't queued again.

Nothing here imports torch: the job only starts the tool and waits.
"""

from __future__ import annotations

import random
import shlex
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

from project.engine.interrupt import EXIT_CODE
from project.errors import UserError

LAUNCH_FLAGS = ("--num-gpus", "--num-machines", "--machine-rank", "--dist-url", "--resume")


@dataclass(frozen=True)
class Request:
    """What a job asks of the cluster; empty texts leave it to the cluster.

    Attributes:
        time: minutes, or SLURM's ``D-HH:MM:SS`` and its shorter forms.
        signal_delay: seconds before the time limit at which the run is told to save.
        requeues: how often a job that reached its time limit is queued again.
        extra: further ``sbatch`` parameters, e.g. ``{"reservation": "night"}``.
        setup: shell lines before the run, e.g. ``module load cuda``.
    """

    nodes: int = 1
    gpus_per_node: int = 1
    cpus_per_gpu: int = 8
    time: str = "24:00:00"
    memory: str = ""
    partition: str = ""
    account: str = ""
    qos: str = ""
    constraint: str = ""
    name: str = "train"
    signal_delay: int = 180
    requeues: int = 10
    extra: dict[str, str] = field(default_factory=dict)
    setup: tuple[str, ...] = ()

    def check(self) -> None:
        """Raise a `UserError` for numbers that describe no job."""
        least = {"nodes": 1, "gpus_per_node": 0, "cpus_per_gpu": 1, "signal_delay": 1}
        for key, low in (least | {"requeues": 0}).items():
            if getattr(self, key) < low:
                flag = "--" + key.replace("_", "-")
                raise UserError(f"{flag} {getattr(self, key)}: expected at least {low}")
        if self.nodes > 1 and not self.gpus_per_node:
            raise UserError("--nodes with --gpus-per-node 0: a run on CPUs has one node")
        if minutes(self.time) * 60 <= self.signal_delay:
            raise UserError(
                f"--time {self.time} is not longer than --signal-delay {self.signal_delay} seconds"
            )

    def parameters(self) -> dict[str, Any]:
        """The parameters of `submitit.SlurmExecutor`, under ``sbatch``'s names."""
        extra = {"requeue": True} if self.requeues else {"no-requeue": True}
        given = {
            "job_name": self.name,
            "nodes": self.nodes,
            "ntasks_per_node": 1,
            "gpus_per_node": self.gpus_per_node,
            "cpus_per_task": self.cpus_per_gpu * max(1, self.gpus_per_node),
            "time": minutes(self.time),
            "mem": self.memory,
            "partition": self.partition,
            "account": self.account,
            "qos": self.qos,
            "constraint": self.constraint,
            "signal_delay_s": self.signal_delay,
            "setup": list(self.setup),
            "additional_parameters": extra | self.extra,
        }
        return {key: value for key, value in given.items() if value not in ("", 0, [])}


def minutes(time: str) -> int:
    """Minutes of SLURM's ``M``, ``M:S``, ``H:M:S``, ``D-H``, ``D-H:M`` or ``D-H:M:S``, rounded up.

    Raises:
        UserError: for another text.
    """
    days, dash, rest = time.rpartition("-")
    parts = rest.split(":")
    numbers = [*parts, days or "0"]
    if not all(n.isdecimal() for n in numbers) or len(parts) > 3 or (dash and not days):
        raise UserError(f"--time {time}: expected minutes, H:M:S or D-H:M:S")
    values = [int(part) for part in parts]
    if dash or len(values) == 3:
        hours, mins, secs = (values + [0, 0])[:3]
    else:
        hours, mins, secs = 0, *(values + [0])[:2]
    seconds = int(days or 0) * 86400 + hours * 3600 + mins * 60 + secs
    if not seconds:
        raise UserError(f"--time {time}: expected more than nothing")
    return -(-seconds // 60)


class Training:
    """The job: runs the training tool on its node, and has itself queued again where it is told to.

    Picklable; submitit calls it on every node. A process of its own keeps the job alive whatever
    happens in the run.
    """

    def __init__(self, script: Path, arguments: list[str], request: Request) -> None:
        self.script, self.arguments, self.request = Path(script).resolve(), arguments, request
        self._process: subprocess.Popen | None = None
        self._told = self._again = False

    def command(self, node: int = 0, first_host: str = "HOST", job_id: str = "") -> list[str]:
        """What runs on a node; before there is a job, the host and port are placeholders."""
        gpus, nodes = self.request.gpus_per_node, self.request.nodes
        flags = ["--num-gpus", str(gpus)] if gpus > 1 else []
        if nodes > 1:
            # All nodes of a job must choose the same port, and two jobs different ones.
            port = random.Random(job_id).randint(20000, 60000) if job_id else "PORT"
            flags = ["--num-gpus", str(gpus), "--num-machines", str(nodes)]
            flags += ["--machine-rank", str(node), "--dist-url", f"tcp://{first_host}:{port}"]
        resume = [] if "--eval-only" in self.arguments else ["--resume"]
        return [sys.executable, str(self.script), *flags, *resume, *self.arguments]

    def __call__(self) -> str:
        """Run to the end.

        Raises:
            RuntimeError: if the run failed, or stopped and isn't queued again.
        """
        command = self.command()
        if self.request.nodes > 1:
            job = _submitit().JobEnvironment()
            command = self.command(job.node, job.hostnames[0], job.job_id)
        requeue = signal.getsignal(signal.SIGUSR2)  # submitit's: queue the job again
        print("running", shlex.join(command), flush=True)
        code = self._run(command)
        if code == EXIT_CODE and self._again and callable(requeue):
            requeue(signal.SIGUSR2, None)  # doesn't return on the first node
            return "stopped"
        if code:
            what = "stopped and saved" if code == EXIT_CODE else "failed"
            raise RuntimeError(f"the run {what} (exit code {code}): {shlex.join(command)}")
        return "done"

    def checkpoint(self):
        """What runs when the job is queued again (submitit's protocol): the same."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(Training(self.script, self.arguments, self.request))

    def _run(self, command: list[str]) -> int:
        if threading.current_thread() is not threading.main_thread():
            return subprocess.run(command).returncode
        numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)
        before = {number: signal.signal(number, self._tell) for number in numbers}
        try:
            # SLURM signals every process of a job; SIGUSR2 would kill those that don't know it.
            self._process = subprocess.Popen(command, preexec_fn=_ignore_usr2)
            if self._told:
                self._process.terminate()
            return self._process.wait()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _tell(self, number: int, frame: FrameType | None) -> None:
        """Tell the run, once, to save and stop."""
        self._again |= number == signal.SIGUSR2
        if not self._told and self._process is not None:
            self._process.terminate()
        self._told = True


def _ignore_usr2() -> None:
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)


def check_arguments(arguments: list[str]) -> None:
    """Raise a `UserError` for flags of the training tool that follow from the request."""
    for argument in arguments:
        flag = argument.partition("=")[0]
        if flag in LAUNCH_FLAGS:
            instead = (
                "give it before the training tool's flags"
                if flag == "--resume"
                else "it follows from --nodes and --gpus-per-node"
            )
            raise UserError(f"{flag} is not for the training tool here; {instead}")


def _submitit() -> ModuleType:
    try:
        import submitit
    except ImportError:
        raise UserError("SLURM jobs need submitit: pip install -e '.[sweep]'") from None
    return submitit


def describe(training: Training, folder: Path) -> str:
    """The ``sbatch`` file that `submit` would hand in, and the command that the job runs.

    Raises:
        UserError: without submitit.
    """
    _submitit()
    from submitit.slurm.slurm import _make_sbatch_string

    executable = shlex.quote(sys.executable)
    command = f"{executable} -u -m submitit.core._submit {shlex.quote(str(folder))}"
    text = _make_sbatch_string(command=command, folder=folder, **training.request.parameters())
    nodes = training.request.nodes
    runs = [shlex.join(training.command(node)) for node in range(nodes)]
    return "\n".join([text.rstrip(), "", "# which runs, on each node"] + ["# " + r for r in runs])


def submit(training: Training, folder: Path, cluster: str):
    """Hand the job in; submitit's job.

    Args:
        folder: of the job's files and logs, on storage that all nodes share.
        cluster: "slurm", or "local" for a process on this machine, or "debug" for this process.

    Raises:
        UserError: if this machine can't submit, or the cluster refuses the job.
    """
    submitit, request = _submitit(), training.request
    if cluster == "slurm":
        try:
            executor = submitit.SlurmExecutor(folder, max_num_timeout=request.requeues)
            executor.update_parameters(**request.parameters())
            return executor.submit(training)
        except (RuntimeError, submitit.core.utils.FailedJobError) as error:
            reason = " ".join(str(error).split())
            raise UserError(f"the job can't be submitted: {reason}") from error
    if request.nodes > 1:
        raise UserError(f"--cluster {cluster} has one node; leave --nodes at 1")
    if cluster == "debug":
        return submitit.DebugExecutor(folder).submit(training)
    executor = submitit.LocalExecutor(folder, max_num_timeout=request.requeues)
    executor.update_parameters(
        timeout_min=minutes(request.time),
        gpus_per_node=request.gpus_per_node,
        tasks_per_node=1,
        signal_delay_s=request.signal_delay,
        setup=list(request.setup),
    )
    return executor.submit(training)


def wait(job) -> None:
    """Wait for a local job.

    Raises:
        UserError: with the place of its log if it failed.
    """
    error = job.exception()
    if error is not None:
        log = job.paths.stderr
        lines = log.read_text("utf-8", "replace").splitlines() if log.is_file() else []
        # What the training tool said, else what `Training` raised.
        for mark in ("error: ", "RuntimeError: "):
            if told := [line for line in lines if line.startswith(mark)]:
                raise UserError(f"the job failed: {told[-1].removeprefix(mark)}; its log is {log}")
        raise UserError(f"the job failed without a word; its log is {log}")
