"""Checkpoints with checksums, what a damaged or missing one leads to, and a full disk."""

import errno
import subprocess

from project.engine.checkpoints import (
    CheckpointHook,
    RunCheckpointer,
    checkpoint_files,
    checksum_file,
    choose_checkpoint,
)
from project.engine.evaluate import newest_checkpoint
from project.errors import UserError

import pytest
import torch
from detectron2.engine import TrainerBase
from torch import nn


@pytest.fixture
def checkpointer(tmp_path):
    return RunCheckpointer(nn.Linear(2, 3), str(tmp_path), classes=["cake", "car"])


class Steps(TrainerBase):
    """Counts; its weights are the number of steps."""

    def __init__(self, model):
        super().__init__()
        self.model = model
        self.beats = []

    def run_step(self):
        with torch.no_grad():
            self.model.bias.fill_(self.iter + 1)

    def read_losses(self):
        pass

    def beat(self, phase):
        self.beats.append(phase)


def train(checkpointer, max_iter, start=0, **options):
    loop = Steps(checkpointer.model)
    hook = CheckpointHook(checkpointer, **{"period": 2, **options})
    hook.loop = loop
    loop.register_hooks([hook])
    loop.train(start, max_iter)
    return hook


def names(folder):
    return [file.name for file in checkpoint_files(folder)]


def test_a_file_has_a_checksum_that_sha256sum_accepts(checkpointer, tmp_path, monkeypatch):
    monkeypatch.delattr("hashlib.file_digest", raising=False)  # Python 3.10 has none
    checkpointer.save("model_0000001")
    done = subprocess.run(["sha256sum", "-c", "model_0000001.pth.sha256"], cwd=tmp_path)
    assert done.returncode == 0
    content = torch.load(tmp_path / "model_0000001.pth", weights_only=True)
    assert content["classes"] == ["cake", "car"]


def test_the_newest_files_stay(checkpointer, tmp_path):
    train(checkpointer, 9, max_to_keep=3)
    assert names(tmp_path) == ["model_final.pth", "model_0000007.pth", "model_0000005.pth"]
    sums = sorted(file.name for file in tmp_path.glob("*.sha256"))
    assert sums == sorted(f"{name}.sha256" for name in names(tmp_path))


def test_a_finished_run_that_goes_on_has_newer_files(checkpointer, tmp_path):
    train(checkpointer, 4)
    train(checkpointer, 7, start=4)
    assert names(tmp_path)[:2] == ["model_final.pth", "model_0000005.pth"]
    assert torch.load(tmp_path / "model_final.pth", weights_only=True)["iteration"] == 6


@pytest.mark.parametrize("fault", ["cut", "flipped", "lost"])
def test_the_file_before_a_damaged_one_is_used(checkpointer, tmp_path, fault, caplog):
    train(checkpointer, 6)
    newest = tmp_path / "model_final.pth"
    content = bytearray(newest.read_bytes())
    if fault == "lost":
        newest.unlink()
    elif fault == "cut":
        newest.write_bytes(content[: len(content) // 2])
    else:
        content[len(content) // 2] ^= 1
        newest.write_bytes(content)
    assert choose_checkpoint(checkpointer) == tmp_path / "model_0000003.pth"
    assert (tmp_path / "last_checkpoint").read_text() == "model_0000003.pth"
    assert "model_final.pth is damaged or lost" in caplog.text


def test_a_kill_between_file_and_checksum_costs_nothing(checkpointer, tmp_path):
    train(checkpointer, 6)
    checksum_file(tmp_path / "model_final.pth").unlink()
    assert choose_checkpoint(checkpointer) == tmp_path / "model_final.pth"
    (tmp_path / "model_final.pth").write_bytes(b"PK\x03\x04 half a file")
    assert choose_checkpoint(checkpointer) == tmp_path / "model_0000003.pth"


def test_an_empty_checksum_damages_no_checkpoint(checkpointer, tmp_path):
    train(checkpointer, 4)
    checksum_file(tmp_path / "model_final.pth").write_bytes(b"")  # by a power cut
    assert choose_checkpoint(checkpointer) == tmp_path / "model_final.pth"
    (tmp_path / "model_final.pth").write_bytes(b"PK")
    assert choose_checkpoint(checkpointer) == tmp_path / "model_0000001.pth"


def test_damaged_bytes_in_the_pointer_name_no_file(checkpointer, tmp_path):
    train(checkpointer, 4)
    (tmp_path / "last_checkpoint").write_bytes(b"\xff\xfemodel")
    assert not newest_checkpoint(tmp_path).is_file()
    assert choose_checkpoint(checkpointer) == tmp_path / "model_final.pth"


def test_no_file_is_a_start_and_no_good_file_is_an_error(checkpointer, tmp_path):
    assert choose_checkpoint(checkpointer) is None
    train(checkpointer, 2)
    (tmp_path / "model_final.pth").write_bytes(b"")
    with pytest.raises(UserError, match="no checkpoint in .* can be read"):
        choose_checkpoint(checkpointer)


class Disk:
    """Stands for a disk that is full for the first ``failures`` writes."""

    def __init__(self, monkeypatch, failures):
        self.failures, self.writes, save = failures, 0, RunCheckpointer.save

        def write(checkpointer, name, **options):
            self.writes += 1
            if self.writes <= self.failures:
                raise OSError(errno.ENOSPC, "No space left on device")
            save(checkpointer, name, **options)

        monkeypatch.setattr(RunCheckpointer, "save", write)


def test_a_full_disk_is_tried_again_while_the_run_goes_on(
    checkpointer, tmp_path, monkeypatch, caplog
):
    Disk(monkeypatch, failures=2)
    hook = train(checkpointer, 8, period=4, retry_period=1)
    # Due at 3, tried again at 4, there at 5; then nothing new is due before 7.
    assert names(tmp_path) == ["model_final.pth", "model_0000005.pth"]
    assert hook.saved == 7
    assert "no room for checkpoint model_0000003.pth" in caplog.text
    assert "the newest one there is none" in caplog.text


def test_the_last_checkpoint_waits_for_room_but_not_for_ever(checkpointer, tmp_path, monkeypatch):
    monkeypatch.setattr("project.engine.checkpoints.time.sleep", lambda seconds: None)
    disk = Disk(monkeypatch, failures=3)
    hook = train(checkpointer, 1, disk_wait=60)
    assert hook.loop.beats == ["checkpoint"] * 4  # else the watchdog would end the wait
    assert (disk.writes, names(tmp_path)) == (4, ["model_final.pth"])
    Disk(monkeypatch, failures=10)
    with pytest.raises(UserError, match=r"Make room, then go on with --resume"):
        train(checkpointer, 2, start=1, disk_wait=0)
    assert names(tmp_path) == ["model_final.pth"]


def test_other_errors_of_writing_are_not_taken_for_a_full_disk(checkpointer, monkeypatch):
    def write(checkpointer, name, **options):
        raise OSError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(RunCheckpointer, "save", write)
    with pytest.raises(PermissionError):
        train(checkpointer, 1)
