#!/usr/bin/env python3
"""Measure: each figure beside its alternative in the same run, with the machine it was made on.

python tools/benchmark.py quickstart --seeds 0 1 2     # accuracy and time of the quickstart
python tools/benchmark.py roi-align                    # RoIAlign on the CPU against torchvision's
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from project.errors import exits_with_two


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    quickstart = commands.add_parser("quickstart", help="accuracy and time, once a seed")
    quickstart.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    quickstart.add_argument("--work-dir", type=Path, default=Path("output/benchmark"))
    quickstart.add_argument("overrides", nargs="*", metavar="key=value")
    roi_align = commands.add_parser("roi-align", help="RoIAlign on the CPU, ours and torchvision's")
    roi_align.add_argument("--boxes", type=int, default=256)
    for command in (quickstart, roi_align):
        command.add_argument("--output", type=Path, help="also write the figures to this JSON file")
    return parser


@exits_with_two
def main(argv: Sequence[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    if args.command == "quickstart":
        from project.benchmarks.quickstart import run_quickstart

        figures = run_quickstart(args.seeds, args.work_dir, args.overrides)
    else:
        from project.benchmarks.roi_align import measure_roi_align

        figures = measure_roi_align(args.boxes)
    text = json.dumps(figures, indent=2)
    print(text)
    if args.output:
        args.output.write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
