#!/usr/bin/env python3
"""Measure: each figure beside its alternative in the same run, with the machine it was made on.

python tools/benchmark.py quickstart --seeds 0 1 2     # accuracy and time of the quickstart
python tools/benchmark.py roi-align                    # RoIAlign on the CPU against torchvision's
python tools/benchmark.py data                         # files of train2017's size, and pycocotools
python tools/benchmark.py loader --coco LABELS IMAGES  # images per second, and a plain mapper's
python tools/benchmark.py overlay                      # objects drawn, ours and matplotlib's
python tools/benchmark.py eval                         # COCO evaluation at val2017's size
python tools/benchmark.py coverage                     # do intervals hold what they promise
"""

from __future__ import annotations

import argparse
import json
import os
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
    data = commands.add_parser("data", help="COCO-scale files, ours and pycocotools")
    data.add_argument("--images", type=int, default=118_000)
    data.add_argument("--annotations", type=int, default=860_000)
    loader = commands.add_parser("loader", help="training images per second, ours and plain")
    loader.add_argument(
        "--coco",
        type=Path,
        nargs=2,
        metavar=("LABELS", "IMAGES"),
        help="instances file and image folder (default: COCO_SUBSET_ROOT, else the scenes)",
    )
    loader.add_argument("--images", type=int, default=100)
    loader.add_argument("--workers", type=int, nargs="*", default=[0, 2])
    overlay = commands.add_parser("overlay", help="milliseconds to draw, ours and matplotlib's")
    overlay.add_argument("--objects", type=int, default=12)
    overlay.add_argument("--size", type=int, nargs=2, default=(480, 640), metavar=("H", "W"))
    evaluation = commands.add_parser("eval", help="COCO evaluation, ours and three others")
    evaluation.add_argument("--size", type=float, default=1.0, help="share of val2017's size (1)")
    coverage = commands.add_parser("coverage", help="intervals and tests on simulated evaluations")
    coverage.add_argument("--simulations", type=int, default=2000)
    coverage.add_argument("--images", type=int, default=300)
    coverage.add_argument("--resamples", type=int, default=300)
    for command in (data, loader, evaluation):
        command.add_argument("--work-dir", type=Path, default=Path("output/benchmark"))
    for command in (quickstart, roi_align, data, loader, overlay, evaluation, coverage):
        command.add_argument("--output", type=Path, help="also write the figures to this JSON file")
    return parser


def _real_subset() -> tuple[Path, Path] | None:
    """Training labels and images of the folder that COCO_SUBSET_ROOT names, if it is set."""
    root = os.environ.get("COCO_SUBSET_ROOT")
    return (Path(root, "train-300/labels.json"), Path(root, "train-300/data")) if root else None


@exits_with_two
def main(argv: Sequence[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    if args.command == "quickstart":
        from project.benchmarks.quickstart import run_quickstart

        figures = run_quickstart(args.seeds, args.work_dir, args.overrides)
    elif args.command == "data":
        from project.benchmarks.data import measure_data

        figures = measure_data(args.work_dir, args.images, args.annotations)
    elif args.command == "loader":
        from project.benchmarks.loader import measure_loader

        coco = args.coco or _real_subset()
        figures = measure_loader(
            coco, args.work_dir, num_images=args.images, num_workers=args.workers
        )
    elif args.command == "overlay":
        from project.benchmarks.overlay import measure_overlay

        figures = measure_overlay(args.objects, tuple(args.size))
    elif args.command == "eval":
        from project.benchmarks.eval import measure_eval

        figures = measure_eval(args.work_dir, args.size)
    elif args.command == "coverage":
        from project.benchmarks.coverage import measure_coverage

        figures = measure_coverage(
            args.simulations, num_images=args.images, num_resamples=args.resamples
        )
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
