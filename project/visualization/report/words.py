"""What a report says in words: the findings first, then the warnings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from project.evaluation.errors import TYPES
from project.evaluation.paired import Difference
from project.evaluation.uncertainty import MIN_IMAGES, NO_OBJECTS, TOO_FEW, Estimate
from project.visualization.report.error_charts import ERROR_NAMES
from project.visualization.report.judged import MASKS, PIXELS, Judged
from project.visualization.report.run_files import is_number
from project.visualization.report.shared import run_names
from project.visualization.report.training import leak

import numpy as np

Paired = Mapping[tuple[str, str, str], Difference]


@dataclass(frozen=True)
class Sentence:
    """One sentence of the page; ``level`` is "info" or "warning"."""

    text: str
    level: str = "info"


def between(found: Estimate) -> str:
    """A figure with its interval in words: "32.6 (95 % interval 30.0 to 35.8)"."""
    if np.isnan(found.value):
        return "not defined"
    if np.isnan(found.low):
        return f"{found.value:.1f} ({found.note})"
    return f"{found.value:.1f} (95 % interval {found.low:.1f} to {found.high:.1f})"


def headline(runs: Sequence[Judged], paired: Paired | None) -> str:
    """The one sentence that a reader takes away."""
    if paired is None:
        found = runs[0].estimates[MASKS, "AP", ""]
        return f"Mask AP {between(found)} on the {len(runs[0].quality):,} images of {_data(runs)}."
    return verdict(paired[MASKS, "AP", ""], "mask AP", run_names(runs))


def _data(runs: Sequence[Judged]) -> str:
    return runs[0].files.dataset


def verdict(found: Difference, what: str, names: Sequence[str]) -> str:
    """Whether two runs differ, how sure that is, and what would settle it."""
    if np.isnan(found.difference):
        return f"{what} isn't defined for both runs."
    if np.isnan(found.low):
        return (
            f"{names[1]} differs from {names[0]} by {found.difference:+.1f} points of {what}, but "
            f"{found.note}."
        )
    more = "more" if found.difference >= 0 else "less"
    text = (
        f"{names[1]} has {abs(found.difference):.1f} points {more} {what} than {names[0]} "
        f"(95 % interval {found.low:+.1f} to {found.high:+.1f}, {p_words(found.adjusted_p)})"
    )
    if found.low > 0 or found.high < 0:
        better = names[1] if found.difference > 0 else names[0]
        return f"{text}: {better} is better on such images."
    if found.images_needed is None:
        return f"{text}: no difference."
    return (
        f"{text}: these images can't tell them apart. If the difference is real, about "
        f"{rounded(found.images_needed):,} like them would show it."
    )


def p_words(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def rounded(number: int) -> int:
    """Two digits, upwards: more would claim what nobody knows."""
    step = 10 ** max(len(str(number)) - 2, 0)
    return -(-number // step) * step


def sentences(runs: Sequence[Judged], paired: Paired | None) -> list[Sentence]:
    """Warnings first."""
    warnings = [text for run in runs for text in (leak(run.files), stale(run)) if text]
    said = [Sentence(text, "warning") for text in warnings]
    said += _few_images(runs[0])
    if paired is not None:
        return said + _comparison(runs, paired)
    return said + _findings(runs[0])


def stale(run: Judged) -> str:
    """A warning if the run's own figures aren't those of its predictions, else ""."""
    results = run.files.recorded.get("results")
    recorded = results.get("segm") if isinstance(results, dict) else None
    recorded = recorded.get("AP") if isinstance(recorded, dict) else None
    found = run.metrics["segm"]["AP"]
    if not is_number(recorded) or not is_number(found) or abs(recorded - found) < 0.05:
        return ""
    return (
        f"results.json of {run.files.name} says mask AP {recorded:.1f}, but its predictions give "
        f"{found:.1f}: they aren't of one evaluation, or the labels have changed. Evaluate again."
    )


def not_shown(runs: Sequence[Judged]) -> list[str]:
    """What a page leaves out because a run's files don't tell it, one sentence each."""
    said = []
    for run in (run.files for run in runs):
        for there, what, file in (
            (run.metrics, "curves of training", "metrics.json"),
            (run.sampling, "sampling report", "results.json"),
            (run.environment, "machine and software", "log.txt"),
        ):
            if not there:
                why = "doesn't hold it" if (run.folder / file).is_file() else "doesn't exist"
                said.append(f"Not shown: {what} of {run.name}, for {file} {why}.")
    return said


def _few_images(run: Judged) -> list[Sentence]:
    rare = [
        f"{name} ({found.num_images})"
        for name in run.class_names
        if (found := run.estimates[MASKS, "AP", name]).note == TOO_FEW
    ]
    absent = [n for n in run.class_names if run.estimates[MASKS, "AP", n].note == NO_OBJECTS]
    said = []
    if rare:
        said.append(
            Sentence(
                f"Classes in fewer than {MIN_IMAGES} images have no interval; their figures are "
                f"chance: {_listed(rare)}.",
                "warning",
            )
        )
    if absent:
        said.append(Sentence(f"Nobody labelled any {_listed(absent)} on these images.", "warning"))
    return said


def _listed(names: Sequence[str], most: int = 12) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _findings(run: Judged) -> list[Sentence]:
    if not len(run.matches.score):
        return [Sentence("The run found nothing: its predictions are empty.", "warning")]
    said = [*_overlap(run), *_best_and_worst(run), *_worst_errors(run), *_scores(run)]
    return [Sentence(text) for text in said]


def _overlap(run: Judged) -> list[str]:
    found = run.estimates
    said = [
        f"Masks found cover their objects with IoU {between(found[MASKS, 'matched IoU', ''])}; "
        f"over all pixels, with missed and false ones, the classes' mean IoU is "
        f"{between(found[PIXELS, 'IoU', ''])}."
    ]
    recall, precision = (found[MASKS, key, ""].value for key in ("recall", "precision"))
    if np.isfinite(precision):
        said.append(
            f"From each class's best score on, {recall:.0f} % of the objects are found and "
            f"{precision:.0f} % of the detections are right, mean over the classes. These scores "
            f"were chosen on the same images, which flatters."
        )
    return said


def _best_and_worst(run: Judged) -> list[str]:
    rows = [run.estimates[MASKS, "AP", name] for name in run.class_names]
    rows = sorted((r for r in rows if np.isfinite(r.low)), key=lambda r: r.value)
    if len(rows) < 2:
        return []
    low, high = rows[0], rows[-1]
    apart = "" if low.high < high.low else ", though their intervals overlap"
    return [
        f"Best class: {high.class_name} with mask AP {high.value:.0f}; worst: "
        f"{low.class_name} with {low.value:.0f}{apart}."
    ]


def _worst_errors(run: Judged) -> list[str]:
    gains = {name: run.figures["errors"]["dap"][name] for name in TYPES}
    worst = sorted((n for n in TYPES if gains[n] >= 0.05), key=lambda name: -gains[name])[:2]
    told = " and ".join(f"{ERROR_NAMES[name]} ({gains[name]:.1f} points)" for name in worst)
    return [f"The errors that cost most AP50: {told}."] if worst else []


def _scores(run: Judged) -> list[str]:
    over = run.figures["calibration"]["all"]["overconfidence"]
    if np.isnan(over):
        return []
    if abs(over) < 2:
        return ["On average, scores are the chance that a detection is right, within 2 points."]
    side = "high" if over > 0 else "low"
    return [
        f"Scores are {abs(over):.0f} points too {side}, on average, to be the chance that a "
        f"detection is right."
    ]


def _comparison(runs: Sequence[Judged], paired: Paired) -> list[Sentence]:
    names = run_names(runs)
    said = [Sentence(verdict(paired[PIXELS, "IoU", ""], "pixel IoU", names))]
    rows = [paired[MASKS, "AP", name] for name in runs[0].class_names]
    sure = [row for row in rows if row.adjusted_p < 0.05]
    if sure:
        told = _listed([f"{row.class_name} ({row.difference:+.1f})" for row in sure])
        said.append(
            Sentence(f"Classes that differ in mask AP, with all of them looked at (Holm): {told}.")
        )
    else:
        said.append(
            Sentence("No class by itself differs in mask AP once all are looked at (Holm).")
        )
    said.append(
        Sentence(
            "The test is of these two trained models on images like these. Training again with "
            "another seed moves figures, too; tools/compare.py tells by how much."
        )
    )
    return said
