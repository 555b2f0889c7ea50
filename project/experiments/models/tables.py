"""A comparison of models as tables of the page and rows of CSV files."""

from __future__ import annotations

import math

from project.evaluation.paired import Difference
from project.evaluation.uncertainty import plain
from project.experiments.models.compare import JudgedModel, ModelComparison
from project.experiments.models.cost import Costs
from project.experiments.models.counts import BOUNDARY, DICE, IMAGE_DICE, IOU, METRICS
from project.experiments.models.runs import INSTANCES, ModelRun
from project.experiments.models.words import count_words, is_distinct, p_words, three_digits
from project.visualization.page import Column, Table

HINTS = {
    IOU: "intersection over union of all pixels of a class",
    DICE: "the same as IoU on another scale: 2 IoU / (1 + IoU)",
    BOUNDARY: "IoU of the outlines, 2 % of the image's diagonal wide",
    IMAGE_DICE: "mean of the images' own Dice: an image weighs as much as any other",
}


def figure_table(found: ModelComparison) -> Table:
    """Every model's means over the classes, best IoU first."""
    several = any(len(model.counts) > 1 for model in found.models)
    columns = [Column("model"), Column("kind"), *([Column("seeds")] if several else [])]
    columns += [Column(metric, HINTS[metric]) for metric in METRICS]
    rows = []
    for model in found.ranked:
        kind = "instances" if model.model.kind == INSTANCES else "semantic"
        seeds = [str(len(model.counts))] if several else []
        rows.append([model.label, kind, *seeds, *(_figure(model, m) for m in METRICS)])
    over = "" if len(found.class_names) == 1 else ", mean over the classes"
    sd = "; ± is the standard deviation over seeds" if several else ""
    return Table(f"Percent with 95 % intervals over images{over}{sd}", columns, rows)


def _figure(model: JudgedModel, metric: str, class_name: str = "") -> str:
    item, sd = model.estimates[metric, class_name], model.sd(metric, class_name)
    return str(item) if math.isnan(sd) else f"{item} ± {sd:.1f}"


def class_tables(found: ModelComparison) -> list[Table]:
    """A table of each metric by class; none where the mean is that of one class."""
    if len(found.class_names) == 1:
        return []
    columns = [Column("class"), *(Column(model.label) for model in found.ranked)]
    return [
        Table(
            f"{metric[0].upper() + metric[1:]} of each class",
            columns,
            [
                [name, *(_figure(model, metric, name) for model in found.ranked)]
                for name in found.class_names
            ],
        )
        for metric in METRICS
    ]


def difference_table(found: ModelComparison) -> Table:
    """Each other model's difference to the baseline, in every metric."""
    columns = [Column("model")]
    metrics = [metric for metric in METRICS if metric != DICE]  # it says what IoU says
    for metric in metrics:
        columns += [Column(metric, HINTS[metric]), Column("p", f"of the difference in {metric}")]
    rows = []
    for model in found.ranked:
        if model is not found.baseline:
            own = [found.differences[model.label, metric, ""] for metric in metrics]
            cells = [cell for item in own for cell in (str(item), _p(item))]
            rows.append([model.label, *cells])
    caption = f"Points above {found.baseline.label} with 95 % intervals; * leaves out zero"
    return Table(caption, columns, rows)


def _p(item: Difference) -> str:
    if math.isnan(item.p_value):
        return "–"
    return p_words(item.p_value).removeprefix("p ").removeprefix("= ") + " *" * is_distinct(item)


def cost_table(found: ModelComparison, costs: Costs) -> Table:
    """What each measured model costs, best IoU first."""
    columns = [
        Column("model"),
        Column("parameters"),
        Column("input", "height × width that goes into the model, of the median image"),
        Column("GFLOPs an image", "convolutions and matrix products, a multiply-add as two"),
        Column("ms an image", "median"),
        Column("middle half", "quartiles of the measurements"),
    ]
    rows = []
    for model in found.ranked:
        if (cost := costs.models.get(model.label)) is not None:
            low, high = map(three_digits, cost.quartiles)
            size = "{} × {}".format(*cost.input_size)
            rows.append(
                [model.label, count_words(cost.parameters), size,
                 three_digits(cost.flops / 1e9), three_digits(cost.median), f"{low} to {high}"]
            )  # fmt: skip
    images = f"{costs.num_images} image{'s' if costs.num_images > 1 else ''}"
    return Table(f"On {costs.device}, one image at a time, {images}", columns, rows)


def run_table(found: ModelComparison) -> Table:
    """Every run."""
    columns = [
        Column("run"), Column("model"), Column("seed"), Column("data"),
        Column("counted from score", "of each class; regions of a semantic model all count"),
        Column("IoU"),
    ]  # fmt: skip
    rows = [
        [
            str(run.folder),
            model.label,
            str(run.seed),
            run.dataset,
            _thresholds(run, found),
            _number(model.seed_values[IOU, ""][i]),
        ]
        for model in found.models
        for i, run in enumerate(model.model.runs)
    ]
    return Table("The runs", columns, rows)


def _number(value: float) -> str:
    return f"{value:.1f}" if math.isfinite(value) else "–"


def _thresholds(run: ModelRun, found: ModelComparison) -> str:
    if run.kind != INSTANCES:
        return "–"
    own = found.footing.labels[run.annotations].truth.class_names
    given = dict(zip(own, run.thresholds(own).tolist(), strict=True))
    values = [f"{given[name]:.2f}" for name in found.class_names]
    return ", ".join(values) if len(set(values)) > 1 else values[0]


def figure_rows(found: ModelComparison) -> list[dict]:
    """Every figure: model, metric, class ("" for the mean), value, interval, spread over seeds."""
    return [
        {
            "model": model.label,
            **plain(item),
            "seeds": len(model.counts),
            "sd_over_seeds": _finite(model.sd(*key)),
        }
        for model in found.models
        for key, item in model.estimates.items()
    ]


def difference_rows(found: ModelComparison) -> list[dict]:
    """Every difference to the baseline."""
    return [
        {"model": label, "baseline": found.baseline.label, **plain(item)}
        for (label, _, _), item in found.differences.items()
    ]


def image_rows(found: ModelComparison) -> list[dict]:
    """The Dice of every image, mean over its classes and the seeds, percent, of every model."""
    columns = {model.label: model.image_dice.tolist() for model in found.models}
    return [
        {"image": name, **{label: _finite(values[i]) for label, values in columns.items()}}
        for i, name in enumerate(found.footing.image_names)
    ]


def cost_rows(costs: Costs) -> list[dict]:
    """Every measured model's cost."""
    return [
        {
            "model": label,
            "parameters": cost.parameters,
            "input_height": cost.input_size[0],
            "input_width": cost.input_size[1],
            "flops": cost.flops,
            "milliseconds": cost.median,
            "milliseconds_low": cost.quartiles[0],
            "milliseconds_high": cost.quartiles[1],
            "device": costs.device,
            "images": costs.num_images,
        }
        for label, cost in costs.models.items()
    ]


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
