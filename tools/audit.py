"""Find what is wrong with COCO files and their images, and write a repaired copy if asked.

    python tools/audit.py --dataset scenes
    python tools/audit.py --split train labels.json images/ --split val val.json val_images/
    python tools/audit.py --split test - test_images/ --fix datasets/repaired

`-` stands for "none". Nothing is altered in place. Exit code: 0 nothing wrong, 1 errors,
3 warnings only, 2 a mistake in the call.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from project.data.audit.repair import CHANGES, check_split_names, repair_copy
from project.data.audit.run import Sources, examine
from project.errors import UserError, exits_with_two


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset", help="all splits of a subset below DETECTRON2_DATASETS")
    parser.add_argument(
        "--split",
        nargs=3,
        action="append",
        default=[],
        metavar=("NAME", "FILE", "DIR"),
        help="annotation file and image folder of a split; repeat it to find leaks",
    )
    parser.add_argument(
        "--output", type=Path, default=Path("audit.json"), help="all findings (audit.json)"
    )
    parser.add_argument("--fix", type=Path, metavar="DIR", help="new folder for a repaired copy")
    parser.add_argument("--examples", type=int, default=3, help="shown of each kind (3)")
    parser.add_argument("--workers", type=int, default=0, help="threads; 0: one for each core")
    return parser


@exits_with_two
def main(argv: Sequence[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    if args.examples < 0:
        raise UserError(f"--examples is {args.examples}; expected 0 or more")
    splits = sources(args.dataset, args.split)
    if args.fix is not None:  # before the work
        check_split_names(splits)
    audit = examine(splits, workers=args.workers)
    report = audit.report
    print(report.table(args.examples))
    report.write(args.output)
    numbers = f"{len(report.errors):,} errors, {len(report.warnings):,} warnings"
    images = sum(split["images"] for split in report.splits.values())
    print(f"{numbers} in {images:,} images, {report.seconds:.1f} s; wrote {args.output}")
    if args.fix is not None:
        changes = repair_copy(audit, args.fix)
        print(f"Wrote a copy with {len(changes):,} changes to {args.fix}, see {CHANGES} there")
    return report.exit_code


def sources(dataset: str | None, splits: Sequence[Sequence[str]]) -> Sources:
    """What to audit: the splits of subset ``dataset``, and those given by NAME, FILE and DIR."""
    found = {}
    if dataset is not None:
        from project.data.catalog import subset_dir

        folder = subset_dir(dataset)
        for file in sorted(folder.glob("annotations/*.json")):
            found[file.stem] = file, folder / "images" / file.stem
        if not found:
            raise UserError(f"subset {dataset!r}: no annotations in {folder}")
    for name, *paths in splits:
        if name in found:
            raise UserError(f"split {name!r} is given twice")
        file, folder = (None if path == "-" else Path(path) for path in paths)
        found[name] = file, folder
    if not found:
        raise UserError("nothing to audit: give --dataset SUBSET or --split NAME FILE DIR")
    return found


if __name__ == "__main__":
    sys.exit(main())
