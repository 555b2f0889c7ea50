"""The whole chain from a config: built, saved as plain data, run by loader processes."""

from __future__ import annotations

from pathlib import Path

from project.data.augmentation import (
    ColorJitter,
    CopyPaste,
    GaussianBlur,
    JpegCompression,
    LargeScaleJitter,
    MotionBlur,
    RandomOccluder,
    UntilPosition,
)
from project.data.catalog import subset_dicts
from project.data.loader import build_train_loader
from project.data.mapper import InstanceMapper
from project.data.records import flat_records
from project.engine.config import build, check_targets, load_config
from project.errors import UserError

import pytest
import torch
from detectron2.config import LazyCall as L
from detectron2.config import LazyConfig
from detectron2.data import transforms as T
from omegaconf import OmegaConf

UNTIL = "${part:${part:${train.max_iter},${dataloader.train.total_batch_size}},0.5}"


def config(**options):
    mapper = L(InstanceMapper)(
        is_train=True,
        image_format="RGB",
        augmentations=[
            L(UntilPosition)(
                until=UNTIL,
                augmentations=[L(LargeScaleJitter)(size=[64, 80], scale=[0.3, 1.5])],
                otherwise=[L(T.ResizeShortestEdge)(short_edge_length=64)],
            ),
            L(T.RandomFlip)(),
        ],
        copy_paste=L(CopyPaste)(
            probability=0.8,
            class_weights="inverse_frequency",
            max_objects=2,
            placement="same",
            min_visible=0.2,
            until=UNTIL,
        ),
        final_augmentations=[
            L(ColorJitter)(image_format="${...image_format}"),
            L(UntilPosition)(
                until=UNTIL,
                augmentations=[
                    L(T.RandomApply)(tfm_or_aug=L(RandomOccluder)(), prob=0.7),
                    L(T.RandomApply)(tfm_or_aug=L(GaussianBlur)(sigma=[0.3, 1.0]), prob=0.5),
                    L(T.RandomApply)(tfm_or_aug=L(MotionBlur)(length=[2, 5]), prob=0.5),
                    L(T.RandomApply)(
                        tfm_or_aug=L(JpegCompression)(image_format="RGB"),
                        prob=0.5,
                    ),
                ],
            ),
        ],
    )
    loader = L(build_train_loader)(
        dataset=L(subset_dicts)(subset="tiny", split="train"),
        mapper=mapper,
        total_batch_size=2,
        aspect_ratio_grouping=False,
        seed=3,
    )
    cfg = OmegaConf.create(flags={"allow_objects": True})
    cfg.train = {"max_iter": 8}
    cfg.dataloader = {"train": loader}
    OmegaConf.update(cfg, "dataloader.train", options)
    return cfg


def batches(cfg, number):
    loader = build(cfg.dataloader.train, "dataloader.train")
    return [batch for batch, _ in zip(loader, range(number), strict=False)]


def same(first, second):
    return all(
        torch.equal(a["image"], b["image"])
        and torch.equal(a["instances"].gt_boxes.tensor, b["instances"].gt_boxes.tensor)
        and torch.equal(a["instances"].gt_masks.tensor, b["instances"].gt_masks.tensor)
        and a["position"] == b["position"]
        for one, other in zip(first, second, strict=True)
        for a, b in zip(one, other, strict=True)
    )


def test_batches_do_not_depend_on_processes_or_on_where_they_start(datasets_root):
    plain = batches(config(), 8)
    assert [s["position"] for batch in plain for s in batch] == list(range(16))
    assert same(plain[:3], batches(config(num_workers=2), 3))
    assert same(plain[3:], batches(config(start=6), 5))
    assert not same(plain[:3], batches(config(seed=4), 3))


def test_it_closes_at_half_of_the_run(datasets_root):
    samples = [s for batch in batches(config(), 8) for s in batch]
    sizes = [tuple(s["image"].shape[1:]) for s in samples]
    assert set(sizes[:8]) == {(64, 80)}
    assert all(min(size) == 64 for size in sizes[8:])
    assert set(sizes[8:]) != {(64, 80)}


def test_boxes_are_tight_around_what_is_visible(datasets_root):
    for sample in (s for batch in batches(config(), 6) for s in batch):
        instances = sample["instances"]
        assert instances.gt_masks.tensor.flatten(1).any(1).all()
        tight = instances.gt_masks.get_bounding_boxes().tensor
        assert torch.equal(instances.gt_boxes.tensor, tight)


def test_a_saved_config_builds_the_same(datasets_root, tmp_path):
    cfg = config()
    LazyConfig.save(cfg, str(tmp_path / "config.yaml"))
    again = load_config(tmp_path / "config.yaml")
    check_targets(again, Path("config.yaml"))
    assert same(batches(cfg, 2), batches(again, 2))


def test_sources_come_from_the_records_that_the_loader_has(datasets_root):
    dataset = subset_dicts("tiny", "train")
    mapper = build(config().dataloader.train.mapper, "mapper")
    build_train_loader(dataset, mapper=mapper, total_batch_size=2)
    assert mapper.copy_paste._records is flat_records(dataset)


def test_rare_classes_are_seen_more_often(datasets_root):
    """Cakes are one object in twenty; pasted by inverse frequency they are one paste in four."""
    dataset = subset_dicts("tiny", "train")
    shares = {}
    for weights in (None, "inverse_frequency"):
        paste = CopyPaste(probability=1, max_objects=1, class_weights=weights)
        mapper = InstanceMapper(True, augmentations=[], copy_paste=paste)
        loader = build_train_loader(dataset, mapper=mapper, total_batch_size=30)
        counts = torch.zeros(len(dataset.class_names))
        for sample in next(iter(loader)):
            counts += sample["instances"].gt_classes.bincount(minlength=len(counts))
        shares[weights] = counts / counts.sum()
        rarest = int(loader.statistics.instances.argmin())
    assert shares["inverse_frequency"][rarest] > shares[None][rarest]


@pytest.mark.parametrize("policy", ["skip", "fatal"])
def test_a_broken_source_counts_as_broken(datasets_root, policy):
    records = list(subset_dicts("tiny", "train"))[:4]
    records[1]["file_name"] += ".gone"
    mapper = InstanceMapper(True, augmentations=[], copy_paste=CopyPaste(probability=1))
    loader = build_train_loader(
        records, mapper=mapper, total_batch_size=4, on_broken_image=policy, seed=1
    )
    if policy == "fatal":
        with pytest.raises(UserError, match="gone .* can't be read"):
            [next(iter(loader)) for _ in range(3)]
        return
    iterator = iter(loader)
    assert [len(next(iterator)) for _ in range(4)] == [4] * 4
    assert set(loader.broken_images.counts) == {records[1]["file_name"]}
