#!/usr/bin/env python3
"""PASCAL VOC 2012 segmentation as COCO files and a subset.

    python datasets/convert_voc.py VOCdevkit/VOC2012 --name voc
    python datasets/convert_voc.py VOCdevkit/VOC2012 --name animals --splits train=trainval \\
        --classes cat cow dog horse sheep
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from project.data.formats.convert import add_output, named_splits, publish
from project.data.formats.voc import read_voc
from project.errors import exits_with_two


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="VOCdevkit/VOC2012")
    parser.add_argument(
        "--splits",
        nargs="+",
        default=["train", "val"],
        metavar="SPLIT[=THEIRS]",
        help="lists of ImageSets/Segmentation (default: train val)",
    )
    add_output(parser)
    return parser


@exits_with_two
def main(argv: Sequence[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    splits = named_splits(args.splits)
    publish({ours: read_voc(args.folder, theirs) for ours, theirs in splits.items()}, args)
    return 0


if __name__ == "__main__":
    sys.exit(main())
