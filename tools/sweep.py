#!/usr/bin/env python3
"""Many runs from one description: named settings, grids over config keys, or a search.

    python tools/sweep.py configs/experiments/imbalance.py --jobs 2
    python tools/sweep.py --config-file configs/quickstart.py \\
        --vary optimizer.lr=0.001,0.002 --vary train.epochs=5,10 --seeds 0,1,2
    python tools/sweep.py ... --dry-run                # the commands, nothing else

One run folder each, `runs.csv` for all of them; on GPUs one process each, else `--jobs` processes
on the CPU. The same command goes on with a sweep that stopped: finished runs stay, begun ones are
resumed, failed ones tried once more. `tools/compare.py FOLDER` makes the page. Everything
``key=value`` changes the config of all runs.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from project.engine.interrupt import EXIT_CODE
from project.errors import UserError, exits_with_two
from project.experiments.plan import Sweep, load_sweep, parse_vary
from project.experiments.store import FAILED, SweepStore
from project.experiments.sweep import check_keys, dry_run, run_sweep, summary

TRAIN = Path(__file__).resolve().parent / "train_net.py"


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config-file", type=Path, help="base, where no sweep file is given")
    parser.add_argument("--vary", action="append", default=[], metavar="KEY=V,V", help="a grid key")
    parser.add_argument("--seeds", metavar="N,N", help="seeds of each combination")
    parser.add_argument("--output", type=Path, help="folder (output/sweeps/NAME)")
    parser.add_argument("--jobs", type=int, help="processes on the CPU; without it, one a GPU")
    parser.add_argument("--dry-run", action="store_true", help="print the commands")
    parser.add_argument("words", nargs="*", metavar="SWEEP.py | key=value")
    return parser


@exits_with_two
def main(argv: Sequence[str] | None = None) -> int:
    args = build_parser().parse_intermixed_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    sweep, folder, name = describe(args)
    check_keys(sweep, folder)
    output = args.output or Path(sweep.output or f"output/sweeps/{name}")
    if args.dry_run:
        print("\n".join(dry_run(sweep, folder, output, TRAIN)))
        return 0
    try:
        store = run_sweep(sweep, folder, output, TRAIN, jobs=args.jobs)
    except KeyboardInterrupt:
        print(f"stopped {output}; the same command goes on with it", file=sys.stderr)
        return EXIT_CODE
    print(f"{closing_line(sweep, store)}; python tools/compare.py {output}")
    return 1 if any(r.state == FAILED for r in store.records.values()) else 0


def closing_line(sweep: Sweep, store: SweepStore) -> str:
    line = f"{store.folder}: {summary(store)}"
    if sweep.study is not None:
        from project.experiments.study import best_line

        line += f"; {best_line(sweep, store)}"
    return line


def describe(args: argparse.Namespace) -> tuple[Sweep, Path, str]:
    """The sweep, the folder that its paths are relative to, and its name."""
    files = [word for word in args.words if "=" not in word]
    overrides = [word for word in args.words if "=" in word]
    if len(files) + (args.config_file is not None) != 1:
        raise UserError("give one sweep file, or --config-file with --vary")
    if files:
        sweep, folder, name = load_sweep(files[0]), Path(files[0]).parent, Path(files[0]).stem
    else:
        folder, name = args.config_file.parent, args.config_file.stem
        sweep = Sweep(base=args.config_file.name)
    if args.vary:
        if files:
            raise UserError("--vary goes with --config-file; a sweep file has its own grid")
        grid = dict(parse_vary(text) for text in args.vary)
        if len(grid) < len(args.vary):
            raise UserError("--vary: each key once, all its values behind it")
        sweep = replace(sweep, grid=grid)
    if args.seeds is not None:
        sweep = replace(sweep, seeds=parse_seeds(args.seeds))
    return replace(sweep, overrides=[*sweep.overrides, *overrides]), folder, name


def parse_seeds(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise UserError(f"--seeds {text!r}: expected whole numbers like 0,1,2") from None


if __name__ == "__main__":
    sys.exit(main())
