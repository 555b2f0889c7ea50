#!/usr/bin/env python3
"""Find objects in images, folders, videos or a camera's pictures with a trained run.

    python tools/predict.py photo.jpg holiday/ --run output/quickstart
    python tools/predict.py 'photos/**/*.jpg' --run RUN --threshold cake=0.3 person=0.7
    python tools/predict.py clip.mp4 --run RUN --save overlays masks cutouts --every 5
    python tools/predict.py --camera 0 --max-frames 300 --run RUN

Writes predictions.json (COCO results; images.json tells their images and categories) and overlays/;
with --save also masks/ (numbers of objects and of classes, as PNG) and cutouts/ (each object on
transparent ground). Ctrl-C keeps what was done.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from project.applications import Predictor
from project.applications.batch import POLICIES, Summary, predict_sources
from project.applications.inputs import find_sources
from project.applications.outputs import OUTPUTS
from project.applications.thresholds import parse_thresholds
from project.errors import exits_with_two
from project.visualization.render import count_words


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("inputs", nargs="*", help="images, folders, patterns, videos")
    parser.add_argument("--run", type=Path, required=True, help="run folder of the model")
    parser.add_argument(
        "--weights", default="newest", help="'newest' (default), 'best' or a checkpoint file"
    )
    parser.add_argument("--output", type=Path, default=Path("predictions"), help="folder")
    parser.add_argument("--save", nargs="+", choices=OUTPUTS, default=["coco", "overlays"])
    parser.add_argument(
        "--threshold",
        nargs="+",
        default=(),
        metavar="NUMBER | CLASS=NUMBER",
        help="lowest score that counts (default: the run's thresholds.json, else 0.5; semantic: 0)",
    )
    parser.add_argument("--color", choices=("class", "instance"), default="class")
    parser.add_argument("--camera", type=int, metavar="N", help="number of a camera, from 0")
    parser.add_argument("--every", type=int, default=1, help="of a video, every Nth frame (1)")
    parser.add_argument("--max-frames", type=int, help="stop after so many images")
    parser.add_argument("--batch-size", type=int, default=1, help="images at a time (1)")
    parser.add_argument("--device", help="cpu, cuda, cuda:1 (default: the run's, if it is here)")
    parser.add_argument("--on-broken-image", choices=POLICIES, default="skip")
    parser.add_argument(
        "--trust", action="store_true", help="build anything the run's config names"
    )
    return parser


@exits_with_two
def main(argv: Sequence[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    logging.basicConfig(format="%(message)s")
    sources = find_sources(args.inputs, args.camera)
    predictor = Predictor(
        args.run,
        weights=args.weights,
        thresholds=parse_thresholds(args.threshold),
        device=args.device,
        batch_size=args.batch_size,
        trust=args.trust,
    )
    summary = predict_sources(
        predictor,
        sources,
        args.output,
        save=args.save,
        by_instance=args.color == "instance",
        every=args.every,
        max_frames=args.max_frames,
        on_broken_image=args.on_broken_image,
    )
    print(closing_line(summary, args.output))
    return 0


def closing_line(summary: Summary, output: Path) -> str:
    objects, images = count_words(summary.objects), count_words(summary.frames, "image")
    skipped = f"; skipped {len(summary.skipped)} that can't be read" if summary.skipped else ""
    return f"Found {objects} in {images}, written to {output}{skipped}"


if __name__ == "__main__":
    sys.exit(main())
