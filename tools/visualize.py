"""Draw labels of a dataset, predictions of a run, or both side by side, as PNGs.

    python tools/visualize.py --dataset scenes_val
    python tools/visualize.py --run output/quickstart
    python tools/visualize.py --run output/quickstart --dataset scenes_test --threshold 0.7

Predictions are read from the run's ``inference/<dataset>`` folder; only where it has none, the
run's newest checkpoint makes them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from project.data.catalog import register_subset
from project.engine.config import load_run, require, select
from project.engine.evaluate import RESULTS_FILE, predict_dataset
from project.engine.launch import Processes, choose_device
from project.errors import UserError, exits_with_two
from project.visualization import render_results

from detectron2.data import DatasetCatalog


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset", help="<subset>_<split>; left out: what the run was tested on")
    parser.add_argument("--run", type=Path, help="run folder whose predictions are drawn")
    parser.add_argument("--output", type=Path, default=Path("vis"), help="folder for the PNGs")
    parser.add_argument("--show", choices=("both", "labels", "predictions"), default="both")
    parser.add_argument("--limit", type=int, default=20, help="number of images (20)")
    parser.add_argument("--seed", type=int, default=0, help="which images (0)")
    parser.add_argument("--images", nargs="+", default=(), help="file names or image ids instead")
    parser.add_argument("--threshold", type=float, default=0.5, help="lowest score drawn (0.5)")
    parser.add_argument("--columns", type=int, help="of the contact sheet")
    parser.add_argument(
        "--trust", action="store_true", help="build anything the run's config names"
    )
    return parser


@exits_with_two
def main(argv: Sequence[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    if args.run is None and (args.dataset is None or args.show == "predictions"):
        wanted = "--dataset NAME or --run FOLDER" if args.dataset is None else "--run FOLDER"
        raise UserError(f"nothing to draw: give {wanted}")
    cfg = None
    if args.run is not None:
        cfg = load_run(args.run, trust=args.trust)
        require(cfg, "dataset.name", "dataset.test", "dataset.root", "train.device")
    name = register(args.dataset, cfg)
    results_file = None
    if cfg is not None and args.show != "labels":
        results_file = run_results(cfg, name)
    written = render_results(
        name,
        results_file,
        args.output,
        limit=args.limit,
        threshold=args.threshold,
        seed=args.seed,
        images=args.images,
        columns=args.columns,
        labels=args.show != "predictions",
    )
    print(f"Wrote {len(written) - 1} images to {args.output}")
    return 0


def register(name: str | None, cfg) -> str:
    """The registered name of the dataset called ``name``, or of the one the run was tested on."""
    if name is None:
        subset, split, root = (select(cfg, f"dataset.{key}") for key in ("name", "test", "root"))
        return register_subset(str(subset), str(split), root)
    if name in DatasetCatalog.list():
        return name
    subset, _, split = name.rpartition("_")
    if not subset:
        raise UserError(f"dataset {name!r} should read <subset>_<split>, e.g. scenes_val")
    return register_subset(subset, split, None if cfg is None else select(cfg, "dataset.root"))


def run_results(cfg, name: str) -> Path:
    """The run's results file on dataset ``name``; its model makes one where there is none."""
    file = Path(cfg.train.output_dir, "inference", name, RESULTS_FILE)
    if file.is_file():
        return file
    cfg.train.device = choose_device(select(cfg, "train.device"), Processes())
    return predict_dataset(cfg, "", name)


if __name__ == "__main__":
    sys.exit(main())
