"""What a comparison of models says in words: who is best, how sure that is, what to use when."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from project.evaluation.paired import Difference
from project.evaluation.uncertainty import Estimate
from project.experiments.models.compare import (
    JudgedModel,
    ModelComparison,
    difference,
    seed_noise,
)
from project.experiments.models.cost import Cost, Costs
from project.experiments.models.counts import BOUNDARY, IMAGE_DICE, IOU
from project.experiments.models.runs import INSTANCES
from project.experiments.words import Sentence, number

import numpy as np

SLOWER = 1.1  # times as slow, from which on a difference in time is told


def headline(found: ModelComparison) -> str:
    """What was compared, in one sentence."""
    images = number(len(found.footing.image_names), "common image")
    return (
        f"{number(len(found.models), 'model')}, judged pixel by pixel on the {images} of "
        f"{' and '.join(found.image_numbers)}: {listed(found.class_names)}."
    )


def listed(names: Sequence[str], most: int = 8) -> str:
    """ "a, b and c", cut after ``most``."""
    names = [*names[:most], *([f"{len(names) - most} more"] if len(names) > most else [])]
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1]))) if names else ""


def sentences(found: ModelComparison, costs: Costs | None) -> list[Sentence]:
    """The findings, then what to use when, then what limits them."""
    notes = [*_ranking(found), *_outlines(found), *_classes(found)]
    if costs is not None and costs.models:
        notes += [*_costs(found, costs), *_advice(found, costs)]
    return [*map(Sentence, [*notes, *_kinds(found)]), *_limits(found, costs)]


# -- who is best ----------------------------------------------------------------------------------


def _ranking(found: ModelComparison) -> list[str]:
    first, second, *_ = found.ranked
    best = first.estimates[IOU, ""]
    if math.isnan(best.value):
        return ["IoU isn't defined: the common images hold no pixel of a common class."]
    image = first.estimates[IMAGE_DICE, ""]
    said = [
        f"{first.label} finds {_what(found)} best: IoU {interval(best)}{_seeds(first, IOU)}, "
        f"Dice of an image {interval(image)} on average."
    ]
    lead = difference(second, first)[IOU, ""]
    said.append(
        f"Next is {second.label}, IoU {interval(second.estimates[IOU, ''])}"
        f"{_seeds(second, IOU)}: {_points(lead, -1)}. {_verdict(lead, second, first)}"
    )
    for model in found.models:
        if model is not found.baseline and {model, found.baseline} != {first, second}:
            own = found.differences[model.label, IOU, ""]
            text = f"{model.label} against {found.baseline.label}: {_points(own)}."
            said.append(f"{text} {_verdict(own, found.baseline, model)}")
    return [text.strip() for text in said]


def _what(found: ModelComparison) -> str:
    if len(found.class_names) == 1:
        return f"{found.class_names[0]} pixels"
    return f"the pixels of the {len(found.class_names)} classes"


def interval(item: Estimate) -> str:
    """ "86.1 [84.9, 87.2]" """
    return str(item)


def _seeds(model: JudgedModel, metric: str) -> str:
    if len(model.counts) < 2:
        return ""
    return f" (mean of {len(model.counts)} seeds, sd {model.sd(metric):.1f})"


def _points(item: Difference, sign: int = 1) -> str:
    """ "2.1 points lower [-3.0, -1.2], p = 0.004" """
    gap, ends = sign * item.difference, sorted((sign * item.low, sign * item.high))
    if math.isnan(gap):
        return "not defined for both"
    text = f"{abs(gap):.1f} points {'higher' if gap > 0 else 'lower'}"
    if math.isnan(item.low):
        return f"{text} ({item.note})"
    return f"{text} [{ends[0]:+.1f}, {ends[1]:+.1f}], {p_words(item.p_value)}"


def p_words(p: float) -> str:
    """ "p < 0.005" where the resamples tell no more, else "p = 0.04"."""
    return "p < 0.005" if p < 0.005 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def is_distinct(item: Difference) -> bool:
    """Whether the interval over images leaves out zero."""
    return item.low > 0 or item.high < 0


def _verdict(item: Difference, first: JudgedModel, second: JudgedModel) -> str:
    """What a difference in IoU is worth, where p alone doesn't tell."""
    if math.isnan(item.low):
        return "That is too little to tell them apart."
    if not is_distinct(item):
        return "These images can't tell the two apart."
    if abs(item.difference) < seed_noise(first, second, IOU):
        return "On these images that is sure, but other seeds could turn it round."
    if _overlap(first.estimates[IOU, ""], second.estimates[IOU, ""]):
        return (
            "Their intervals overlap, but what makes an image hard is the same for both: held "
            "against each other image by image, they differ."
        )
    return ""


def _overlap(a: Estimate, b: Estimate) -> bool:
    return max(a.low, b.low) <= min(a.high, b.high)


def _outlines(found: ModelComparison) -> list[str]:
    """Who follows the outlines best, where that isn't who has the best IoU."""
    best = found.ranked[0]
    values = [model.estimates[BOUNDARY, ""].value for model in found.models]
    if np.isnan(values).all():
        return []
    sharpest = found.models[int(np.nanargmax(values))]
    figure = interval(sharpest.estimates[BOUNDARY, ""])
    if sharpest is best:
        return [f"{best.label} follows the outlines best, too: boundary IoU {figure}."]
    lead = difference(best, sharpest)[BOUNDARY, ""]
    sure = "" if is_distinct(lead) else "; these images can't tell the two apart there"
    return [
        f"{sharpest.label} follows the outlines best: boundary IoU {figure}, "
        f"{_points(lead)} against {best.label}{sure}."
    ]


def _classes(found: ModelComparison) -> list[str]:
    """The classes in which another model than the best one is ahead."""
    if len(found.class_names) == 1:
        return []
    best, said = found.ranked[0], []
    for model in found.ranked[1:]:
        lead = difference(best, model)
        ahead = [(name, lead[IOU, name]) for name in found.class_names]
        sure = [name for name, item in ahead if item.low > 0 and item.adjusted_p < 0.05]
        if sure:
            said.append(f"For {listed(sure)}, {model.label} has a higher IoU than {best.label}.")
    return said or [f"For no class another model is surely ahead of {best.label}."]


# -- what they cost -------------------------------------------------------------------------------


def _costs(found: ModelComparison, costs: Costs) -> list[str]:
    known = sorted(costs.models, key=lambda label: costs.models[label].median)
    parts = [f"{label} {_cost_words(costs.models[label])}" for label in known]
    said = [f"An image takes on {costs.device}: {listed(parts)}."]
    if len(known) > 1:
        fast, slow = costs.models[known[0]].median, costs.models[known[-1]].median
        if slow > SLOWER * fast:
            said.append(f"{known[0]} is {slow / fast:.1f} times as fast as {known[-1]}.")
        else:
            said.append("They are equally fast, to within a tenth.")
    return said


def _cost_words(cost: Cost) -> str:
    return (
        f"{three_digits(cost.median)} ms ({count_words(cost.parameters)} parameters, "
        f"{three_digits(cost.flops / 1e9)} GFLOPs)"
    )


def three_digits(value: float) -> str:
    """A number to three digits, from a thousand on as a whole one: 0.775, 36.3, 1,465."""
    return f"{value:.3g}" if value < 999.5 else f"{value:,.0f}"


def count_words(count: float) -> str:
    """A count with its magnitude: 44.0 M, 1.13 M, 830 k."""
    for unit, name in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if count >= 0.9995 * unit:  # 999,999 is 1 M, not 1e+03 k
            return f"{count / unit:.3g}{name}"
    return f"{count:.0f}"


def _advice(found: ModelComparison, costs: Costs) -> list[str]:
    """What to use when: the models that no other one beats in IoU and time at once."""
    known = [model for model in found.ranked if model.label in costs.models]
    if len(known) < 2:
        return []
    front = [known[0]]
    for model in known[1:]:
        if SLOWER * _time(costs, model) < _time(costs, front[-1]):
            front.append(model)
    if len(front) == 1:
        return [
            f"Which to use: {front[0].label}, for none of the others is faster by more than a "
            f"tenth."
        ]
    said = [f"Which to use: {front[0].label} where masks matter most"]
    for better, model in pairwise(front):
        lead = difference(better, model)[IOU, ""]
        price = f"costs {abs(lead.difference):.1f} points of IoU against {better.label}"
        if not is_distinct(lead):
            price = f"costs nothing that these images show against {better.label}"
        times = _time(costs, better) / _time(costs, model)
        said.append(f"{model.label} where time does: {times:.1f} times as fast, which {price}")
    rest = [model.label for model in known if model not in front]
    others = f" {listed(rest)}: another one is at least as good and as fast." if rest else ""
    return [f"{'; '.join(said)}.{others}"]


def _time(costs: Costs, model: JudgedModel) -> float:
    return costs.models[model.label].median


def _kinds(found: ModelComparison) -> list[str]:
    """Only instance models tell objects of one class apart."""
    apart = [model.label for model in found.models if model.model.kind == INSTANCES]
    others = [model.label for model in found.models if model.model.kind != INSTANCES]
    if not (apart and others):
        return []
    return [
        f"To count objects or to cut out single ones, use {listed(apart)}: {listed(others)} "
        f"{'gives' if len(others) == 1 else 'give'} one region for each class, whatever the IoU."
    ]


# -- what limits it -------------------------------------------------------------------------------


def _limits(found: ModelComparison, costs: Costs | None) -> list[Sentence]:
    said = [*_data_limits(found)]
    single = [model.label for model in found.models if len(model.counts) < 2]
    if single:
        who = "Every model" if len(single) == len(found.models) else listed(single)
        were = "were each" if len(single) > 1 and len(single) < len(found.models) else "was"
        said.append(
            f"{who} {were} trained once: intervals tell of other images, not of training again."
        )
    tuned = [m.label for m in found.models if any(run.tuned_here for run in m.model.runs)]
    if tuned:
        said.append(
            f"The score thresholds of {listed(tuned)} were chosen on these very images, which "
            f"favours {'it' if len(tuned) == 1 else 'them'} a little; compare on another split."
        )
    if costs is not None:
        said += [f"{label} couldn't be measured: {why}." for label, why in costs.problems.items()]
    return [Sentence(text, "warning") for text in said]


def _data_limits(found: ModelComparison) -> list[str]:
    said, common = [], len(found.footing.image_names)
    for dataset, count in found.image_numbers.items():
        if count > common:
            said.append(
                f"{dataset} has {count:,} images; the {common:,} that all runs were evaluated on "
                f"are compared."
            )
    if left_out := list(found.footing.left_out):
        said.append(
            f"Left out, as not every model knows {'it' if len(left_out) == 1 else 'them'}: "
            f"{listed(left_out)}. {'Its' if len(left_out) == 1 else 'Their'} pixels count as "
            f"background, in labels and predictions."
        )
    empty = [
        name for name in found.class_names if math.isnan(found.models[0].estimates[IOU, name].value)
    ]
    if empty:
        said.append(f"The images hold nothing of {listed(empty)}: there is no figure for that.")
    return said
