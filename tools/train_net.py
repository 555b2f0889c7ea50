#!/usr/bin/env python3
"""Train a LazyConfig run, evaluate it, draw its predictions.

    python tools/train_net.py                                  # the quickstart on built-in scenes
    python tools/train_net.py --config-file configs/mask_rcnn_R_50_FPN.py --num-gpus 4 \\
        train.max_iter=3000
    python tools/train_net.py --eval-only                      # the quickstart's newest checkpoint
    torchrun --nproc-per-node 4 tools/train_net.py --config-file ...

Everything after the flags is ``key=value`` and changes the config. A run that stopped goes on with
``--resume``. Ctrl-C and SIGTERM let it save first; the exit code is 75 then.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from project.engine.interrupt import EXIT_CODE, Interrupted
from project.engine.launch import speaks
from project.engine.run import start
from project.errors import exits_with_two

from detectron2.engine import default_argument_parser

QUICKSTART = Path(__file__).resolve().parents[1] / "configs/quickstart.py"


def build_parser():
    parser = default_argument_parser(epilog=__doc__.partition("\n")[2])
    parser.set_defaults(config_file=str(QUICKSTART), dist_url="auto")
    parser.add_argument(
        "--trust", action="store_true", help="build anything a .yaml config names: your own runs"
    )
    return parser


@exits_with_two
def main(argv: Sequence[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    try:
        output_dir = start(args)
    except Interrupted as message:
        print(message, file=sys.stderr)
        return EXIT_CODE
    if speaks():
        print(closing_line(output_dir, eval_only=args.eval_only))
    return 0


def closing_line(output_dir: Path, *, eval_only: bool) -> str:
    done = "Evaluated" if eval_only else "Trained"
    pictures = output_dir / "pictures" / "contact_sheet.png"
    return f"{done} {output_dir}" + (f"; pictures: {pictures}" if pictures.is_file() else "")


if __name__ == "__main__":
    sys.exit(main())
