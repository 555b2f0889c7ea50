"""Draw labels of a dataset, predictions of a run, both side by side, or what training sees.

    python tools/visualize.py --dataset scenes_val
    python tools/visualize.py --run output/quickstart
    python tools/visualize.py --run output/quickstart --dataset scenes_test --threshold 0.7
    python tools/visualize.py --run output/quickstart --show all --pdf
    python tools/visualize.py --run output/quickstart --inputs holiday/ photo.jpg
    python tools/visualize.py --labels instances.json --image-dir images --results results.json
    python tools/visualize.py --augmented --config-file configs/quickstart.py --draws 8 \\
        dataloader.train.seed=1

Predictions are read from --results, else from the run's ``inference/<dataset>`` folder; only where
it has none, the run's newest checkpoint makes them, as it does for unlabelled --inputs.
``--show pixels`` colours what is true, false and missed. ``--augmented`` draws training images
after all augmentation, each as several samples of the run would show it; ``key=value`` arguments
change the config.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from project.applications import Predictor
from project.applications.inputs import find_sources
from project.applications.pictures import render_sources
from project.applications.thresholds import DEFAULT_THRESHOLD
from project.data.catalog import register_subset
from project.engine.config import build, load_config, load_run, require, select
from project.engine.evaluate import predict_dataset, results_file
from project.engine.launch import Processes, choose_device
from project.errors import UserError, exits_with_two
from project.visualization import render_results
from project.visualization.augmented import render_augmented
from project.visualization.coco_pictures import render_coco_file

from detectron2.data import DatasetCatalog

PANELS = {
    "both": ["labels", "predictions"],
    "labels": ["labels"],
    "predictions": ["predictions"],
    "pixels": ["pixels"],
    "all": ["labels", "predictions", "pixels"],
}
ONLY_AUGMENTED = ("config_file", "draws", "start")
NEVER_AUGMENTED = (
    "dataset", "labels", "image_dir", "results", "inputs", "show", "color", "pdf", "threshold",
)  # fmt: skip


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset", help="<subset>_<split>; left out: what the run was tested on")
    parser.add_argument("--run", type=Path, help="run folder whose predictions are drawn")
    parser.add_argument("--labels", type=Path, help="COCO file to draw instead of a dataset")
    parser.add_argument("--image-dir", type=Path, help="folder of the images of --labels")
    parser.add_argument("--results", type=Path, help="COCO results file, whoever made it")
    parser.add_argument("--inputs", nargs="+", default=(), help="unlabelled images, folders, globs")
    parser.add_argument("--augmented", action="store_true", help="draw what training sees")
    parser.add_argument("--config-file", type=Path, help="whose training data, with --augmented")
    parser.add_argument("--draws", type=int, help="of each augmented image (4)")
    parser.add_argument(
        "--start", type=int, help="place in the run of the first draw, in samples (0)"
    )
    parser.add_argument("--output", type=Path, default=Path("vis"), help="folder for the PNGs")
    parser.add_argument("--show", choices=PANELS, help="(both: side by side)")
    parser.add_argument("--color", choices=("class", "instance"), help="one for each (class)")
    parser.add_argument("--pdf", action="store_true", help="also a PDF, a page for each image")
    parser.add_argument("--limit", type=int, default=20, help="number of images (20)")
    parser.add_argument("--seed", type=int, default=0, help="which images (0)")
    parser.add_argument("--images", nargs="+", default=(), help="file names or image ids instead")
    parser.add_argument("--threshold", type=float, help="lowest score drawn (0.5)")
    parser.add_argument("--columns", type=int, help="of the contact sheet")
    parser.add_argument(
        "--trust", action="store_true", help="build anything a run's config or a YAML file names"
    )
    parser.add_argument("overrides", nargs="*", help="key=value, with --augmented")
    return parser


@exits_with_two
def main(argv: Sequence[str] | None = None) -> int:
    args = build_parser().parse_intermixed_args(argv)
    if not args.augmented and (args.overrides or flags_given(args, ONLY_AUGMENTED)):
        flags = ", ".join(map(flag, ONLY_AUGMENTED))
        raise UserError(f"{flags} and key=value arguments go with --augmented")
    if args.augmented:
        written = draw_augmented(args)
    elif args.inputs:
        written = draw_inputs(args)
    else:
        written = draw_results(args)
    images = sum(file.suffix == ".png" for file in written) - 1  # and the contact sheet
    print(f"Wrote {images} images to {args.output}")
    return 0


def flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def flags_given(args: argparse.Namespace, names: Sequence[str]) -> list[str]:
    """Those of the flags that stand on the command line; 0 is a value, too."""
    values = {name: getattr(args, name) for name in names}
    return [flag(n) for n, v in values.items() if not (v is None or v is False or v == ())]


def draw_augmented(args: argparse.Namespace) -> list[Path]:
    """Training images as the model of a config file, or of a run, is shown them."""
    if (args.config_file is None) == (args.run is None):
        raise UserError("--augmented needs --config-file FILE or --run FOLDER")
    if unused := flags_given(args, NEVER_AUGMENTED):
        raise UserError(f"--augmented draws the training data, without {' and '.join(unused)}")
    if args.config_file is not None:
        cfg = load_config(args.config_file, args.overrides, trust=args.trust)
    else:
        cfg = load_run(args.run, args.overrides, trust=args.trust)
    keys = [f"dataloader.train.{name}" for name in ("dataset", "mapper", "seed")]
    require(cfg, *keys)
    dataset, mapper = (build(select(cfg, key), key) for key in keys[:2])
    return render_augmented(
        dataset,
        mapper,
        args.output,
        seed=select(cfg, keys[2]),
        limit=args.limit,
        choice=args.seed,
        images=args.images,
        columns=args.columns,
        **{name: v for name in ("draws", "start") if (v := getattr(args, name)) is not None},
    )


def draw_inputs(args: argparse.Namespace) -> list[Path]:
    """What a run finds in images that no dataset knows."""
    if args.run is None or args.dataset or args.labels or args.results:
        raise UserError("--inputs needs --run FOLDER, and goes without --dataset and COCO files")
    if args.show not in (None, "both", "predictions"):
        raise UserError(f"--show {args.show} needs labels, and --inputs have none")
    sources = find_sources(args.inputs)
    predictor = Predictor(args.run, thresholds=args.threshold, trust=args.trust)
    return render_sources(predictor, sources, args.output, **drawing_options(args))


def drawing_options(args: argparse.Namespace) -> dict:
    return {
        "limit": args.limit,
        "seed": args.seed,
        "images": args.images,
        "columns": args.columns,
        "by_instance": args.color == "instance",
        "pdf": args.pdf,
    }


def draw_results(args: argparse.Namespace) -> list[Path]:
    """Labels of a dataset or COCO file, predictions of a run or results file, or both."""
    options = {
        **drawing_options(args),
        "panels": PANELS[args.show or "both"],
        "threshold": DEFAULT_THRESHOLD if args.threshold is None else args.threshold,
    }
    if args.labels is not None or args.image_dir is not None:
        if args.labels is None or args.image_dir is None or args.dataset or args.run:
            raise UserError("--labels FILE needs --image-dir FOLDER, and no --dataset or --run")
        return render_coco_file(args.labels, args.image_dir, args.results, args.output, **options)
    if args.dataset is None and args.run is None:
        raise UserError("nothing to draw: give --dataset NAME or --run FOLDER")
    if args.run is None and args.results is None and args.show not in (None, "both", "labels"):
        raise UserError("nothing to draw: give --run FOLDER or --results FILE")
    cfg = None
    if args.run is not None:
        cfg = load_run(args.run, trust=args.trust)
        require(cfg, "dataset.name", "dataset.test", "dataset.root", "train.device")
    name = register(args.dataset, cfg)
    results_file = args.results
    if results_file is None and cfg is not None and args.show != "labels":
        results_file = run_results(cfg, name)
    return render_results(name, results_file, args.output, **options)


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
    file = results_file(cfg, name)
    if file.is_file():
        return file
    cfg.train.device = choose_device(select(cfg, "train.device"), Processes())
    return predict_dataset(cfg, "", name)


if __name__ == "__main__":
    sys.exit(main())
