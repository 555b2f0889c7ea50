#!/usr/bin/env python3
"""Submit a training run to SLURM; it saves and comes back when its time is over.

    python tools/launch_slurm.py --partition gpu --gpus-per-node 4 --time 12:00:00 \\
        --config-file configs/mask_rcnn_R_50_FPN.py train.output_dir=/shared/runs/r50
    python tools/launch_slurm.py --dry-run --nodes 2 --gpus-per-node 8 --config-file ...
    python tools/launch_slurm.py --cluster local --gpus-per-node 0     # a job on this machine

All other flags, and ``key=value``, are those of tools/train_net.py. The job's files and logs are in
the run folder, below ``slurm``. Needs the package submitit.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from project.engine.slurm import Request, Training, check_arguments, describe, submit, wait
from project.errors import UserError, exits_with_two

HERE = Path(__file__).resolve().parent
TRAIN_TOOL = HERE / "train_net.py"
QUICKSTART = HERE.parent / "configs/quickstart.py"


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )
    add = parser.add_argument
    add("--cluster", choices=("slurm", "local", "debug"), default="slurm", help="where (slurm)")
    add("--dry-run", action="store_true", default=False, help="show the job, submit nothing")
    add("--resume", action="store_true", default=False, help="go on in a used run folder")
    add("--nodes", type=int, help="machines (1)")
    add("--gpus-per-node", type=int, help="GPUs of each; 0: one process on the CPU (1)")
    add("--cpus-per-gpu", type=int, help="CPU cores for each GPU (8)")
    add("--time", help="minutes or D-HH:MM:SS until it is requeued (24:00:00)")
    add("--memory", help="of each node, e.g. 64GB")
    for name in ("partition", "account", "qos", "constraint"):
        add(f"--{name}", help="as sbatch's")
    add("--name", help="of the job (train)")
    add("--signal-delay", type=int, help="seconds before the limit at which it saves (180)")
    add("--requeues", type=int, help="at most so often; 0: never (10)")
    add("--setup", action="append", help="a shell line before the run; may be repeated")
    add("--sbatch", action="append", default=[], metavar="KEY=VALUE", help="any other parameter")
    return parser


@exits_with_two
def main(argv: Sequence[str] | None = None) -> int:
    args, arguments = build_parser().parse_known_args(argv)
    request = build_request(args)
    request.check()
    check_arguments(arguments)
    run_folder = find_run_folder(arguments)
    folder = run_folder / "slurm"
    training = Training(TRAIN_TOOL, arguments, request)
    if args.dry_run:
        print(describe(training, folder))
        return 0
    check_folder(run_folder, arguments, resume=args.resume)
    job = submit(training, folder, args.cluster)
    print(f"Submitted job {job.job_id}; its log: {job.paths.stdout}", flush=True)
    if args.cluster != "slurm":
        wait(job)
        print(f"Job {job.job_id} is done: {run_folder}")
    return 0


def build_request(args: argparse.Namespace) -> Request:
    fields = {k: v for k, v in vars(args).items() if k in Request.__dataclass_fields__}
    fields["extra"] = dict(split_parameter(text) for text in args.sbatch)
    fields["setup"] = tuple(fields.get("setup", ()))
    return Request(**fields)


def split_parameter(text: str) -> tuple[str, str]:
    key, equals, value = text.lstrip("-").partition("=")
    if not (key and equals):
        raise UserError(f"--sbatch {text}: expected KEY=VALUE")
    return key, value


def find_run_folder(arguments: Sequence[str]) -> Path:
    """The run folder that the training tool's flags lead to."""
    # Imported here: the mistakes above are told without waiting for torch.
    from project.engine.checks import check_kinds
    from project.engine.config import load_config, require, select

    from detectron2.engine import default_argument_parser

    parser = default_argument_parser()
    parser.set_defaults(config_file=str(QUICKSTART))
    parser.add_argument("--trust", action="store_true")
    args = parser.parse_args(arguments)
    cfg = load_config(args.config_file, args.opts, trust=args.trust)
    require(cfg, "train.output_dir")
    check_kinds(cfg)
    return Path(select(cfg, "train.output_dir")).resolve()


def check_folder(run_folder: Path, arguments: Sequence[str], *, resume: bool) -> None:
    """Refuse a used run folder here, rather than in the job hours later."""
    from project.engine.checks import check_run_folder

    check_run_folder(run_folder, resume=resume or "--eval-only" in arguments)


if __name__ == "__main__":
    sys.exit(main())
