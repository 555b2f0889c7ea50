"""Image files looked at one by one: readable, in which mode, which way up, how large."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from itertools import islice
from pathlib import Path

from project.data.audit.findings import Finding, finding
from project.data.audit.hashing import perceptual_hash
from project.data.audit.source import IMAGE_SUFFIXES, Split

import numpy as np

_ORIENTATION = 0x0112  # tag of EXIF
_LOOK = 64  # pixels that a reduced JPEG keeps at least: enough for the perceptual hash
MODES = {
    "P": ("palette-image", "it is a palette image"),
    "PA": ("palette-image", "it is a palette image"),
    "CMYK": ("cmyk-image", "it is in CMYK"),
    "YCCK": ("cmyk-image", "it is in YCCK"),
    "LAB": ("cmyk-image", "it is in L*a*b*"),
    "RGBA": ("alpha-image", "it has an alpha channel"),
    "LA": ("alpha-image", "it has an alpha channel"),
    "L": ("grey-image", "it is a grey image"),
    "1": ("grey-image", "it is a black-and-white image"),
}


@dataclass(frozen=True)
class ImageFacts:
    """What one image file is.

    Attributes:
        fault, detail: kind of finding that makes it unusable ("" for none), and a sentence.
        size: (height, width) of the stored pixels.
        mode: Pillow's name.
        orientation: EXIF's 1 to 8; 1 is upright.
        digest: of the file's bytes.
        look: perceptual hash of the upright image; None if it is too even to be told by one.
    """

    path: Path
    fault: str = ""
    detail: str = ""
    size: tuple[int, int] = (0, 0)
    mode: str = ""
    orientation: int = 1
    digest: bytes = b""
    look: int | None = None

    @property
    def upright_size(self) -> tuple[int, int]:
        """(height, width) as readers that honour EXIF see it."""
        return self.size[::-1] if self.orientation >= 5 else self.size


def inspect_image(path: Path) -> ImageFacts:
    """Reads one image file whole, once; whatever is wrong with it becomes a fault."""
    from PIL import UnidentifiedImageError

    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return ImageFacts(path, "missing-image", "the image file doesn't exist")
    except OSError as error:
        return ImageFacts(path, "unreadable-image", f"it can't be read: {error.strerror}")
    digest = hashlib.blake2b(data, digest_size=16).digest()
    try:
        return ImageFacts(path, digest=digest, **_decode(data))
    except Exception as error:  # noqa: BLE001  decoders of damaged files raise anything
        truncated = "truncated" in str(error).lower() or not data
        kind = "truncated-image" if truncated else "unreadable-image"
        text = "its format is unknown" if isinstance(error, UnidentifiedImageError) else error
        return ImageFacts(path, kind, f"it can't be decoded: {text}", digest=digest)


def _decode(data: bytes) -> dict:
    from PIL import Image

    if not data:
        raise OSError("the file is empty, truncated to 0 bytes")
    image = Image.open(BytesIO(data))
    known = {
        "size": image.size[::-1],
        "mode": image.mode,
        "orientation": _orientation(image),
    }
    image.draft(None, (_LOOK, _LOOK))  # a JPEG's small version costs half; all bytes are decoded
    image.load()
    if image.format == "JPEG" and data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda"):
        known |= {"fault": "truncated-image", "detail": "it has no end: its last rows may be lost"}
    return known | {"look": perceptual_hash(_grey(image))}


def _orientation(image) -> int:
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # noqa: BLE001  a damaged EXIF block is none
        return 1
    return value if value in range(1, 9) else 1


def grey_values(path: Path) -> np.ndarray:
    """Grey values of a readable image file, uint8 [H, W], the right way up; reduced if a JPEG."""
    from PIL import Image

    with Image.open(path) as image:
        image.draft(None, (2 * _LOOK, 2 * _LOOK))
        return _grey(image)


def _grey(image) -> np.ndarray:
    from PIL import ImageOps

    if _orientation(image) != 1:
        image = ImageOps.exif_transpose(image)
    return np.asarray(eight_bits(image).convert("L"))


def is_deep(mode: str) -> bool:
    """Whether images of this mode have more than 8 bits a value."""
    return mode.startswith(("I", "F"))


def eight_bits(image):
    """``image`` itself, or a deep one scaled so that its largest value is 255; Pillow clips."""
    from PIL import Image

    if not is_deep(image.mode):
        return image
    values = np.asarray(image, np.float64)
    return Image.fromarray((values * (255 / max(values.max(), 1))).clip(0, 255).astype(np.uint8))


@dataclass(frozen=True)
class Picture:
    """One image file of one split, under the first record that names it."""

    split: Split
    image_id: int
    record_size: tuple[int, int]  # height, width; zeros: unknown
    facts: ImageFacts


def num_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on every system
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def inspect_splits(splits: Sequence[Split], workers: int, progress: bool) -> list[Picture]:
    """Every image file of ``splits`` that has a folder, read once, by ``workers`` threads."""
    from tqdm import tqdm

    wanted: dict[tuple[int, Path], tuple[Split, int, tuple[int, int]]] = {}
    for number, split in enumerate(splits):
        for image in split.images if split.folder is not None else ():
            path = Path(os.path.normpath(os.path.join(split.folder, image.file_name)))
            if path.is_relative_to(os.path.normpath(split.folder)):
                wanted.setdefault((number, path), (split, image.id, (image.height, image.width)))
    paths = list(dict.fromkeys(path for _, path in wanted))
    with warnings.catch_warnings():  # Pillow warns about large images and damaged EXIF
        warnings.simplefilter("ignore")
        looked = tqdm(
            _in_threads(paths, workers),
            total=len(paths),
            desc="images",
            unit="",
            disable=not progress or not paths,
        )
        facts = dict(zip(paths, looked, strict=True))
    return [Picture(*about, facts[path]) for (_, path), about in wanted.items()]


def _in_threads(paths: Iterable[Path], workers: int) -> Iterator[ImageFacts]:
    """Facts in the order of ``paths``; a few files per thread are on their way at any time."""
    paths = iter(paths)
    with ThreadPoolExecutor(workers) as pool:  # decoders and hashes let other threads run
        waiting = [pool.submit(inspect_image, path) for path in islice(paths, 8 * workers)]
        waiting.reverse()
        while waiting:
            yield waiting.pop().result()
            waiting = [pool.submit(inspect_image, path) for path in islice(paths, 1)] + waiting


def check_images(pictures: Sequence[Picture]) -> Iterator[Finding]:
    """What is wrong with the image files, each by itself."""
    for picture in pictures:
        facts, where = picture.facts, {"image": picture.image_id}
        if facts.fault:
            yield finding(facts.fault, facts.path, facts.detail, **where)
        if is_deep(facts.mode):
            what = f"its values have more than 8 bits (mode {facts.mode}); readers clip them"
            yield finding("deep-image", facts.path, what, **where)
        elif facts.mode in MODES:
            kind, what = MODES[facts.mode]
            yield finding(kind, facts.path, what, **where)
        if facts.orientation != 1:
            what = (
                f"EXIF orientation is {facts.orientation}: readers that ignore it show the image "
                f"turned or mirrored"
            )
            yield finding("exif-rotated", facts.path, what, **where)
        yield from _size(picture)


def _size(picture: Picture) -> Iterator[Finding]:
    facts, recorded = picture.facts, picture.record_size
    unknown = facts.size == (0, 0) or min(recorded) < 1
    if unknown or facts.upright_size == recorded:
        return
    what = (
        f"it is {facts.upright_size[0]} by {facts.upright_size[1]} pixels (height, width), its "
        f"record says {recorded[0]} by {recorded[1]}"
    )
    cause = "exif-rotated" if facts.size == recorded else None
    yield finding("size-mismatch", facts.path, what, image=picture.image_id, cause=cause)


def unlisted_images(splits: Sequence[Split]) -> Iterator[Finding]:
    """Image files that stand in a folder, but in none of the annotation files that use it."""
    folders: dict[Path, set[str]] = {}
    for split in splits:
        if split.folder is not None:
            listed = folders.setdefault(split.folder.resolve(), set())
            listed |= {os.path.normpath(image.file_name) for image in split.images}
    for folder, listed in folders.items():
        there = (p for p in folder.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
        extra = sorted(n for p in there if (n := str(p.relative_to(folder))) not in listed)
        if extra:
            what = f"{len(extra)} image files are in no record, {extra[0]} the first of them"
            yield finding("unlisted-images", folder, what)
