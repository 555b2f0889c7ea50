#!/usr/bin/env python3
"""Measure: each figure beside its alternative in the same run, with the machine it was made on.

python tools/benchmark.py quickstart --seeds 0 1 2     # accuracy and time of the quickstart
python tools/benchmark.py roi-align                    # RoIAlign on the CPU against torchvision's
python tools/benchmark.py data                         # files of train2017's size, and pycocotools
python tools/benchmark.py loader --coco LABELS IMAGES  # images per second, and a plain mapper's
python tools/benchmark.py overlay                      # objects drawn, ours and matplotlib's
python tools/benchmark.py eval                         # COCO evaluation at val2017's size
python tools/benchmark.py coverage                     # do intervals hold what they promise
python tools/benchmark.py refine --run output/quickstart  # masks refined: better or worse
python tools/benchmark.py soft-nms output/quickstart   # hard, linear, Gaussian: crowds, occlusion
python tools/benchmark.py background --run output/quickstart  # people cut out: edges
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from project.errors import UserError, exits_with_two


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
    refine = commands.add_parser("refine", help="what each refinement does to masks")
    masks = refine.add_mutually_exclusive_group()
    masks.add_argument("--run", type=Path, help="refine the soft masks that this run predicts")
    masks.add_argument("--results", type=Path, help="refine the masks of a COCO results file")
    masks.add_argument(
        "--grid",
        type=int,
        default=28,
        help="without a run or results: true masks at so many cells to a side of their box (28)",
    )
    where = refine.add_mutually_exclusive_group()
    where.add_argument(
        "--dataset",
        nargs=2,
        metavar=("SUBSET", "SPLIT"),
        help="in the datasets folder (default: COCO_SUBSET_ROOT's validation images for true "
        "masks, else scenes val)",
    )
    where.add_argument("--coco", type=Path, nargs=2, metavar=("LABELS", "IMAGES"))
    refine.add_argument("--per", choices=("object", "class"), help="class: for semantic models")
    refine.add_argument("--images", type=int, default=100)
    refine.add_argument("--methods", nargs="*", default=(), metavar="NAME")
    refine.add_argument("--pictures", type=Path, help="folder for masks before and after")
    soft_nms = commands.add_parser("soft-nms", help="AP of a run with hard and soft suppression")
    soft_nms.add_argument("run", type=Path, help="folder of a trained Mask R-CNN")
    soft_nms.add_argument("--weights", default="", help="a checkpoint (default: the run's newest)")
    soft_nms.add_argument("--sigma", type=float, default=0.5, help="of the Gaussian form (0.5)")
    soft_nms.add_argument("--threshold", type=float, default=0.3, help="of the linear form (0.3)")
    background = commands.add_parser("background", help="people cut out of scenes: errors of edges")
    background.add_argument("--run", type=Path, help="also start from what this run's model finds")
    background.add_argument("--images", type=int, default=60)
    background.add_argument("--methods", nargs="+", metavar="NAME", help="of alpha refinement")
    background.add_argument("--decontaminations", nargs="+", default=["none", "blur"])
    background.add_argument("--bands", type=int, nargs="+", help="pixels (1.2 %% of the diagonal)")
    for command in (data, loader, evaluation, soft_nms):
        command.add_argument("--work-dir", type=Path, default=Path("output/benchmark"))
    judged = (overlay, evaluation, coverage, refine, soft_nms)
    for command in (quickstart, roi_align, data, loader, *judged, background):
        command.add_argument("--output", type=Path, help="also write the figures to this JSON file")
    return parser


def _real_subset(part: str = "train-300") -> tuple[Path, Path] | None:
    """Labels and images of a part of the folder that COCO_SUBSET_ROOT names, if it is set."""
    root = os.environ.get("COCO_SUBSET_ROOT")
    return (Path(root, part, "labels.json"), Path(root, part, "data")) if root else None


def _refine(args: argparse.Namespace) -> dict:
    from project.benchmarks import refine_cases as masks
    from project.benchmarks.refine import measure_refinements

    coco, predicted = args.coco, args.run or args.results
    if args.per and not predicted:
        raise UserError("--per tells how predictions are judged; give --run or --results with it")
    if not (coco or args.dataset or predicted):
        coco = _real_subset("validation-300")
    if coco:
        dataset = masks.Dataset(*coco)
    else:
        dataset = masks.Dataset.of_subset(*(args.dataset or ("scenes", "val")))
    if args.run:
        images = masks.cases_of_run(dataset, args.run, num_images=args.images, per=args.per)
    elif args.results:
        images = masks.cases_of_results(
            dataset, args.results, num_images=args.images, per=args.per or "object"
        )
    else:
        images = masks.coarse_cases(dataset, num_images=args.images, grid=args.grid)
    return measure_refinements(images, args.methods, pictures=args.pictures)


def prepare(output: Path) -> None:
    """Make the folder of the file, rather than fail after a long measurement."""
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--output {output}: {output.parent} can't be made: {error}") from error
    if output.is_dir():
        raise UserError(f"--output {output} is a folder; expected a file")


@exits_with_two
def main(argv: Sequence[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    if args.output:
        prepare(args.output)
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
    elif args.command == "soft-nms":
        from project.benchmarks.soft_nms import measure_soft_nms

        figures = measure_soft_nms(
            args.run,
            args.work_dir,
            weights=args.weights,
            sigma=args.sigma,
            threshold=args.threshold,
        )
    elif args.command == "background":
        from project.benchmarks.background import measure_background

        figures = measure_background(
            args.images,
            run_dir=args.run,
            methods=args.methods,
            decontaminations=args.decontaminations,
            bands=args.bands or (None,),
        )
    elif args.command == "coverage":
        from project.benchmarks.coverage import measure_coverage

        figures = measure_coverage(
            args.simulations, num_images=args.images, num_resamples=args.resamples
        )
    elif args.command == "refine":
        figures = _refine(args)
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
