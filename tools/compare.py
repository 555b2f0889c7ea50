#!/usr/bin/env python3
"""How runs compare: settings of one model over seeds, or, with --models, models of any kind.

    python tools/compare.py output/sweeps/imbalance            # a sweep's folder
    python tools/compare.py output/run_a output/run_b --baseline run_a
    python tools/compare.py output/sweeps/backbones --metric bbox/AP50
    python tools/compare.py --models output/mask_rcnn output/unet_seed0 output/unet_seed1

Settings: learning curves, the metric against every number that varies (against the data set's size
with a power law), cost, and paired differences to a baseline. Models: instances flattened to
pixels, so that Mask R-CNN and U-Net are judged alike on the images and classes that they share
(IoU, Dice, boundary IoU), with what each costs and pictures side by side. Each gives one page.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from project.errors import UserError, exits_with_two

ONLY_MODELS = ("dataset", "split", "root", "device", "no_speed", "num_images")
ONLY_SETTINGS = ("metric",)


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", type=Path, help="run folders, or folders of them")
    parser.add_argument(
        "--baseline", default="", help="setting, model or run to compare the others to"
    )
    parser.add_argument("--output", type=Path, help="folder (comparison/ in the first of RUNS)")
    parser.add_argument("--title", default="", help="of the page")
    parser.add_argument(
        "--trust", action="store_true", help="read configs with any class in them: your own runs"
    )
    parser.add_argument("--metric", help="what settings are compared in (segm/AP)")
    models = parser.add_argument_group("models")
    models.add_argument("--models", action="store_true", help="compare models pixel by pixel")
    models.add_argument("--dataset", help="subset whose predictions count (each run's own)")
    models.add_argument("--split", help="split whose predictions count (each run's dataset.test)")
    models.add_argument("--root", type=Path, help="folder of the subsets (each run's)")
    models.add_argument("--device", choices=("cpu", "cuda"), help="to measure on (cuda if there)")
    models.add_argument(
        "--no-speed", action="store_true", help="build no model: no parameters, FLOPs, milliseconds"
    )
    models.add_argument("--num-images", type=int, help="pictures of each kind (2)")
    return parser


@exits_with_two
def main(argv: Sequence[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    strange = ONLY_SETTINGS if args.models else ONLY_MODELS
    for name in strange:
        value = getattr(args, name)
        if value is not None and value is not False:  # 0 is a value
            other = "doesn't go with --models" if args.models else "needs --models"
            raise UserError(f"--{name.replace('_', '-')} {other}")
    from project.visualization.files import check_output_folder

    folder = args.output or args.runs[0] / "comparison"
    check_output_folder(folder)
    page = models_page(args, folder) if args.models else settings_page(args, folder)
    print(f"Open {page}")
    return 0


def settings_page(args: argparse.Namespace, folder: Path) -> Path:
    from project.experiments.compare import compare
    from project.experiments.page import write_comparison

    metric = args.metric or "segm/AP"
    found = compare(args.runs, metric=metric, baseline=args.baseline, trust=args.trust)
    return write_comparison(found, folder, title=args.title or args.runs[0].resolve().name)


def models_page(args: argparse.Namespace, folder: Path) -> Path:
    from project.experiments.models import compare_models
    from project.experiments.models.files import NUM_IMAGES, write_models
    from project.experiments.models.words import listed

    number = NUM_IMAGES if args.num_images is None else args.num_images
    if number < 0:
        raise UserError(f"--num-images is {number}; expected 0 or more")
    found = compare_models(
        args.runs,
        subset=args.dataset or "",
        split=args.split or "",
        baseline=args.baseline,
        root=args.root,
        trust=args.trust,
    )
    costs = None
    if not args.no_speed:
        from project.experiments.models.cost import measure_costs

        costs = measure_costs(found.models, found.footing, device=args.device)
    title = args.title or listed([model.label for model in found.models])
    return write_models(found, costs, folder, title=title, num_images=number)


if __name__ == "__main__":
    sys.exit(main())
