"""Pictures of what a model finds in unlabelled images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from project.applications.drawing import draw_prediction
from project.applications.inputs import Source
from project.applications.predictor import Predictor, read_rgb
from project.errors import UserError
from project.visualization.files import choose_images
from project.visualization.render import (
    check_choices,
    count_words,
    picture_files,
    write_pictures,
)
from project.visualization.sheet import side_by_side


def render_sources(
    predictor: Predictor,
    sources: Sequence[Source],
    output_dir: Path,
    *,
    limit: int = 16,
    seed: int = 0,
    images: Sequence[str] = (),
    columns: int | None = None,
    by_instance: bool = False,
    pdf: bool = False,
) -> list[Path]:
    """Draw what ``predictor`` finds in images of ``sources``: a PNG each and a contact sheet.

    The arguments are those of `project.visualization.render.render_results`.

    Raises:
        UserError: if an image can't be read or would be replaced, or a source is a video.
    """
    check_choices(0.0, columns)
    if moving := [source.path for source in sources if source.moves]:
        raise UserError(f"{moving[0]} is a video: tools/predict.py draws those")
    records = [
        {"file_name": source.path, "image_id": number, "source": source}
        for number, source in enumerate(sources, 1)
    ]
    chosen = [record["source"] for record in choose_images(records, limit, seed, images)]
    names = [source.path for source in chosen]
    files = picture_files(names, output_dir, [source.path for source in sources], pdf=pdf)
    made = _drawn(predictor, chosen, by_instance)
    return write_pictures(files, made, output_dir, columns=columns, pdf=pdf)


def _drawn(predictor: Predictor, sources: Sequence[Source], by_instance: bool) -> Iterator[tuple]:
    for source in sources:
        image = read_rgb(source.path)
        found = predictor(image, channels="RGB")
        names = predictor.class_names
        picture = draw_prediction(image, found, names, by_instance=by_instance)
        legend = set() if by_instance else {(k, names[k]) for k in found.pred_classes.tolist()}
        title = f"Predictions: {count_words(len(found))}, {_scores(predictor)}"
        yield side_by_side([(title, picture)], Path(source.path).name, legend), legend


def _scores(predictor: Predictor) -> str:
    lowest, highest = predictor.thresholds.min(), predictor.thresholds.max()
    return f"score ≥ {lowest:g}" if lowest == highest else f"score ≥ {lowest:g} to {highest:g}"
