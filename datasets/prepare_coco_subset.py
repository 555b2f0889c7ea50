#!/usr/bin/env python3
"""Make a COCO subset: classes by name, images per split, contiguous ids, a manifest.

From one annotation file that is to be split (splits are disjoint):
    python datasets/prepare_coco_subset.py --coco instances_val2017.json --images val2017 \\
        --classes cake car dog person --train 300 --val 300 --test 30 --seed 0
From files that are split already (their ids may disagree), with an unlabelled test folder:
    python datasets/prepare_coco_subset.py --split train train.json train/ \\
        --split val val.json val/ --test-images test/ --classes cake car dog person
From COCO's server, only the images that are chosen:
    python datasets/prepare_coco_subset.py --download train=train2017 val=val2017 \\
        --classes cake car dog person --train 1000 --val all
By ratio, rare classes in every split:
    python datasets/prepare_coco_subset.py --coco labels.json --images images --stratified \\
        --classes cake car dog person --ratio 75 12.5 12.5
Once more, identical:
    python datasets/prepare_coco_subset.py --from-manifest datasets/NAME/manifest.json --root other/
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from project.data.coco_download import COCO_ARCHIVES, COCO_BASE_URL
from project.data.command_line import make_folds, plan_from, refuse_choices, server_from
from project.data.download import Policy
from project.data.manifest import Manifest, describe
from project.data.root import datasets_root
from project.data.subset import SPLITS, build_subset, rebuild_subset
from project.errors import UserError, exits_with_two


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    source = parser.add_argument_group("source (one of --coco, --split, --from-manifest)")
    source.add_argument("--coco", type=Path, metavar="FILE", help="COCO instances file to split")
    source.add_argument("--images", type=Path, metavar="DIR", help="image folder of --coco")
    source.add_argument(
        "--split",
        nargs=3,
        action="append",
        default=[],
        metavar=("NAME", "FILE", "DIR"),
        help="train, val or test: its own COCO file and image folder; once for each split",
    )
    source.add_argument("--test-images", type=Path, metavar="DIR", help="unlabelled test images")
    source.add_argument("--from-manifest", type=Path, metavar="FILE", help="re-make this subset")
    source.add_argument(
        "--relocate",
        nargs=2,
        action="append",
        default=[],
        metavar=("OLD", "NEW"),
        help="with --from-manifest: sources below folder OLD are now below NEW",
    )
    add_download(parser.add_argument_group("download"))
    choice = parser.add_argument_group("choice")
    choice.add_argument("--classes", nargs="+", metavar="NAME", help="in the order of their ids")
    choice.add_argument(
        "--person", action="store_true", help="the category person alone: --classes person"
    )
    for split in SPLITS:
        choice.add_argument(
            f"--{split}",
            type=number_of_images,
            metavar="N",
            help=f"{split} images: a number, or 'all' that show one of the classes",
        )
    choice.add_argument("--seed", type=int, help="of the draw (default 0)")
    choice.add_argument(
        "--negatives", type=float, metavar="SHARE", help="0-1, images without the classes (0)"
    )
    choice.add_argument(
        "--keep-empty", action="store_true", help="with 'all': also every image without the classes"
    )
    add_splitting(parser.add_argument_group("splits of one annotation file"))
    output = parser.add_argument_group("output")
    output.add_argument("--name", help="folder name (default: the classes joined by '_')")
    output.add_argument("--root", help="default: $DETECTRON2_DATASETS, else datasets/")
    output.add_argument("--copy", action="store_true", help="copy images instead of linking them")
    output.add_argument("--overwrite", action="store_true", help="replace an older subset")
    output.add_argument("--no-audit", action="store_true", help="don't audit the source files")
    return parser


def add_download(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--download",
        nargs="*",
        metavar="[SPLIT=]COCO",
        help=f"fetch what is missing: annotations, then the chosen images only. Of COCO's split "
        f"{', '.join(COCO_ARCHIVES)} (default val2017), or one for each of ours: train=train2017",
    )
    group.add_argument("--base-url", metavar="URL", help=f"a mirror of {COCO_BASE_URL}")
    group.add_argument(
        "--connections", type=int, metavar="N", help=f"at a time ({Policy.connections})"
    )
    group.add_argument(
        "--max-rate", type=float, metavar="R", help=f"requests a second ({Policy.rate:g})"
    )


def add_splitting(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--ratio", nargs="+", type=float, metavar="P", help="percent of train, val and test"
    )
    group.add_argument("--total", type=int, metavar="N", help="images that ratio or folds share")
    group.add_argument("--kfold", type=int, metavar="K", help="K subsets NAME_fold1of<K>, ...")
    group.add_argument("--fold", type=int, metavar="I", help="with --kfold: only this one, from 1")
    group.add_argument(
        "--stratified", action="store_true", help="each class divided like the images"
    )
    group.add_argument(
        "--group-duplicates", action="store_true", help="near-duplicates never in two splits"
    )


def number_of_images(text: str) -> int | str:
    """A whole number, or the word ``all``."""
    return text if text == "all" else int(text)


def audit(manifest: Manifest) -> str:
    """What the audit of the source annotation files says, in a line or two."""
    from project.data.audit import audit_files, summarise

    sources = {}  # a file that serves several splits is looked at once
    for split, record in manifest.splits.items():
        if record.annotations is not None:
            sources.setdefault(record.annotations, split)
    return summarise(
        audit_files({split: (Path(file), None) for file, split in sources.items()}, progress=False)
    )


@exits_with_two
def main(argv: Sequence[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    root = datasets_root(args.root)
    server = server_from(args, root)
    how = {"copy": args.copy, "overwrite": args.overwrite, "server": server}
    if args.from_manifest:
        refuse_choices(args)
        moves = dict(args.relocate)
        manifests = [rebuild_subset(args.from_manifest, root, relocate=moves, **how)]
    else:
        if args.relocate:
            raise UserError("--relocate goes with --from-manifest only")
        plans = make_folds(plan_from(args, server), args)
        manifests = [build_subset(plan, root, **how) for plan in plans]
    for manifest in manifests:
        print(describe(manifest))
    if not args.no_audit:
        print(audit(manifests[0]))
    for manifest in manifests:
        print(f"Wrote subset {manifest.name!r} to {root / manifest.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
