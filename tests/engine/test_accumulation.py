"""Micro-batches of a Mask R-CNN: their gradients are the mean of the parts', same samples drawn."""

import copy

from project.engine.config import build, load_config
from project.engine.loop import Loop, step_seed

import pytest
import torch


@pytest.mark.parametrize("parts", [2, 4])
def test_gradients_of_micro_batches_are_their_mean(datasets_root, parts):
    cfg = load_config(
        "configs/quickstart.py", ["dataset.name=tiny", "model.backbone.bottom_up.norm=GN"]
    )
    torch.manual_seed(0)
    model = build(cfg.model, "model").train()
    batch = next(iter(build(cfg.dataloader.train, "dataloader.train")))
    separate = []
    torch.manual_seed(step_seed(7, 0, 0))  # regions are drawn from one stream
    for part in range(parts):
        twin = copy.deepcopy(model)
        size = len(batch) // parts
        sum(twin(batch[part * size : (part + 1) * size]).values()).backward()
        separate.append([p.grad.double() for p in twin.parameters()])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    Loop(model, [batch], optimizer, seed=7, accumulate=parts).train(0, 1)
    scale = max(float(grad.abs().max()) for grads in separate for grad in grads)
    for parameter, *grads in zip(model.parameters(), *separate, strict=True):
        mean = torch.stack(grads).mean(0)
        torch.testing.assert_close(parameter.grad.double(), mean, rtol=1e-6, atol=1e-6 * scale)
