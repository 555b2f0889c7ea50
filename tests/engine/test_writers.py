"""Writers: no iteration twice after a kill, a full disk survived, nothing lost in between."""

import json
import resource
from contextlib import contextmanager

from project.engine.writers import MetricsFile, TensorBoard, build_writers
from project.errors import UserError

import pytest
from detectron2.utils.events import EventStorage, EventWriter


def lines(file):
    content = file.read_text()
    assert not content or content.endswith("\n")
    return [json.loads(line) for line in content.splitlines()]


def write(writer, iteration, **scalars):
    """One call of ``writer`` with scalars stored at ``iteration``."""
    with EventStorage(iteration) as storage:
        storage.put_scalars(smoothing_hint=False, **scalars)
        writer.write()


@contextmanager
def no_room(bytes_left, file):
    """Files can't grow beyond the present size of ``file`` plus some bytes.

    As on a full disk, the kernel takes what fits and refuses the rest.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    size = file.stat().st_size if file.exists() else 0
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + bytes_left, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture(autouse=True)
def first_event_files(monkeypatch):
    """Event files of one second are read by name, where number 10 comes before number 9."""
    from tensorboard.summary.writer import event_file_writer

    monkeypatch.setattr(event_file_writer, "_global_uid", event_file_writer.AtomicCounter(0))


@pytest.fixture
def file(tmp_path):
    return tmp_path / "metrics.json"


# metrics.json


def test_lines_are_those_of_detectron2(file):
    from detectron2.utils.events import JSONWriter

    with EventStorage() as storage:
        ours, theirs = MetricsFile(file), JSONWriter(file.with_name("theirs.json"))
        for iteration in range(50):
            storage.iter = iteration
            storage.put_scalar("loss", float(iteration % 7))
            storage.put_scalar("lr", 0.1, smoothing_hint=False)
            if iteration == 12:
                storage.put_scalar("segm/AP", float("nan"), smoothing_hint=False)
            if iteration % 20 == 19:
                ours.write()
                theirs.write()
        ours.close()
        theirs.close()
    assert file.read_text() == file.with_name("theirs.json").read_text()
    assert len(file.read_text().splitlines()) == 3


def test_a_killed_run_goes_on_without_an_iteration_twice(file):
    writer = MetricsFile(file)
    for iteration in (9, 19, 29, 39):
        write(writer, iteration, loss=float(iteration))
    with file.open("a") as stream:
        stream.write('{"iteration": 49, "lo')  # killed while writing
    resumed = MetricsFile(file, start_iter=20)
    assert lines(file) == [{"iteration": 9, "loss": 9.0}, {"iteration": 19, "loss": 19.0}]
    for iteration in (29, 39):
        write(resumed, iteration, loss=-1.0)
    assert [line["iteration"] for line in lines(file)] == [9, 19, 29, 39]
    assert lines(file)[-1] == {"iteration": 39, "loss": -1.0}
    assert sorted(p.name for p in file.parent.iterdir()) == ["metrics.json"]


def test_a_run_from_the_start_begins_an_empty_file(file):
    write(MetricsFile(file), 3, loss=1.0)
    write(MetricsFile(file, start_iter=0), 5, loss=2.0)
    assert lines(file) == [{"iteration": 5, "loss": 2.0}]


def test_lines_of_one_iteration_become_one(file):
    file.write_text('{"iteration": 4, "a": 1}\nnonsense\n[1]\n{"iteration": 4, "a": 2, "b": 3}\n')
    MetricsFile(file, start_iter=5)
    assert lines(file) == [{"a": 2, "b": 3, "iteration": 4}]


def test_an_evaluation_made_up_for_goes_into_its_line(file):
    write(MetricsFile(file), 9, loss=1.0)
    writer = MetricsFile(file, start_iter=10)
    write(writer, 9, **{"segm/AP": 30.0, "loss": 7.0})
    write(writer, 9, **{"segm/AP": 31.0})
    write(writer, 19, loss=2.0)
    assert lines(file) == [
        {"iteration": 9, "loss": 1.0, "segm/AP": 30.0},
        {"iteration": 19, "loss": 2.0},
    ]


def test_a_full_disk_is_survived(file, caplog):
    writer = MetricsFile(file)
    write(writer, 9, loss=1.0)
    before = file.read_bytes()
    with no_room(15, file):
        write(writer, 19, loss=2.0)  # half of this line would fit
        assert file.read_bytes() == before
        write(writer, 29, loss=3.0)
        assert file.read_bytes() == before
    write(writer, 39, loss=4.0)
    assert [line["iteration"] for line in lines(file)] == [9, 19, 29, 39]
    warnings = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert len(warnings) == 1
    assert (
        "metrics.json can't be written: [Errno 27] File too large; the run goes on" in warnings[0]
    )
    with no_room(0, file):
        write(writer, 49, loss=5.0)
    assert sum(r.levelname == "WARNING" for r in caplog.records) == 2  # an outage of its own


def test_a_full_disk_leaves_the_last_line_whole(file):
    write(MetricsFile(file), 9, loss=1.0)
    writer = MetricsFile(file, start_iter=10)
    before = file.read_bytes()
    with no_room(5, file):
        write(writer, 9, **{"segm/AP": 30.0})
        assert file.read_bytes() == before
    writer.close()
    assert lines(file) == [{"iteration": 9, "loss": 1.0, "segm/AP": 30.0}]


def test_what_could_never_be_written_is_told_at_the_end(file, caplog):
    writer = MetricsFile(file)
    with no_room(0, file):
        write(writer, 9, loss=1.0)
        write(writer, 19, loss=1.0)
        writer.close()
    assert "metrics.json lacks its last 2 lines" in caplog.text


def test_a_folder_that_comes_back(tmp_path):
    file = tmp_path / "mounted" / "metrics.json"
    writer = MetricsFile(file)
    write(writer, 9, loss=1.0)
    file.parent.mkdir()
    write(writer, 19, loss=2.0)
    assert [line["iteration"] for line in lines(file)] == [9, 19]


def test_a_file_that_cannot_be_shortened_is_told(file):
    file.write_text("".join(f'{{"iteration": {k}, "a": 1}}\n' for k in range(9)))
    with (
        no_room(10 - file.stat().st_size, file),
        pytest.raises(UserError, match="can't be shortened to be continued"),
    ):
        MetricsFile(file, start_iter=5)
    assert len(file.read_text().splitlines()) == 9


# TensorBoard


def steps(folder):
    """``{tag: [(step, value), ...]}`` as TensorBoard shows it."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    board.Reload()
    return {
        tag: [(event.step, event.value) for event in board.Scalars(tag)]
        for tag in board.Tags()["scalars"]
    }


def run_board(folder, iterations, start=0, progress=None, value=1.0):
    board = TensorBoard(folder, start, progress)
    for iteration in iterations:
        write(board, iteration, loss=value)
    board.close()


def test_tensorboard_shows_no_iteration_twice(tmp_path):
    run_board(tmp_path, [9, 19, 29, 39])
    run_board(tmp_path, [29, 39, 49], start=20, value=2.0)
    assert steps(tmp_path) == {"loss": [(9, 1), (19, 1), (29, 2), (39, 2), (49, 2)]}


def test_tensorboard_begins_behind_what_metrics_json_holds(tmp_path):
    writers = build_writers(tmp_path, 100)
    for writer in writers[1:]:
        write(writer, 9, loss=1.0)
        writer.close()
    _, metrics, board = build_writers(tmp_path, 100, start_iter=10)
    for writer in (metrics, board):
        write(writer, 9, **{"loss": 5.0, "segm/AP": 30.0})  # an evaluation made up for
        write(writer, 19, loss=2.0)
        writer.close()
    assert steps(tmp_path) == {"loss": [(9, 1), (19, 2)], "segm/AP": [(9, 30)]}
    assert lines(tmp_path / "metrics.json") == [
        {"iteration": 9, "loss": 1.0, "segm/AP": 30.0},
        {"iteration": 19, "loss": 2.0},
    ]


def test_tensorboard_survives_an_outage(tmp_path, monkeypatch, caplog):
    from torch.utils.tensorboard import SummaryWriter

    board = TensorBoard(tmp_path)
    with EventStorage() as storage:
        storage.put_scalar("segm/AP", 30.0, smoothing_hint=False, cur_iter=4)

        def step(iteration):
            storage.iter = iteration
            storage.put_scalar("loss", 1.0)
            board.write()

        def fail(*args, **kwargs):
            raise OSError(28, "No space left on device")

        step(9)
        with monkeypatch.context() as patch:
            patch.setattr(SummaryWriter, "add_scalar", fail)
            step(19)
            step(29)
        step(39)
        step(49)
        board.close()
    shown = steps(tmp_path)
    assert shown["segm/AP"] == [(4, 30)]
    assert [when for when, _ in shown["loss"]] == [9, 39, 49]
    warnings = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert len(warnings) == 1
    assert "No space left on device; the run goes on" in warnings[0]


def test_no_event_file_before_there_is_anything_to_show(tmp_path):
    board = TensorBoard(tmp_path / "run")
    with EventStorage():
        board.write()
    board.close()
    assert not (tmp_path / "run").exists()


# All of them


def test_writers_in_order_and_those_of_the_config_last(tmp_path):
    class Own(EventWriter):
        def write(self):
            pass

    own = Own()
    writers = build_writers(tmp_path, 10, extra=[own])
    assert [type(w).__name__ for w in writers] == [
        "CommonMetricPrinter",
        "MetricsFile",
        "TensorBoard",
        "Own",
    ]
    assert writers[-1] is own


def test_what_does_not_write_is_refused(tmp_path):
    with pytest.raises(UserError, match="train.writers holds dict: expected EventWriters"):
        build_writers(tmp_path, 10, extra=[{}])
