"""Early stopping: patience in evaluations, resumed where it was, the same on all ranks."""

import contextlib

from project.engine.hooks import EarlyStopping
from project.errors import UserError

import pytest
from detectron2.utils import comm

NAN = float("nan")


def stops_at(make_loop, metric_hook, values, *, state=None, start=0, end=100, **options):
    """Iteration at which the run stopped (None: it didn't), its reason and the hook's state.

    The values belong to evaluations after every second step: iterations 1, 3, 5, ...
    """
    stored = metric_hook("segm/AP", {2 * k + 1: value for k, value in enumerate(values)})
    hook = EarlyStopping("segm/AP", period=2, **options)
    if state is not None:
        hook.load_state_dict(state)
    loop = make_loop([stored, hook])
    with contextlib.suppress(KeyboardInterrupt):
        loop.train(start, end)
    return (loop.iter if loop.stop_reason else None), loop.stop_reason, hook.state_dict()


def test_stops_after_patience_evaluations_without_a_better_value(make_loop, metric_hook):
    # Best at iteration 3; 5 and 7 are no better.
    iteration, reason, _ = stops_at(make_loop, metric_hook, [10, 30, 20, 30, 99], patience=2)
    assert iteration == 7
    assert reason == "segm/AP was not better in 2 evaluations than 30.0000 at iteration 3"


def test_a_better_value_starts_the_count_anew(make_loop, metric_hook):
    values = [10, 9, 11, 9, 12, 9, 9, 99]
    assert stops_at(make_loop, metric_hook, values, patience=2)[0] == 13


def test_losses_are_minimised_on_request(make_loop, metric_hook):
    values = [3.0, 2.0, 1.0, 1.5, 1.2]
    assert stops_at(make_loop, metric_hook, values, patience=2, mode="min")[0] == 9


def test_a_gain_must_exceed_min_delta(make_loop, metric_hook):
    values = [10.0, 10.5, 11.0]  # gains of 0.5 and of exactly 1 over the first
    assert stops_at(make_loop, metric_hook, values, patience=2, min_delta=1)[0] == 5
    assert stops_at(make_loop, metric_hook, values, patience=2, min_delta=0.9, end=6)[0] is None


def test_nan_is_no_better_than_nothing(make_loop, metric_hook):
    iteration, reason, _ = stops_at(make_loop, metric_hook, [NAN, NAN, NAN], patience=3)
    assert (iteration, reason) == (5, "segm/AP had no finite value in 3 evaluations")
    assert stops_at(make_loop, metric_hook, [NAN, 1, NAN, 2], patience=2, end=8)[0] is None


def test_a_resumed_run_stops_where_the_unbroken_one_does(make_loop, metric_hook):
    values = [10, 30, 20, 25, 28, 29]
    unbroken = stops_at(make_loop, metric_hook, values, patience=3)
    _, _, state = stops_at(make_loop, metric_hook, values, patience=3, end=7)
    assert state == {"best": 30.0, "best_iteration": 3, "waited": 1}  # 7 is the last step
    resumed = stops_at(make_loop, metric_hook, values, patience=3, state=state, start=7)
    assert resumed[:2] == unbroken[:2]
    assert unbroken[0] == 9


def test_all_ranks_follow_rank_zero(make_loop, metric_hook, monkeypatch, caplog):
    heard = iter([50.0, 40.0])
    given = []

    def all_gather(mine):
        given.append(mine)
        return [next(heard), mine]

    monkeypatch.setattr(comm, "all_gather", all_gather)
    monkeypatch.setattr(comm, "is_main_process", lambda: False)
    iteration, reason, _ = stops_at(make_loop, metric_hook, [], patience=1)
    assert iteration == 3
    assert "50.0000 at iteration 1" in reason
    assert given == [None, None]  # this rank has no metrics
    assert not caplog.text  # ... and complains of none


def test_a_metric_that_is_never_stored_is_told_and_stops_nothing(make_loop, metric_hook, caplog):
    stored = metric_hook("segm/AP", {1: 5.0, 3: 4.0})
    loop = make_loop([stored, EarlyStopping("segm/APP", period=2, patience=1)])
    loop.train(0, 6)
    assert not loop.stop_reason
    assert "unknown metric 'segm/APP'; did you mean 'segm/AP'? (known: segm/AP, " in caplog.text


def test_an_old_value_does_not_count_again(make_loop, metric_hook):
    stored = metric_hook("segm/AP", {1: 5.0})  # no evaluation at 3, 5, ...
    loop = make_loop([stored, EarlyStopping("segm/AP", period=2, patience=1)])
    loop.train(0, 8)
    assert not loop.stop_reason


@pytest.mark.parametrize(
    "options, message",
    [
        ({"patience": 0}, "patience=0: expected a whole number of at least 1"),
        ({"period": 1.5}, "period=1.5: expected a whole number"),
        ({"mode": "maximum"}, "unknown mode 'maximum'; did you mean 'max'"),
        ({"min_delta": -1}, "min_delta=-1: expected a number of at least 0"),
    ],
)
def test_refuses_what_makes_no_sense(options, message):
    with pytest.raises(UserError, match=message):
        EarlyStopping("segm/AP", **{"period": 1, **options})
