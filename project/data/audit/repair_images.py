"""Images stored anew: 8 bits, RGB, upright, of the size that their record says."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from project.data.audit.images import MODES, Picture, eight_bits, is_deep
from project.data.publish import place_file

_REMADE_MODES = ("palette-image", "cmyk-image")
_SHAPE = 0.01  # share by which height / width may differ between an image and its resized self


@dataclass(frozen=True)
class Remake:
    """How one image is stored anew.

    Attributes:
        file_name: its new name, always a PNG.
        kinds: the kinds of findings that this repairs.
        turn: whether to apply the EXIF orientation; else it is only forgotten.
        size: (height, width) to resize it to; None keeps its own.
        what: a sentence for the list of changes.
    """

    file_name: str
    kinds: tuple[str, ...]
    turn: bool
    size: tuple[int, int] | None
    what: str


def remake_of(picture: Picture, names: Set[str]) -> tuple[Remake | None, str]:
    """How to store ``picture`` anew (None: leave it), or why that can't help.

    Annotations of a turned image belong to the pixels as they are stored, if only those have the
    recorded size. An image of another size, but the record's shape, is resized; of another shape,
    nobody knows where its annotations are.
    """
    facts, recorded = picture.facts, picture.record_size
    kinds = ["deep-image"] if is_deep(facts.mode) else []
    kinds += [kind for kind, _ in [MODES.get(facts.mode, ("", ""))] if kind in _REMADE_MODES]
    kinds += ["exif-rotated"] if facts.orientation != 1 else []
    turn = facts.upright_size == recorded or facts.size != recorded
    size = facts.upright_size if turn else facts.size
    resize = None
    if min(recorded) > 0 and size != recorded:
        shapes = size[0] * recorded[1], size[1] * recorded[0]
        if abs(shapes[0] - shapes[1]) > _SHAPE * max(shapes):
            return None, f"it is {size} pixels (height, width), its record says {recorded}"
        kinds.append("size-mismatch")
        resize = recorded
    if not kinds:
        return None, ""
    name = _new_name(facts.path.name, picture, names)
    what = f"stored as {name}: RGB, 8 bits, upright"
    what += f", resized to {resize[0]} by {resize[1]} (height, width)" if resize else ""
    return Remake(name, tuple(kinds), turn, resize, what), ""


def _new_name(own_name: str, picture: Picture, names: Set[str]) -> str:
    record = next(i.file_name for i in picture.split.images if i.id == picture.image_id)
    path = PurePosixPath(record).with_name(own_name)
    for name in (path.with_suffix(".png"), path.with_name(f"{path.stem}_{picture.image_id}.png")):
        if str(name) not in names or str(name) == record:
            return str(name)
    return str(path.with_name(f"{path.stem}_{picture.image_id}_remade.png"))


def write_image(source: Path, folder: Path, name: str, remake: Remake | None) -> None:
    """Put the image file ``source`` into ``folder``: linked as ``name``, or made anew."""
    from PIL import Image, ImageOps

    if remake is None:
        place_file(source, folder / name)
        return
    target = folder / remake.file_name
    target.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(source) as image:
        turned = ImageOps.exif_transpose(image) if remake.turn else image
        made = eight_bits(turned).convert("RGB")
        if remake.size is not None:
            made = made.resize(remake.size[::-1], Image.Resampling.LANCZOS)
        made.info.clear()
        made.save(target, format="PNG")
