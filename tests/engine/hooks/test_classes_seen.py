"""Objects per class in the batches that were trained on."""

import functools

from project.engine.hooks import ClassesSeen
from project.engine.hooks.classes_seen import format_seen
from project.errors import UserError

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from detectron2.engine import HookBase
from detectron2.structures import Instances
from torch import nn


def sample(*classes):
    return {"instances": Instances((8, 8), gt_classes=torch.tensor(classes, dtype=torch.int64))}


# Two images a step: of class 0, 1 and 2 there are 1, 2, 0; then 0, 0, 0; then 0, 1, 3.
BATCHES = [
    [sample(0, 1), sample(1)],
    [sample(), sample()],
    [sample(2, 2, 2), sample(1)],
]
CLASSES = ["cake", "car", "dog"]


def stored(loop):
    return {
        name: loop.storage.history(name).values()
        for name in loop.storage.histories()
        if name.startswith("seen/")
    }


def test_counts_so_far_each_period_and_at_the_end(make_loop, caplog):
    caplog.set_level("INFO")
    loop = make_loop([ClassesSeen(CLASSES, period=2)], BATCHES)
    loop.train(0, 3)
    assert stored(loop) == {
        "seen/cake": [(1.0, 1), (1.0, 3)],
        "seen/car": [(2.0, 1), (3.0, 3)],
        "seen/dog": [(0.0, 1), (3.0, 3)],
        "seen/images": [(4.0, 1), (6.0, 3)],
    }
    assert "Objects seen in 6 images: 7\n" in caplog.text


def test_a_resumed_run_counts_on(make_loop):
    unbroken = ClassesSeen(CLASSES, period=0)
    make_loop([unbroken], BATCHES).train(0, 3)
    first, second = ClassesSeen(CLASSES, period=0), ClassesSeen(CLASSES, period=0)
    make_loop([first], BATCHES).train(0, 2)
    loop = make_loop([second], BATCHES[2:])
    second.load_state_dict(first.state_dict())
    loop.train(2, 3)
    assert second.state_dict() == unbroken.state_dict()
    assert second.state_dict() == {"classes": CLASSES, "counts": [1, 3, 3, 6]}


@pytest.mark.parametrize("period, reports", [(2, [1]), (3, [1])])
def test_a_run_that_stops_early_reports_once(make_loop, period, reports):
    class Stop(HookBase):
        def after_step(self):
            if self.trainer.iter == 1:
                self.trainer.stop("enough")

    loop = make_loop([ClassesSeen(CLASSES, period=period), Stop()], BATCHES)
    with pytest.raises(KeyboardInterrupt):
        loop.train(0, 3)
    assert [when for _, when in stored(loop)["seen/car"]] == reports


def test_counts_of_other_classes_are_refused():
    hook = ClassesSeen(CLASSES, period=0)
    with pytest.raises(UserError, match="counts objects of cat, and this run has cake, car, dog"):
        hook.load_state_dict({"classes": ["cat"], "counts": [1, 1]})


def test_the_table():
    assert format_seen(["cake", "person"], [1, 3], 2).splitlines() == [
        "Objects seen in 2 images: 4",
        "  cake            1   25.0 %",
        "  person          3   75.0 %",
    ]
    assert format_seen(["cake"], [0], 0).splitlines()[1].endswith("0.0 %")


def _count_on(rank, file, results):
    from detectron2.engine import SimpleTrainer

    class Nothing(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.zeros(1))

        def forward(self, batch):
            return self.w.sum()

    dist.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=2)
    model = Nothing()
    loop = SimpleTrainer(model, BATCHES, torch.optim.SGD(model.parameters(), lr=0.0))
    loop.last_batch = [BATCHES[rank][0]]  # rank 0: a cake and a car; rank 1: nothing
    hook = ClassesSeen(CLASSES, period=0)
    loop.register_hooks([hook])
    loop.train(0, 3)
    results[rank] = hook.state_dict()["counts"]
    dist.destroy_process_group()


def test_ranks_add_up_in_every_step(tmp_path):
    context = mp.get_context("fork")
    with context.Manager() as manager:
        results = manager.dict()
        work = functools.partial(_count_on, file=tmp_path / "meet", results=results)
        ranks = [context.Process(target=work, args=(rank,)) for rank in range(2)]
        for process in ranks:
            process.start()
        for process in ranks:
            process.join(30)
        assert dict(results) == {0: [3, 3, 0, 6], 1: [3, 3, 0, 6]}
