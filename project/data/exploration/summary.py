"""The main things about a split, in words."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from project.data.exploration.explore import HIDDEN, Exploration
from project.data.exploration.fit import recall
from project.data.exploration.numbers import coarseness, percent_of_pixels

import numpy as np

Level = Literal["warning", "note"]
FEW_IMAGES = 20  # a class in fewer images can hardly be learnt, and less be measured
_NAMED = 4  # classes or images that a sentence names; the others are counted


@dataclass(frozen=True)
class Sentence:
    """One statement; a "warning" asks for something to be done."""

    level: Level
    text: str


def summary(found: Exploration) -> list[Sentence]:
    """What to know first, warnings first; each statement is true of ``found`` as it is."""
    sources = (_rare, _compared, _unreadable, _vanishing, _sampling, _size, _balance)
    sources += (_objects, _occlusion, _masks, _recall, _pixels)
    sentences = [sentence for source in sources for sentence in source(found)]
    return sorted(sentences, key=lambda s: s.level != "warning")


def headline(found: Exploration) -> str:
    """One sentence: how much there is."""
    crowds, objects = int(found.table.crowd.sum()), len(found.objects.rows)
    seen = int((found.counts.instances > 0).sum())
    text = f"{count(len(found.table.image_ids), 'image')} with {count(objects, 'object')}"
    text += f" of {count(seen, 'class', 'classes')}"
    return text + (f", and {count(crowds, 'crowd region')}." if crowds else ".")


def count(number: int, singular: str, plural: str = "") -> str:
    """A number with its noun: "1 image", "1,250 images"."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def split_adjective(name: str) -> str:
    """A split's name before "image": "training" for "train-300", "validation" for "val", ..."""
    match = re.match(r"(train(?:ing)?|val(?:idation)?)(?![a-z])", name.lower())
    if match is None:
        return name
    return "training" if match[0].startswith("train") else "validation"


def percent(share: float) -> str:
    """A share as text: "12 %", "0.3 %", "99.7 %"; never 0 or 100 for what is only nearly so.

    The space doesn't break.
    """
    if share in (0, 100) or 1 <= share <= 99:
        text = f"{share:.0f} %"
    else:
        text = (
            "under 0.1 %" if share < 0.05 else "over 99.9 %" if share > 99.95 else f"{share:.1f} %"
        )
    return text.replace(" %", "\u00a0%")


def ratio(number: float) -> str:
    """A ratio as text: "1.5" and "3" below ten, "1,250" beyond."""
    return f"{number:,.0f}" if number >= 9.95 else f"{number:.2g}"


def listing(names: Sequence[str]) -> str:
    """Names as text: "a", "a and b", "a, b and c"; from six on "a, b, c, d and 2 more"."""
    names = list(names)
    if len(names) > _NAMED + 1:
        names = [*names[:_NAMED], f"{len(names) - _NAMED} more"]
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _rare(found: Exploration) -> Iterator[Sentence]:
    images, total, names = found.counts.images, len(found.table.image_ids), found.table.class_names
    split = split_adjective(found.table.name)
    elsewhere = 0 if found.other is None else found.other_counts.images
    order = np.argsort(images, kind="stable")
    absent = [names[k] for k in np.flatnonzero((images == 0) & (elsewhere == 0))]
    if absent:
        verb = "has" if len(absent) == 1 else "have"
        yield Sentence("warning", f"{listing(absent)} {verb} no object at all.")
    rare = [k for k in order if 0 < images[k] < FEW_IMAGES]
    if not rare:
        return
    k = rare[0]
    text = f"{names[k]} stands in {images[k]:,} of {count(total, f'{split} image')}"
    text += f" ({count(int(found.counts.instances[k]), 'object')})"
    if others := [f"{names[r]} in {images[r]:,}" for r in rare[1:]]:
        text += f"; {listing(others)}"
    what = "A class" if len(rare) == 1 else "Classes"
    yield Sentence("warning", f"{text}. {what} in so few images can hardly be learnt.")


def _compared(found: Exploration) -> Iterator[Sentence]:
    if found.other is None:
        return
    ours, theirs = found.counts, found.other_counts
    names, split, other = found.table.class_names, found.table.name, found.other.name
    for first, second, a, b in ((ours, theirs, split, other), (theirs, ours, other, split)):
        only = [names[k] for k in np.flatnonzero((first.images > 0) & (second.images == 0))]
        if only:
            verb = "has" if len(only) == 1 else "have"
            text = f"{listing(only)} {verb} objects in {a} but none in {b}."
            yield Sentence("warning", text)
    # Few images make any ratio possible; two standard deviations of the difference are asked for.
    gap = ours.image_share - theirs.image_share
    both = (ours.images > 0) & (theirs.images > 0)
    shares = np.stack([ours.image_share, theirs.image_share]) / 100
    sizes = np.array([[len(found.table.image_ids)], [len(found.other.image_ids)]])
    deviation = 100 * np.sqrt((shares * (1 - shares) / np.maximum(sizes, 1)).sum(0))
    far = np.flatnonzero(both & (np.abs(gap) > 2 * deviation) & (np.abs(gap) > 1))
    if len(far):
        far = far[np.argsort(-np.abs(gap[far]))][:3]
        pairs = [
            f"{names[k]} ({percent(ours.image_share[k])} against {percent(theirs.image_share[k])})"
            for k in far
        ]
        yield Sentence(
            "note", f"Share of images, {split} against {other}, differs for {listing(pairs)}."
        )


def _unreadable(found: Exploration) -> Iterator[Sentence]:
    rows = np.flatnonzero(found.measures.unreadable)
    if len(rows):
        files = listing([found.table.file_names[i] for i in rows])
        verb = "is missing or broken" if len(rows) == 1 else "are missing or broken"
        yield Sentence("warning", f"{count(len(rows), 'image file')} {verb}: {files}.")


def _vanishing(found: Exploration) -> Iterator[Sentence]:
    number, stride = int(found.fit.vanishes.sum()), 2 ** min(found.detector.roi_levels)
    if number:
        share = percent(100 * number / len(found.fit.vanishes))
        yield Sentence(
            "warning" if number > 0.01 * len(found.fit.vanishes) else "note",
            f"{count(number, 'object')} ({share}) {'is' if number == 1 else 'are'} under "
            f"{stride} by {stride} pixels at the model's input: less than one cell of its finest "
            f"feature map.",
        )


def _sampling(found: Exploration) -> Iterator[Sentence]:
    seen = np.flatnonzero(found.counts.images)
    if len(seen) < 2 or "square root" not in found.plan.schemes:
        return
    plain, chosen = (found.plan.schemes.index(name) for name in ("plain", "square root"))
    k = seen[np.argmin(found.counts.images[seen])]
    before, after = found.plan.images[plain, k], found.plan.images[chosen, k]
    if after < 1.5 * before:
        return
    yield Sentence(
        "note",
        f"Square-root sampling would show {found.table.class_names[k]} in {percent(after)} of the "
        f"drawn images instead of {percent(before)}; the image drawn most often would come "
        f"{found.plan.most_repeated[chosen]:.1f} times per pass.",
    )


def _size(found: Exploration) -> Iterator[Sentence]:
    if not len(found.objects.rows):
        return
    shares = [percent(100 * float((found.objects.size == s).mean())) for s in range(3)]
    yield Sentence(
        "note",
        f"{shares[0]} of the objects are small by COCO's measure (under 32² pixels), {shares[1]} "
        f"medium and {shares[2]} large (from 96² on); the median object covers "
        f"{percent(float(np.median(found.objects.share)))} of its image.",
    )


def _balance(found: Exploration) -> Iterator[Sentence]:
    counts, names = found.counts, found.table.class_names
    seen = np.flatnonzero(counts.instances)
    if len(seen) > 1 and counts.imbalance >= 2:
        most, least = seen[counts.instances[seen].argmax()], seen[counts.instances[seen].argmin()]
        yield Sentence(
            "note",
            f"{percent(counts.share[most])} of all objects are {names[most]}: "
            f"{ratio(counts.imbalance)} for each {names[least]}.",
        )


def _objects(found: Exploration) -> Iterator[Sentence]:
    per_image = found.objects_per_image
    if not per_image.sum():
        return
    i = int(per_image.argmax())
    text = (
        f"An image holds {np.median(per_image):g} objects at the median; the fullest, "
        f"{found.table.file_names[i]}, {per_image[i]:,}."
    )
    if found.counts.negatives:
        text += f" {count(found.counts.negatives, 'image')} hold" + (
            "s none." if found.counts.negatives == 1 else " none."
        )
    yield Sentence("note", text)


def _occlusion(found: Exploration) -> Iterator[Sentence]:
    cover = found.measures.column("cover")[found.objects.rows]
    known = cover[np.isfinite(cover)]
    if len(known):
        share = percent(100 * float((known >= HIDDEN).mean()))
        frame = percent(100 * float(found.objects.frame.any(1).mean()))
        yield Sentence(
            "note",
            f"Others cover a quarter or more of the box of {share} of the objects; {frame} touch "
            f"the frame of their image.",
        )


def _masks(found: Exploration) -> Iterator[Sentence]:
    parts = found.measures.column("parts")[found.objects.rows]
    known = np.isfinite(parts)
    if not known.any():
        return
    missing = int((~known & found.measures.looked_at[found.objects.image_index]).sum())
    if missing:
        verb = "has" if missing == 1 else "have"
        yield Sentence(
            "warning",
            f"{count(missing, 'object')} {verb} no mask, or one that encloses no pixel at all.",
        )
    rest = percent_of_pixels(found)[1]
    several = percent(100 * float((parts[known] >= 2).mean()))
    text = (
        f"Nothing claims {percent(rest['background'])} of the pixels; two objects or more claim "
        f"{percent(rest['shared'])}. {several} of the masks are in several parts"
    )
    coarse = coarseness(found)
    if np.isfinite(coarse).any():
        text += f"; outlines have a vertex every {np.nanmedian(coarse):.0f} pixels"
    yield Sentence("note", text + ".")


def _recall(found: Exploration) -> Iterator[Sentence]:
    fit, small = found.fit, found.objects.size == 0
    if not len(fit.iou):
        return
    overall = recall(fit.iou)
    text = f"Anchors of {found.detector.name} reach an IoU of 0.5 with {percent(overall)}"
    text += " of the objects"
    if small.any():
        text += f", with {percent(recall(fit.iou[small]))} of the small ones"
    yield Sentence("warning" if overall < 80 else "note", text + ".")


def _pixels(found: Exploration) -> Iterator[Sentence]:
    kinds = {
        "unusually dark": found.dark < 0,
        "unusually bright": found.dark > 0,
        "unusually blurred": found.sharp < 0,
        "unusually sharp or noisy": found.sharp > 0,
    }
    texts = []
    for kind, rows in kinds.items():
        if rows.any():
            files = listing([found.table.file_names[i] for i in np.flatnonzero(rows)][: _NAMED + 1])
            more = "" if rows.sum() <= _NAMED + 1 else ", ..."
            texts.append(f"{int(rows.sum())} {kind} ({files}{more})")
    if texts:
        yield Sentence("note", f"Images that stand out: {'; '.join(texts)}.")
