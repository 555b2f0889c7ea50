#!/usr/bin/env python3
"""What settings change: runs grouped by setting, mean and spread over seeds, one page to read.

    python tools/compare.py output/sweeps/imbalance            # a sweep's folder
    python tools/compare.py output/run_a output/run_b --baseline run_a
    python tools/compare.py output/sweeps/backbones --metric bbox/AP50

The page shows learning curves, the metric against every number that varies (against the data set's
size with a power law), cost, and paired differences to a baseline.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from project.errors import exits_with_two


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", type=Path, help="run folders, or folders of them")
    parser.add_argument("--metric", default="segm/AP", help="what is compared (segm/AP)")
    parser.add_argument(
        "--baseline", default="", help="setting or run to compare the others to, over common seeds"
    )
    parser.add_argument("--output", type=Path, help="folder (comparison/ in the first of RUNS)")
    parser.add_argument("--title", default="", help="of the page")
    parser.add_argument(
        "--trust", action="store_true", help="read configs with any class in them: your own runs"
    )
    return parser


@exits_with_two
def main(argv: Sequence[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    from project.experiments.compare import compare
    from project.experiments.page import write_comparison

    found = compare(args.runs, metric=args.metric, baseline=args.baseline, trust=args.trust)
    folder = args.output or args.runs[0] / "comparison"
    page = write_comparison(found, folder, title=args.title or args.runs[0].resolve().name)
    print(f"Open {page}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
