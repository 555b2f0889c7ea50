"""Run folders made by hand, and a training tool that takes no time."""

import json
import textwrap
from pathlib import Path

import pytest

CLASSES = ("cake", "dog")


@pytest.fixture
def make_run():
    """``make_run(folder, seed=0, ap=20.0, ...)`` → the folder of a finished run."""

    def make(
        folder: Path,
        *,
        seed: int = 0,
        ap: float = 20.0,
        lr: float = 0.01,
        size: int = 100,
        subset: str = "scenes",
        classes=CLASSES,
        curve=((4, 5.0), (9, 10.0)),
        finished: bool = True,
    ) -> Path:
        folder.mkdir(parents=True)
        (folder / "config.yaml").write_text(
            f"dataset: {{name: {subset}, train: train, test: val, num_images: {size}}}\n"
            f"optimizer: {{_target_: project.engine.optimizer.sgd, lr: {lr}}}\n"
            f"train: {{output_dir: {folder}, seed: {seed}, log_period: 1}}\n"
        )
        rows = [{"iteration": i, "total_loss": 2.0 - i / 10, "time": 0.5} for i in range(10)]
        for iteration, value in curve:
            rows[iteration]["segm/AP"] = value
        (folder / "metrics.json").write_text("".join(json.dumps(r) + "\n" for r in rows))
        if finished:
            segm = {"AP": ap, **{f"AP-{c}": ap + 10 * k for k, c in enumerate(classes)}}
            content = {"iterations": 10, "results": {"segm": segm}}
            (folder / "results.json").write_text(json.dumps(content))
        return folder

    return make


@pytest.fixture
def tool(tmp_path) -> Path:
    """A stand-in for ``tools/train_net.py``: the same arguments, files and exit codes.

    AP is 100 times ``optimizer.lr``, less ``handicap``. ``fail=...`` ends with that line,
    unless the file ``mended`` is beside it; ``wait=N`` stays until SIGTERM where AP is below N,
    unless the run is a resumed one.
    """
    file = tmp_path / "tool" / "train.py"
    file.parent.mkdir()
    file.write_text(
        textwrap.dedent(
            """
            import json, os, signal, sys, time
            from pathlib import Path
            given = dict(a.split("=", 1) for a in sys.argv[1:] if "=" in a)
            if "fail" in given and not Path(__file__).with_name("mended").exists():
                print("loading")
                sys.exit("error: " + given["fail"])
            folder = Path(given["train.output_dir"])
            resumed = "--resume" in sys.argv
            folder.mkdir(parents=True, exist_ok=resumed)
            (folder / "config.yaml").write_text("train: {seed: 0}")
            ap = 100 * float(given.get("optimizer.lr", 0)) - float(given.get("handicap", 0))
            row = json.dumps({"iteration": 9, "segm/AP": ap})
            (folder / "metrics.json").write_text(row + "\\n")
            if given.get("wait") and not resumed and ap < float(given["wait"]):
                signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
                (folder / "ready").touch()
                time.sleep(60)
            (folder / "threads").write_text(os.environ["OMP_NUM_THREADS"])
            results = {"iterations": 10, "results": {"segm": {"AP": ap}}}
            (folder / "results.json").write_text(json.dumps(results))
            """
        )
    )
    return file
