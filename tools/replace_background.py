#!/usr/bin/env python3
"""Put the people of images and videos before another background with a trained run.

    python tools/replace_background.py me.jpg --run RUN --background beach.jpg
    python tools/replace_background.py party/ --run RUN --blur --objects largest
    python tools/replace_background.py clip.mp4 --run RUN --color '#00b140' --every 2
    python tools/replace_background.py 'dogs/*.jpg' --run RUN --transparent --class dog

Writes <image>.png and <video>.mp4 of the same sizes; with --transparent <video>/000000.png, ...
instead of a video. Any model with masks does: edges are found anew from the image, and freed of the
old background's colours. Ctrl-C keeps what was done.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from project.applications import Predictor
from project.applications.background.backdrops import (
    FITS,
    BlurBackdrop,
    ColorBackdrop,
    ImageBackdrop,
    parse_color,
)
from project.applications.background.compose import DECONTAMINATIONS
from project.applications.background.replace import Look, Replaced, replace_background
from project.applications.batch import POLICIES
from project.applications.choice import parse_choice
from project.applications.inputs import find_sources
from project.applications.thresholds import parse_thresholds
from project.errors import UserError, exits_with_two
from project.modeling.postprocess.matting import METHODS
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
    parser.add_argument("--output", type=Path, default=Path("replaced"), help="folder")
    _add_backdrops(parser)
    _add_look(parser)
    parser.add_argument("--class", dest="class_name", default="person", help="(person)")
    parser.add_argument(
        "--objects",
        nargs="+",
        default=["all"],
        metavar="all | largest | surest N ... | left N ... | at X Y",
        help="which of them (all): numbers from 1, by score or from left to right",
    )
    parser.add_argument(
        "--threshold",
        nargs="+",
        default=(),
        metavar="NUMBER | CLASS=NUMBER",
        help="lowest score that counts (default: the run's thresholds.json, else 0.5; semantic: 0)",
    )
    parser.add_argument("--camera", type=int, metavar="N", help="number of a camera, from 0")
    parser.add_argument("--every", type=int, default=1, help="of a video, every Nth frame (1)")
    parser.add_argument("--max-frames", type=int, help="stop after so many images")
    parser.add_argument("--batch-size", type=int, default=1, help="images at a time (1)")
    parser.add_argument("--device", help="cpu, cuda, cuda:1 (default: the run's, if it is here)")
    parser.add_argument("--on-broken-image", choices=POLICIES, default="skip")
    parser.add_argument(
        "--on-nobody", choices=POLICIES, default="skip", help="an image without such an object"
    )
    parser.add_argument(
        "--trust", action="store_true", help="build anything the run's config names"
    )
    return parser


def _add_backdrops(parser: argparse.ArgumentParser) -> None:
    backdrops = parser.add_mutually_exclusive_group(required=True)
    backdrops.add_argument("--background", type=Path, metavar="IMAGE", help="a picture")
    backdrops.add_argument("--color", help="a colour: '#00b140', '0,177,64', 'white'")
    backdrops.add_argument(
        "--blur",
        type=float,
        nargs="?",
        const=2.0,
        metavar="PERCENT",
        help="the image's own background, blurred: percent of its diagonal (2)",
    )
    backdrops.add_argument(
        "--transparent",
        action="store_true",
        help="none: PNG with alpha (of a video, for each frame)",
    )
    parser.add_argument("--fit", choices=FITS, help="of the picture (cover)")
    parser.add_argument("--border", metavar="COLOR", help="around a contained picture (black)")


def _add_look(parser: argparse.ArgumentParser) -> None:
    usual = Look()
    parser.add_argument(
        "--refine", choices=METHODS, default=usual.refine, help=f"edges ({usual.refine})"
    )
    parser.add_argument(
        "--band", type=int, help="pixels around an edge that may be wrong (1.2 %% of the diagonal)"
    )
    parser.add_argument(
        "--decontaminate",
        choices=DECONTAMINATIONS,
        default=usual.decontaminate,
        help=f"colours of edges ({usual.decontaminate})",
    )
    parser.add_argument(
        "--harmonise", type=float, default=0.0, metavar="0-1", help="take the new light (0: off)"
    )
    parser.add_argument(
        "--smoothing",
        type=float,
        default=usual.smoothing,
        metavar="0-1",
        help=f"of a video's edges over time ({usual.smoothing:g}; 0: off)",
    )


@exits_with_two
def main(argv: Sequence[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    logging.basicConfig(format="%(message)s")
    choice, backdrop, look = parse_choice(args.objects), _backdrop(args), _look(args)
    sources = find_sources(args.inputs, args.camera)
    predictor = Predictor(
        args.run,
        weights=args.weights,
        thresholds=parse_thresholds(args.threshold),
        device=args.device,
        batch_size=args.batch_size,
        trust=args.trust,
    )
    done = replace_background(
        predictor,
        sources,
        args.output,
        backdrop,
        class_name=args.class_name,
        choice=choice,
        look=look,
        every=args.every,
        max_frames=args.max_frames,
        on_broken_image=args.on_broken_image,
        on_nobody=args.on_nobody,
    )
    print(closing_line(done, args.output, args.class_name))
    return 0


def _backdrop(args: argparse.Namespace):
    if args.fit and not args.background:
        raise UserError("--fit is for --background IMAGE")
    if args.border is not None and args.fit != "contain":
        raise UserError("--border is for --background IMAGE --fit contain")
    if args.background:
        border = parse_color("black" if args.border is None else args.border)
        return ImageBackdrop(args.background, args.fit or "cover", border)
    if args.color is not None:
        return ColorBackdrop(parse_color(args.color))
    return BlurBackdrop(args.blur) if args.blur is not None else None


def _look(args: argparse.Namespace) -> Look:
    return Look(args.refine, args.band, args.decontaminate, args.harmonise, args.smoothing)


def closing_line(done: Replaced, output: Path, class_name: str) -> str:
    line = f"Replaced the background of {count_words(done.frames, 'image')}, written to {output}"
    if done.empty_frames:
        line += f"; {done.empty_frames} of them without a {class_name}"
    if done.without:
        line += f"; skipped {len(done.without)} without the {class_name} asked for"
    if done.skipped:
        line += f"; skipped {len(done.skipped)} that can't be read"
    return line


if __name__ == "__main__":
    sys.exit(main())
