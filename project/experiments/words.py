"""What a comparison says in words: what differs, what can't be told from chance, how sure it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from project.experiments.compare import Comparison, Trend, is_loss
from project.experiments.groups import Group, mean_sd, unlike_keys
from project.experiments.paired import Difference, difference

import numpy as np


@dataclass(frozen=True)
class Sentence:
    """One finding; ``level`` is "warning" for what limits the findings, else "note"."""

    text: str
    level: str = "note"


def headline(found: Comparison) -> str:
    """What was compared, in one sentence."""
    runs = found.runs
    return (
        f"{number(len(runs), 'run')} of {number(len(found.groups), 'setting')}, "
        f"{_seed_range(found.groups)}, evaluated on {runs[0].data}; {found.metric} is compared."
    )


def number(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _seed_range(groups: Sequence[Group]) -> str:
    counts = [len(group.runs) for group in groups]
    low, high = min(counts), max(counts)
    return f"{number(high, 'seed')} each" if low == high else f"{low} to {high} seeds each"


def sentences(found: Comparison) -> list[Sentence]:
    """All that is to be said, the limits first."""
    said = [*_limits(found), *_best(found)]
    if found.baseline is not None:
        said += _against_baseline(found)
    for trend in found.trends:
        said += _power_laws(found, trend)
    return sorted(said, key=lambda sentence: sentence.level != "warning")


def _limits(found: Comparison) -> list[Sentence]:
    said = []
    if found.unfinished:
        names = ", ".join(folder.name for folder in found.unfinished[:8])
        more = ", …" if len(found.unfinished) > 8 else ""
        many = number(len(found.unfinished), "run")
        said.append(Sentence(f"{many} without results left out: {names}{more}.", "warning"))
    for group in found.groups:
        if keys := unlike_keys(group):
            more = ", …" if len(keys) > 4 else ""
            what = f"{', '.join(keys[:4])}{more}"
            text = f"The runs of {group.label} differ in {what}: not by seed only."
            said.append(Sentence(text, "warning"))
    alone = [group.label for group in found.groups if len(group.runs) < 2]
    if alone and len(found.groups) > 1:
        who = "Every setting" if len(alone) == len(found.groups) else ", ".join(alone[:8])
        text = f"{who} ran with one seed: its differences can't be told from chance."
        said.append(Sentence(text, "warning"))
    return said


def _best(found: Comparison) -> list[Sentence]:
    first, *others = found.ranked
    word = "Lowest" if is_loss(found.metric) else "Highest"
    said = [Sentence(f"{word} {found.metric}: {first.label}, {shown(first, found.metric)}.")]
    known = [group for group in others if np.isfinite(group.mean(found.metric))]
    if known and known[0] is not found.baseline and first is not found.baseline:
        lead = difference(first, known[0], found.metric)
        text = f"Next is {known[0].label}, {shown(known[0], found.metric)}"
        said.append(Sentence(f"{text}; {_lead(lead)}."))
    return said


def shown(group: Group, metric: str) -> str:
    """A setting's mean, with its standard deviation where there are several seeds."""
    values = group.numbers(metric)
    mean, spread = mean_sd(values)
    count = int(np.isfinite(values).sum())
    return f"{mean:.4g}" if count < 2 else f"{mean:.4g} (sd {spread:.2g}, {count} seeds)"


def _lead(lead: Difference) -> str:
    if lead.num_seeds < 2:
        return "they share too few seeds to tell the two apart"
    verdict = "" if lead.is_distinct else ": not distinguishable from chance"
    return f"the difference is {interval(lead)}{verdict}"


def interval(item: Difference) -> str:
    """A difference with its interval: "+1.2 (95 % +0.3 to +2.1, 5 seeds)"."""
    if item.num_seeds < 2:
        return f"{item.mean:+.2f} (one seed)" if item.num_seeds else "unknown (no common seed)"
    return f"{item.mean:+.2f} (95 % {item.low:+.2f} to {item.high:+.2f}, {item.num_seeds} seeds)"


def _against_baseline(found: Comparison) -> list[Sentence]:
    """A sentence for each other setting, and what so many intervals mean."""
    base, said = found.baseline.label, []
    for group in found.groups:
        own = [d for d in found.differences if d.setting == group.label]
        if own:
            said.append(Sentence(_setting_words(own, base)))
    tested = [d for d in found.differences if d.num_seeds >= 2]
    if tested:
        outside = sum(d.is_distinct for d in tested)
        chance = len(tested) * 0.05
        said.append(
            Sentence(
                f"{outside} of the {len(tested)} intervals {'leaves' if outside == 1 else 'leave'} "
                f"out zero; without any real difference about {chance:.2g} would."
            )
        )
    return said


def _setting_words(own: Sequence[Difference], base: str) -> str:
    total, *classes = own
    text = f"{total.setting} against {base}: {total.metric} {interval(total)}"
    if total.num_seeds < 2:
        return f"{text}."
    text += f", {_verdict(total)}."
    distinct = [d for d in classes if d.is_distinct]
    if distinct:
        parts = [f"{class_name(d.metric)} {d.mean:+.1f} ± {d.half_width:.1f}" for d in distinct]
        rest = "; no other class is distinguishable" * (len(distinct) < len(classes))
        return f"{text} By class: {', '.join(parts)}{rest}."
    return f"{text} No class is distinguishable." if classes else text


def _verdict(item: Difference) -> str:
    if not item.is_distinct:
        return "not distinguishable from chance"
    return "higher" if item.mean > 0 else "lower"


def class_name(metric: str) -> str:
    """The class of a per-class metric: cake of "segm/AP-cake"."""
    return metric.split("/", 1)[-1].removeprefix("AP-")


def _power_laws(found: Comparison, trend: Trend) -> list[Sentence]:
    said = []
    kind = found.metric if is_loss(found.metric) else f"100 - {found.metric}"
    for label, fit in trend.fits.items():
        who = f"{label}: " if label else ""
        if fit.b == 0:
            said.append(Sentence(f"{who}{kind} doesn't fall with more images."))
            continue
        more = ""
        largest = max(x for line in trend.series if line.label == label for x in line.x)
        if (band := fit.band(2 * largest)) is not None:
            expected = float(fit.at(2 * largest))
            low, high = (float(edge) for edge in band[:, 0])
            limit_low, limit_high = fit.interval("a")
            c_low, c_high = fit.interval("c")
            more = (
                f", 95 % {c_low:.2f} to {c_high:.2f}; with twice the {largest:g} images the curve "
                f"gives {expected:.3g} ({low:.3g} to {high:.3g}), with endlessly many {fit.a:.3g} "
                f"({limit_low:.3g} to {limit_high:.3g})"
            )
        else:
            more = "; three runs leave nothing to tell its uncertainty from"
        said.append(Sentence(f"{who}{kind} falls as images^-{fit.c:.2f}{more}."))
    if trend.problem:
        said.append(Sentence(f"No power law is fitted: {trend.problem}."))
    return said
