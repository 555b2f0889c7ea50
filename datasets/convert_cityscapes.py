#!/usr/bin/env python3
"""Cityscapes (fine annotations, the ten classes with instances) as COCO files and a subset.

python datasets/convert_cityscapes.py cityscapes --name cityscapes
python datasets/convert_cityscapes.py cityscapes --name streets --classes person car bicycle
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from project.data.formats.cityscapes import read_cityscapes
from project.data.formats.convert import add_output, named_splits, publish
from project.errors import exits_with_two


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="holds leftImg8bit and gtFine")
    parser.add_argument(
        "--splits",
        nargs="+",
        default=["train", "val"],
        metavar="SPLIT[=THEIRS]",
        help="folders of gtFine (default: train val)",
    )
    parser.add_argument(
        "--polygons", action="store_true", help="paint the polygons; no instance images needed"
    )
    add_output(parser)
    return parser


@exits_with_two
def main(argv: Sequence[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    source = "polygons" if args.polygons else "pixels"
    splits = named_splits(args.splits)
    documents = {
        ours: read_cityscapes(args.folder, theirs, source) for ours, theirs in splits.items()
    }
    publish(documents, args)
    return 0


if __name__ == "__main__":
    sys.exit(main())
