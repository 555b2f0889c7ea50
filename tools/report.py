#!/usr/bin/env python3
"""What a run can do, and how sure that is: one page from its files, without the model.

    python tools/report.py output/quickstart                 # writes output/quickstart/report/
    python tools/report.py output/run_a output/run_b         # B against A, on the same images

Figures come with 95 % intervals; the page shows errors one by one, beside the labels. Every number
is also in results.json and CSV files, every chart a PNG.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from project.errors import UserError, exits_with_two


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="folder of an evaluated run")
    parser.add_argument("other", type=Path, nargs="?", help="a second one, held against the first")
    parser.add_argument("--output", type=Path, help="folder (report/ in the run's)")
    parser.add_argument("--root", type=Path, help="folder of the subsets (the configs')")
    parser.add_argument("--resamples", type=int, default=1000, help="for intervals (1000)")
    parser.add_argument("--images", type=int, default=6, help="best and worst ones each (6)")
    return parser


@exits_with_two
def main(argv: Sequence[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    for name, least in (("resamples", 100), ("images", 0)):
        if (value := getattr(args, name)) < least:
            raise UserError(f"--{name} is {value}; expected {least} or more")
    from project.visualization.report import write_report

    page, note = write_report(
        args.run,
        args.other,
        args.output,
        root=args.root,
        num_resamples=args.resamples,
        num_images=args.images,
    )
    if note:
        print(note)
    print(f"Open {page}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
