#!/usr/bin/env python3
"""YOLO segmentation labels (text files and data.yaml) as COCO files and a subset.

python datasets/convert_yolo.py fruit/data.yaml --name fruit
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from project.data.formats.convert import add_output, named_splits, publish
from project.data.formats.yolo import read_yolo, yolo_splits
from project.errors import UserError, exits_with_two


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="data.yaml")
    parser.add_argument(
        "--splits", nargs="+", metavar="SPLIT[=THEIRS]", help="default: all that data.yaml names"
    )
    add_output(parser)
    return parser


@exits_with_two
def main(argv: Sequence[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    splits = named_splits(args.splits or yolo_splits(args.data))
    if not splits:
        raise UserError(f"{args.data} names none of train, val and test")
    publish({ours: read_yolo(args.data, theirs) for ours, theirs in splits.items()}, args)
    return 0


if __name__ == "__main__":
    sys.exit(main())
