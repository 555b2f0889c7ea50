"""What a data set is like: one page to read, its charts as PNGs, every number as JSON and CSV.

    python tools/explore.py --dataset scenes
    python tools/explore.py --dataset cake_car_dog_person_train
    python tools/explore.py --json train-300/labels.json --images train-300/data \\
        --compare validation-300/labels.json validation-300/data --classes cake car dog person

Two splits are compared class by class: with `--compare`, or where `--dataset` names a whole subset
that has the splits train and val. Anchors and input size come from the config.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from project.errors import UserError, exits_with_two

if TYPE_CHECKING:
    from project.visualization.exploration import SplitSource

REPO = Path(__file__).resolve().parents[1]


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--dataset", metavar="SUBSET[_SPLIT]", help="a subset below the root")
    what.add_argument("--json", type=Path, metavar="FILE", help="a COCO annotation file")
    parser.add_argument("--images", type=Path, metavar="DIR", help="image folder of --json")
    parser.add_argument(
        "--compare", type=Path, nargs=2, metavar=("FILE", "DIR"), help="a second split"
    )
    parser.add_argument("--classes", nargs="+", default=[], help="only these, by name")
    parser.add_argument("--root", type=Path, help="folder of the subsets")
    parser.add_argument("--output", type=Path, help="folder to write (output/explore/NAME)")
    parser.add_argument(
        "--config-file",
        type=Path,
        default=REPO / "configs/mask_rcnn_R_50_FPN.py",
        help="whose anchors and input size are held against the boxes",
    )
    parser.add_argument(
        "--trust", action="store_true", help="build anything a .yaml config names: your own runs"
    )
    parser.add_argument("--no-audit", action="store_true", help="look for no faults")
    parser.add_argument("--max-images", type=int, default=5000, help="measured, at random (5000)")
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn at random (0)")
    parser.add_argument("--workers", type=int, default=0, help="processes; 0: one a core")
    return parser


@exits_with_two
def main(argv: Sequence[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    check_arguments(args)
    # Imported here, so that the worker processes, which read this file too, start without torch.
    from project.visualization.exploration import write_exploration

    title, source, other = find_sources(args)
    folder = args.output or Path("output/explore") / title
    page = write_exploration(
        source,
        other,
        folder,
        title=title,
        classes=args.classes,
        detector=config_detector(args.config_file, trust=args.trust),
        audit=not args.no_audit,
        limit=args.max_images,
        seed=args.seed,
        workers=args.workers,
    )
    print(f"Open {page}")
    return 0


def check_arguments(args: argparse.Namespace) -> None:
    if args.json is None and (args.images or args.compare):
        raise UserError("--images and --compare go with --json; --dataset knows its own folders")
    for name, least in (("max_images", 1), ("seed", 0), ("workers", 0)):
        if (value := getattr(args, name)) < least:
            raise UserError(f"--{name.replace('_', '-')} is {value}; expected {least} or more")


def find_sources(args: argparse.Namespace) -> tuple[str, SplitSource, SplitSource | None]:
    """The page's title, the split to explore, and the one to compare it with."""
    from project.data.exploration.labels import split_name
    from project.visualization.exploration import SplitSource

    if args.dataset is not None:
        return subset_sources(args.dataset, args.root)
    for folder in (args.images, *(args.compare or ())[1:]):
        if folder is not None and not folder.is_dir():
            raise UserError(f"image folder {folder} doesn't exist")
    name = split_name(args.json)
    other = None
    if args.compare:
        other_name = split_name(args.compare[0])
        other = SplitSource(other_name + " (compared)" * (other_name == name), *args.compare)
    return name, SplitSource(name, args.json, args.images), other


def subset_sources(dataset: str, root: Path | None) -> tuple[str, SplitSource, SplitSource | None]:
    """The sources that ``<subset>`` (train beside val) or ``<subset>_<split>`` names."""
    from project.data.catalog import BUILT_IN, subset_dir
    from project.data.root import datasets_root
    from project.errors import unknown_name
    from project.visualization.exploration import SplitSource

    base = datasets_root(root)

    def source(subset: str, split: str) -> SplitSource | None:
        folder = subset_dir(subset, root)
        file = folder / "annotations" / f"{split}.json"
        return SplitSource(split, file, folder / "images" / split) if file.is_file() else None

    if dataset in BUILT_IN or (base / dataset / "annotations").is_dir():
        found = source(dataset, "train")
        if found is None:
            raise UserError(f"subset {dataset!r} has no split train; name one: {dataset}_<split>")
        return dataset, found, source(dataset, "val")
    subset, _, split = dataset.rpartition("_")
    if (subset in BUILT_IN or (base / subset / "annotations").is_dir()) and subset:
        if (found := source(subset, split)) is not None:
            return dataset, found, None
        known = sorted(p.stem for p in (subset_dir(subset, root) / "annotations").glob("*.json"))
        raise UserError(f"subset {subset!r}: {unknown_name('split', split, known)}")
    known = sorted(p.parent.name for p in base.glob("*/annotations") if p.is_dir())
    raise UserError(f"{unknown_name('subset', dataset, [*known, *BUILT_IN])} in {base}")


def config_detector(file: Path, *, trust: bool = False):
    """The anchors, input size and pyramid levels of a config's model."""
    import math

    from project.data.exploration.fit import AnchorGrid, Detector, InputSize
    from project.engine.config import load_config

    import numpy as np
    import torch
    from detectron2.config import instantiate

    cfg = load_config(file, trust=trust)
    try:
        generator = instantiate(cfg.model.proposal_generator.anchor_generator)
        pooler = cfg.model.roi_heads.mask_pooler
        resizes = [a for a in cfg.dataloader.test.mapper.augmentations if "short_edge_length" in a]
        strides = tuple(
            int(stride) for stride in cfg.model.proposal_generator.anchor_generator.strides
        )
    except (AttributeError, TypeError) as error:
        raise UserError(f"{file} is no config of a Mask R-CNN with anchors: {error}") from None
    # One cell of each level: the anchors around the first centre.
    cells = generator([torch.zeros(1, 1, 1, 1) for _ in strides])
    offset = float(generator.offset)
    grid = AnchorGrid(
        tuple(
            np.asarray(boxes.tensor, float) - offset * stride
            for boxes, stride in zip(cells, strides, strict=True)
        ),
        strides,
        offset,
    )
    size = InputSize(0, 0)
    if resizes:
        shortest = resizes[-1].short_edge_length
        longest = resizes[-1].get("max_size", sys.maxsize)
        if not all(isinstance(length, int | float) for length in (shortest, longest)):
            raise UserError(
                f"{file}: dataloader.test.mapper resizes to short_edge_length={shortest}, "
                f"max_size={longest}; expected one number each, as anchors are judged at one size"
            )
        size = InputSize(int(shortest), int(longest))
    levels = tuple(round(-math.log2(scale)) for scale in pooler.scales)
    return Detector(file.name, size, grid, levels)


if __name__ == "__main__":
    sys.exit(main())
