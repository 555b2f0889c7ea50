#!/usr/bin/env python3
"""Images with masks of the same name, binary or indexed, as COCO files and a subset.

White dogs on black; what isn't connected is another dog:
    python datasets/convert_masks.py --split train imgs masks --name dogs --class dog
Pixel values are classes, 255 is void:
    python datasets/convert_masks.py --split train imgs/train masks/train \\
        --split val imgs/val masks/val --values classes --class 1=cat 2=dog --void 255 --name pets
Pixel values are objects:
    python datasets/convert_masks.py --split train imgs masks --values objects --class cell --name c
Not split yet: convert as train with --coco-only, then split the file:
    python datasets/prepare_coco_subset.py --coco datasets/dogs-coco/train.json --images imgs \\
        --classes dog --ratio 75 12.5 12.5
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from project.data.formats.convert import add_output, named_splits, publish
from project.data.formats.masks import VALUES, read_masks
from project.errors import UserError, exits_with_two


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--split",
        nargs=3,
        action="append",
        required=True,
        metavar=("NAME", "IMAGES", "MASKS"),
        help="train, val or test: its image and its mask folder; once for each split",
    )
    parser.add_argument(
        "--class",
        dest="named",
        nargs="+",
        required=True,
        metavar="[VALUE=]NAME",
        help="the class, or with --values classes each value and its class",
    )
    parser.add_argument("--values", choices=VALUES, default="binary", help="what a pixel says")
    parser.add_argument("--mask-suffix", default="", help="dog.jpg has dog<SUFFIX>.png")
    parser.add_argument("--void", type=int, metavar="VALUE", help="counts as background")
    parser.add_argument("--whole", action="store_true", help="parts of a mask are one object")
    parser.add_argument("--min-pixels", type=int, default=1, metavar="N", help="of an object (1)")
    add_output(parser)
    return parser


def classes_from(named: Sequence[str], values: str) -> dict[int, str]:
    """Pixel value → class name."""
    if values != "classes":
        if numbered := [word for word in named if word.partition("=")[0].isdigit()]:
            raise UserError(
                f"--class {numbered[0]}: values have classes with --values classes only"
            )
        return dict(enumerate(named, 1))
    classes = {}
    for word in named:
        value, equals, name = word.partition("=")
        if not (equals and name and value.isdigit() and int(value) and int(value) not in classes):
            raise UserError(f"--class {word}: expected VALUE=NAME, each value above 0 and once")
        classes[int(value)] = name
    return classes


@exits_with_two
def main(argv: Sequence[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    classes = classes_from(args.named, args.values)
    named_splits([name for name, _, _ in args.split])
    documents = {
        name: read_masks(
            images,
            masks,
            classes,
            values=args.values,
            suffix=args.mask_suffix,
            void=args.void,
            whole=args.whole,
            min_pixels=args.min_pixels,
        )
        for name, images, masks in args.split
    }
    publish(documents, args)
    return 0


if __name__ == "__main__":
    sys.exit(main())
