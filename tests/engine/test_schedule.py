"""Schedules against numbers worked by hand."""

import json
import math

from project.engine.schedule import (
    iterations,
    part,
    scaled_lr,
    warmup_cosine,
    warmup_multistep,
    warmup_polynomial,
)
from project.errors import UserError

import pytest
from omegaconf import OmegaConf


def test_cosine_after_a_linear_warm_up():
    schedule = warmup_cosine(100, 10, warmup_factor=0.1)
    assert schedule(0.0) == pytest.approx(0.1)
    # The warm-up ends on the cosine: at 10 of 100 iterations it stands at (1 + cos(pi/10)) / 2.
    assert schedule(0.1) == pytest.approx((1 + math.cos(math.pi / 10)) / 2)
    assert schedule(0.05) == pytest.approx((0.1 + schedule(0.1)) / 2)
    assert schedule(0.5) == pytest.approx(0.5)
    assert schedule(1.0) == pytest.approx(0.0)


def test_multistep_falls_at_its_milestones():
    schedule = warmup_multistep(90, 0, milestones=[1 / 3, 2 / 3])
    values = [schedule(i / 90) for i in (0, 29, 30, 59, 60, 89)]
    assert values == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])


def test_multistep_of_one_iteration():
    assert warmup_multistep(1, 1)(0.0) == pytest.approx(0.001)


def test_polynomial_after_a_linear_warm_up():
    schedule = warmup_polynomial(100, 10, power=2.0, warmup_factor=0.1)
    # The warm-up ends on the curve, at 0.9 squared.
    assert [schedule(x) for x in (0.0, 0.1, 0.5)] == pytest.approx([0.1, 0.81, 0.25])
    assert schedule(0.05) == pytest.approx((0.1 + 0.81) / 2)
    assert schedule(1.0) == 0.0
    assert warmup_polynomial(100, 0, power=1.0)(0.3) == pytest.approx(0.7)
    with pytest.raises(UserError, match="power must be above 0, got 0"):
        warmup_polynomial(100, 0, power=0)


def test_the_learning_rate_follows_the_batch():
    cfg = OmegaConf.create({"batch": 4, "lr": "${scaled_lr:0.02,16,${batch},linear}"})
    assert cfg.lr == pytest.approx(0.005)
    cfg.batch = 32
    assert cfg.lr == pytest.approx(0.04)
    assert scaled_lr(1e-3, 16, 64, "sqrt") == pytest.approx(2e-3)
    assert scaled_lr(1e-3, 16, 64, "none") == 1e-3
    assert scaled_lr(0.02, 16, 16) == 0.02


def test_a_learning_rate_that_can_not_follow():
    with pytest.raises(UserError, match="unknown rule 'liner'; did you mean 'linear'"):
        scaled_lr(0.02, 16, 4, "liner")
    with pytest.raises(UserError, match="at least 1, got 0"):
        scaled_lr(0.02, 16, 0)


def test_a_warm_up_longer_than_the_run():
    with pytest.raises(UserError, match=r"\(30 iterations\) must fit into the run \(20"):
        warmup_cosine(20, 30)


def test_part():
    cfg = OmegaConf.create({"n": 90, "a": "${part:${n},0.25}", "b": "${part:3,0.01}"})
    assert (cfg.a, cfg.b) == (22, 1)
    assert part(10, 1.0) == 10


def test_iterations_count_the_images_that_are_drawn(tmp_path):
    folder = tmp_path / "three/annotations"
    folder.mkdir(parents=True)
    images = [{"id": k} for k in (1, 2, 3)]
    objects = [{"image_id": 1}, {"image_id": 1}, {"image_id": 2}, {"image_id": 3, "iscrowd": 1}]
    content = {"images": images, "annotations": objects, "categories": []}
    (folder / "train.json").write_text(json.dumps(content))
    assert iterations(1, 1, "three", "train", tmp_path) == 2
    assert iterations(1, 1, "three", "train", tmp_path, False) == 3
    assert iterations(2.5, 4, "three", "train", tmp_path) == 2
