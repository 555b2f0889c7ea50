"""Which images to look at: random ones, and the ends of several scales."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from project.data.exploration.explore import Exploration
from project.data.exploration.summary import FEW_IMAGES

import numpy as np


@dataclass(frozen=True)
class Sample:
    """One image to look at.

    Attributes:
        image: its row in the label table.
        why: what is to be seen, in a few words.
        object: row of the annotation to zoom in on; None shows the whole image.
    """

    image: int
    why: str
    object: int | None = None


def choose_samples(
    found: Exploration,
    flagged: Iterable[tuple[int, str, int | None]] = (),
    *,
    size: int = 8,
    seed: int = 0,
) -> dict[str, list[Sample]]:
    """Title → samples, at most ``size`` on each sheet; sheets without an image are left out.

    ``flagged`` names images (rows), what an audit says of them, and the annotation (row) that is
    meant, if any.
    """
    sheets = {
        "Drawn at random": _random(found, size, seed),
        "The rarest classes": _rarest(found, size),
        "The most crowded": _crowded(found, size),
        "The most hidden objects": _hidden(found, size),
        "The smallest objects": _smallest(found, size),
        "Unusual light or sharpness": _unusual(found, size),
        "Flagged by the audit": _flagged(flagged, size),
    }
    return {title: samples for title, samples in sheets.items() if samples}


def _random(found: Exploration, size: int, seed: int) -> list[Sample]:
    total = len(found.table.image_ids)
    rows = np.random.default_rng(seed).choice(total, min(size, total), replace=False)
    objects = found.objects_per_image
    return [Sample(int(i), _objects(objects[i])) for i in np.sort(rows)]


def _objects(number: int) -> str:
    return f"{number} object{'' if number == 1 else 's'}"


def _rarest(found: Exploration, size: int) -> list[Sample]:
    """Images of the rare classes in turn, those with most objects of the class first."""
    counts, images = found.table.statistics().counts, found.counts.images
    order = [int(k) for k in np.argsort(images, kind="stable") if images[k]]
    rare = [k for k in order if images[k] < FEW_IMAGES] or order[:2]
    queues = {k: np.argsort(-counts[:, k], kind="stable")[: images[k]].tolist() for k in rare}
    samples: dict[int, Sample] = {}
    while len(samples) < size and any(queues.values()):
        for k, queue in queues.items():
            while queue and queue[0] in samples:
                queue.pop(0)
            if queue and len(samples) < size:
                i = queue.pop(0)
                samples[i] = Sample(i, f"{counts[i, k]} × {found.table.class_names[k]}")
    return list(samples.values())


def _crowded(found: Exploration, size: int) -> list[Sample]:
    objects = found.objects_per_image
    rows = np.argsort(-objects, kind="stable")[:size]
    return [Sample(int(i), _objects(objects[i])) for i in rows if objects[i]]


def _hidden(found: Exploration, size: int) -> list[Sample]:
    """Objects whose boxes others cover most, one an image; small ones show nothing."""
    cover = found.measures.column("cover")[found.objects.rows]
    order = np.argsort(-np.where(found.objects.size > 0, cover, np.nan), kind="stable")
    order = [i for i in order if cover[i] > 0 and found.objects.size[i] > 0]
    return [
        Sample(image, f"{_name(found, i)}: others cover {cover[i]:.0f} % of its box", row)
        for image, row, i in _one_an_image(found, order, size)
    ]


def _smallest(found: Exploration, size: int) -> list[Sample]:
    order = np.argsort(found.objects.areas, kind="stable")
    return [
        Sample(image, f"{_name(found, i)} of {found.objects.areas[i]:.0f} square pixels", row)
        for image, row, i in _one_an_image(found, order, size)
    ]


def _name(found: Exploration, i: int) -> str:
    return found.table.class_names[found.objects.class_index[i]]


def _one_an_image(found: Exploration, order: Iterable[int], size: int):
    """(image, annotation row, object) of the first ``size`` objects on different images."""
    seen: set[int] = set()
    for i in order:
        if len(seen) == size:
            return
        image = int(found.objects.image_index[i])
        if image not in seen:
            seen.add(image)
            yield image, int(found.objects.rows[i]), int(i)


def _unusual(found: Exploration, size: int) -> list[Sample]:
    kinds = {
        "unusually dark": (found.dark < 0, found.measures.brightness),
        "unusually bright": (found.dark > 0, -found.measures.brightness),
        "unusually blurred": (found.sharp < 0, found.measures.sharpness),
        "unusually sharp or noisy": (found.sharp > 0, -found.measures.sharpness),
    }
    queues = [
        [(int(i), kind) for i in sorted(np.flatnonzero(rows), key=lambda i: values[i])]
        for kind, (rows, values) in kinds.items()
    ]
    samples: dict[int, Sample] = {}
    while len(samples) < size and any(queues):
        for queue in queues:
            if queue and len(samples) < size:
                i, kind = queue.pop(0)
                samples.setdefault(i, Sample(i, kind))
    return list(samples.values())


def _flagged(flagged: Iterable[tuple[int, str, int | None]], size: int) -> list[Sample]:
    """The first image of each thing that is said, then the others."""
    first: dict[str, Sample] = {}
    others: list[Sample] = []
    for image, why, row in flagged:
        sample = Sample(image, why, row)
        if why in first:
            others.append(sample)
        else:
            first[why] = sample
    samples: dict[int, Sample] = {}
    for sample in [*first.values(), *others]:
        samples.setdefault(sample.image, sample)
    return list(samples.values())[:size]
