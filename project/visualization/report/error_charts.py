"""Charts of what goes wrong: scores and thresholds, confusion, error types, slices, calibration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from project.evaluation.errors import SPECIAL, TYPES
from project.evaluation.uncertainty import Estimate
from project.visualization.charts import INK, MUTED, Chart, Words, draw
from project.visualization.labels import printable
from project.visualization.plots import bars, heat_table
from project.visualization.report.judged import Judged
from project.visualization.report.shared import (
    COLORS,
    DASHES,
    MAX_LINES,
    commonest,
    interval,
    left_out,
    legend,
    legend_height,
    line_color,
    named,
    run_names,
)

import numpy as np

ERROR_NAMES = {
    "cls": "wrong class",
    "loc": "poor mask",
    "both": "class and mask",
    "dupe": "duplicate",
    "bkg": "nothing there",
    "miss": "missed object",
    "fp": "all false ones",
    "fn": "all missed ones",
}
SLICE_TITLES = {
    "occlusion": "Occlusion",
    "crowding": "Crowding",
    "truncation": "Cut by the frame",
    "size": "Size",
    "frequency": "Frequency of the class",
}


def score_charts(runs: Sequence[Judged]) -> list[Chart]:
    """Precision against recall, and F1 against score, of each run."""
    charts = []
    for run, suffix, end in named(runs):
        found = run.figures["precision_recall"]
        shown = commonest(run, MAX_LINES)
        for slug, title, axis, key, xlabel, ylabel in (
            ("pr", "Precision against recall", "recalls", "precision_at_recall", "recall", ""),
            ("f1", "F1 against score", "scores", "f1", "least score", "F1"),
        ):
            series = {n: found["classes"][n][key] for n in (run.class_names[k] for k in shown)}
            best = {n: found["classes"][n]["best"] for n in series}
            points = {
                n: (b["recall"], b["precision"]) if slug == "pr" else (b["score"], b["f1"])
                for n, b in best.items()
            }
            told = ", ".join(
                f"{n}: {b['f1']:.0f} % from {b['score']:.2f} on"
                for n, b in best.items()
                if np.isfinite(b["score"])
            )
            words = Words(
                slug + end,
                title + suffix,
                f"Best F1: {told or 'none, for no detection is right'}",
                "Masks with IoU 50 % or more are right. Dots: where F1 is best."
                + left_out(run, len(shown)),
            )
            colors = [line_color(k) for k in shown]
            charts.append(
                _scored(words, found[axis], series, colors, points, xlabel, ylabel or "precision")
            )
    return charts


def _scored(words, x, series, colors, points, xlabel: str, ylabel: str) -> Chart:
    def plot(ax) -> None:
        for i, (name, y) in enumerate(series.items()):
            ax.plot(
                x, y, color=colors[i], linestyle=DASHES[i % 4], linewidth=1.6,
                label=printable(name, 20),
            )  # fmt: skip
            ax.plot(*points[name], "o", color=colors[i], markersize=5, markeredgecolor=INK)
        ax.set_xlim(0, max(x))
        ax.set_ylim(0, 103)
        ax.set_xlabel(f"{xlabel}, %" if max(x) > 1 else xlabel)
        ax.set_ylabel(f"{ylabel}, %")
        ax.grid()
        if series:
            legend(ax)

    return draw(words, 240 + legend_height(len(series)), plot)


def confusion_chart(run: Judged, suffix: str, end: str) -> Chart:
    """The confusion matrix; ``suffix`` and ``end`` are put after its title and name."""
    found = run.figures["confusion"]
    counts, share = np.array(found["counts"], float), np.array(found["percent_of_truth"], float)
    shown = sorted(commonest(run, 10)) + [len(counts) - 1]
    names = [*run.class_names, "nothing"]
    picked = counts[np.ix_(shown, shown)]
    shades = np.nan_to_num(share[np.ix_(shown, shown)]) / 100
    # The last row has no countable objects: shaded by its largest number.
    shades[-1] = 0.6 * picked[-1] / max(picked[-1].max(), 1)
    picked[-1, -1] = np.nan
    labels = [names[k] for k in shown]
    right = ", ".join(f"{names[k]} {share[k, k]:.0f} %" for k in shown[:-1])
    words = Words(
        "confusion" + end,
        "What each object was taken for" + suffix,
        f"Taken for what they are: {right}",
        "Rows: labelled objects; columns: predictions from the best threshold of their class on,"
        " at IoU 50 % or more. Last column: missed; last row: predictions where nothing is."
        + left_out(run, len(shown) - 1),
    )
    return heat_table(words, labels, labels, picked, shades=shades, xlabel="taken for")


def error_charts(runs: Sequence[Judged]) -> list[Chart]:
    """What each type of error costs, and how many there are."""
    labels = [ERROR_NAMES[name] for name in TYPES]
    found = [run.figures["errors"] for run in runs]
    names = [printable(name, 40) for name in run_names(runs)]
    gained = {n: [e["dap"][t] for t in TYPES] for n, e in zip(names, found, strict=True)}
    counts = {n: [e["counts"][t] for t in TYPES] for n, e in zip(names, found, strict=True)}
    worst = TYPES[int(np.nanargmax(next(iter(gained.values()))))]
    both = {ERROR_NAMES[t]: found[0]["dap"][t] for t in SPECIAL}
    told = ", ".join(f"{n} {_gain(v)}" for n, v in both.items())
    return [
        bars(
            Words(
                "tide",
                "AP50 lost to each type of error",
                f"Most is lost to {ERROR_NAMES[worst]}; together: {told}",
                "What AP50 gains when an oracle repairs one type alone (TIDE); the gains don't add"
                f" up. Without false detections: {_gain(found[0]['dap']['fp'])}; without misses:"
                f" {_gain(found[0]['dap']['fn'])}" + (f" ({names[0]})." if len(runs) > 1 else "."),
            ),
            labels, gained, COLORS[: len(runs)], unit="points of AP50", form="{:.1f}",
        ),
        bars(
            Words(
                "tide-counts",
                "How many errors of each type",
                ", ".join(f"{n} {v}" for n, v in zip(labels, counts[names[0]], strict=True)),
                "Detections of any score, so most are unsure ones; missed counts objects.",
            ),
            labels, counts, COLORS[: len(runs)],
        ),
    ]  # fmt: skip


def slice_charts(runs: Sequence[Judged]) -> list[Chart]:
    """AP of hard and easy objects; of one run also how many are found."""
    charts = []
    for question, title in SLICE_TITLES.items():
        slices = [run.slices[question] for run in runs]
        labels = list(slices[0])
        if not labels:
            continue
        if len(runs) == 1:
            series = {
                "AP": [slices[0][name]["AP"] for name in labels],
                "objects found": [slices[0][name]["recall"] for name in labels],
            }
        else:
            names = [printable(name, 40) for name in run_names(runs)]
            series = {
                n: [found[name]["AP"] for name in labels]
                for n, found in zip(names, slices, strict=True)
            }
        objects = runs[0].figures["slices"][question]
        counts = ", ".join(f"{objects[name]['objects']:,}" for name in labels)
        words = Words(
            f"slice-{question}",
            title if len(runs) == 1 else f"{title}: AP",
            ", ".join(f"{n} AP {slices[0][n]['AP']}" for n in labels),
            f"Objects: {counts}. Lines: 95 % intervals.",
        )
        shown = [name.replace(" (", "\n(") for name in labels]
        charts.append(_slice_bars(words, shown, series))
    return charts


def _gain(value: float) -> str:
    return "–" if np.isnan(value) else f"+{value:.1f}"


def _slice_bars(words: Words, labels: Sequence[str], series: Mapping[str, Sequence[Estimate]]):
    def plot(ax) -> None:
        rows, step = np.arange(len(labels)), 0.8 / len(series)
        for s, (name, found) in enumerate(series.items()):
            places = rows + (s - (len(series) - 1) / 2) * step
            values = [e.value for e in found]
            ax.barh(places, values, 0.9 * step, color=COLORS[s], alpha=0.75, label=name)
            for y, estimate in zip(places, found, strict=True):
                interval(ax, y, estimate)
        ax.set_yticks(rows, labels)
        ax.tick_params(axis="y", length=0, labelcolor=INK)
        ax.set_ylim(len(labels) - 0.5, -0.5)
        ax.set_xlim(0, 118)
        ax.set_xticks(range(0, 101, 20))
        ax.set_xlabel("%")
        ax.grid(axis="x")
        legend(ax)

    return draw(words, 100 + 40 * len(labels), plot)


def _points(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.1f} points"


def calibration_charts(runs: Sequence[Judged]) -> list[Chart]:
    """Whether scores are probabilities, and how many detections have which."""
    names = [printable(name, 40) for name in run_names(runs)]
    found = [run.figures["calibration"] for run in runs]
    errors = [_points(entry["all"]["expected_error"]) for entry in found]
    if len(runs) > 1:
        errors = [f"{name} {error}" for name, error in zip(names, errors, strict=True)]
    told = f"Mean distance from it over the detections (ECE): {', '.join(errors)}."

    def reliability(ax) -> None:
        ax.plot([0, 100], [0, 100], color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
        for name, entry, color in zip(names, found, COLORS, strict=False):
            counts = np.array(entry["all"]["counts"])
            sizes = 8 + 90 * np.sqrt(counts / max(counts.max(), 1))
            place = entry["all"]["confidence"], entry["all"]["precision"]
            ax.plot(*place, color=color, linewidth=1.6, label=name)
            ax.scatter(*place, sizes, color=color, alpha=0.6, lw=0)
        ax.set_xlim(0, 101)
        ax.set_ylim(0, 103)
        ax.set_xlabel("score, %")
        ax.set_ylabel("right, %")
        ax.grid()
        if len(runs) > 1:
            legend(ax)

    edges = np.array(found[0]["edges"])

    def counts(ax) -> None:
        width = 0.9 * np.diff(edges)[0] / len(runs)
        for i, (name, entry, color) in enumerate(zip(names, found, COLORS, strict=False)):
            places = edges[:-1] + 0.05 * np.diff(edges)[0] + i * width
            ax.bar(places, entry["all"]["counts"], width, align="edge", color=color, label=name)
        ax.set_xlim(0, 100)
        ax.set_xlabel("score, %")
        ax.set_ylabel("detections")
        ax.grid(axis="y")
        if len(runs) > 1:
            legend(ax)

    extra = legend_height(len(runs))
    return [
        draw(
            Words(
                "reliability",
                "Is a score of 80 % right 8 times of 10?",
                told,
                "On the dashed line it would be; below it scores promise too much. "
                f"{told} Larger dots: more detections. Right: IoU 50 % or more.",
            ),
            250 + extra,
            reliability,
        ),
        draw(
            Words("score-counts", "How many detections have which score", told),
            230 + extra,
            counts,
        ),
    ]
