"""One measurement of `project.benchmarks.eval` in a process of its own.

python -m project.benchmarks.eval_tasks SYSTEM ANNOTATIONS RESULTS
"""

from __future__ import annotations

import contextlib
import io
import json
import resource
import sys
import time
import warnings
from collections.abc import Callable

import project


def by_ours(annotations: str, results: str) -> dict[str, float]:
    """All metrics, and the record of each detection."""
    from project.evaluation.evaluate import evaluate_and_match

    return evaluate_and_match(annotations, results, "segm")[0]


def by_hotcoco(annotations: str, results: str) -> dict[str, float]:
    """hotcoco's own evaluation, without records."""
    from hotcoco import COCO, COCOeval

    truth = COCO(annotations)
    return _twelve(COCOeval(truth, truth.load_res(results), "segm"))


def by_pycocotools(annotations: str, results: str) -> dict[str, float]:
    """pycocotools as it comes."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth = COCO(annotations)
    return _twelve(COCOeval(truth, truth.loadRes(_boxless(results)), "segm"))


def by_faster_coco_eval(annotations: str, results: str) -> dict[str, float]:
    """faster-coco-eval as it comes."""
    from faster_coco_eval import COCO, COCOeval_faster

    truth = COCO(annotations)
    return _twelve(COCOeval_faster(truth, truth.loadRes(_boxless(results)), "segm"))


def _boxless(results: str) -> list[dict]:
    """Results without boxes, as Detectron2 hands them over: areas are those of the masks."""
    with open(results, encoding="utf-8") as file:
        rows = json.load(file)
    for row in rows:
        del row["bbox"]
    return rows


def _twelve(evaluation) -> dict[str, float]:
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    names = ("AP", "AP50", "AP75", "APs", "APm", "APl")
    return dict(zip(names, (100 * float(v) for v in evaluation.stats), strict=False))


SYSTEMS: dict[str, Callable[[str, str], dict[str, float]]] = {
    "ours": by_ours,
    "hotcoco": by_hotcoco,
    "pycocotools": by_pycocotools,
    "faster-coco-eval": by_faster_coco_eval,
}


def measure(system: str, annotations: str, results: str) -> dict:
    """Seconds and peak memory from files to metrics, imports of the system included.

    ``cpu_seconds`` are those of all threads: what counts where other programs are running.
    """
    start = time.perf_counter(), time.process_time()
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        metrics = SYSTEMS[system](annotations, results)
    seconds = time.perf_counter() - start[0]
    cpu_seconds = time.process_time() - start[1]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    return {
        "version": project.__version__ if system == "ours" else _version(system),
        "seconds": round(seconds, 2),
        "cpu_seconds": round(cpu_seconds, 2),
        "peak_mb": round(peak),
        "metrics": {name: metrics[name] for name in ("AP", "AP50", "AP75")},
    }


def _version(package: str) -> str:
    from importlib.metadata import version

    return version(package)


if __name__ == "__main__":
    print(json.dumps(measure(*sys.argv[1:])))
