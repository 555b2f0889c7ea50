"""COCO from its server, or a mirror of it: annotation files, and single images by name.

::

    <base>/annotations/annotations_trainval2017.zip
    <base>/val2017/000000000139.jpg

The cache has the layout that Detectron2 expects of ``datasets/coco``: either can use the other's.
"""

from __future__ import annotations

import shutil
import urllib.parse
import zipfile
import zlib
from collections.abc import Iterable
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from project.data.coco_file import CocoImage, check_file_name
from project.data.download import Download, Policy, download_all
from project.errors import UserError, unknown_name

COCO_BASE_URL = "http://images.cocodataset.org"
COCO_ARCHIVES = {
    "train2017": "annotations_trainval2017.zip",
    "val2017": "annotations_trainval2017.zip",
    "train2014": "annotations_trainval2014.zip",
    "val2014": "annotations_trainval2014.zip",
}
CACHE = "coco"  # below the root of the datasets


@dataclass(frozen=True)
class CocoServer:
    """Fetches what is missing of COCO into a cache folder.

    Attributes:
        cache: `annotations/` and a folder of images for each of COCO's splits lie below it.
        base_url: COCO's own server or a mirror with the same layout.
    """

    cache: Path
    base_url: str = COCO_BASE_URL
    policy: Policy = field(default_factory=Policy)
    progress: bool = True

    def __post_init__(self) -> None:
        try:
            parts = urllib.parse.urlsplit(self.base_url)
            usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:  # brackets of IPv6 left open, a port that is no number
            usable = False
        if not usable:
            raise UserError(f"base URL {self.base_url!r}: expected e.g. {COCO_BASE_URL}")

    def annotation_file(self, split: str) -> Path:
        """Where the annotation file of COCO's ``split``, such as "val2017", is kept."""
        if split not in COCO_ARCHIVES:
            raise UserError(unknown_name("split of COCO", split, COCO_ARCHIVES))
        return self.cache / "annotations" / f"instances_{split}.json"

    def images_dir(self, split: str) -> Path:
        """Where images of COCO's ``split`` are kept."""
        return self.annotation_file(split).parents[1] / split

    def fetch_annotations(self, split: str) -> Path:
        """The annotation file of ``split``; fetched, with its archive, if it isn't there.

        Raises:
            UserError: if it can't be fetched.
        """
        file = self.annotation_file(split)
        if file.is_file():
            return file
        archive = self.cache / COCO_ARCHIVES[split]
        url = f"{self.base_url.rstrip('/')}/annotations/{archive.name}"
        with self._alone():
            item = Download(url, archive, partial(_check_archive, member=_member(split)))
            download_all([item], self.policy, progress=self.progress)
            _extract(archive, _member(split), file)
        return file

    def fetch_images(self, split: str, folder: Path, images: Iterable[CocoImage]) -> int:
        """Fetch those ``images`` of ``split`` that ``folder`` lacks; returns how many.

        URLs come from file names: the annotations' own may be missing.

        Raises:
            UserError: if some can't be fetched, aren't intact or leave the folder.
        """
        base = f"{self.base_url.rstrip('/')}/{split}/"
        items = [
            Download(
                base + urllib.parse.quote(image.file_name),
                _inside(folder, image),
                partial(_check_image, height=image.height, width=image.width),
            )
            for image in images
        ]
        with self._alone():
            return download_all(items, self.policy, progress=self.progress)

    @contextmanager
    def _alone(self):
        """Two processes never write one part file."""
        from iopath.common.file_io import file_lock

        try:
            self.cache.mkdir(parents=True, exist_ok=True)
            lock = file_lock(str(self.cache / "download"))
            lock.acquire()
        except OSError as error:
            raise UserError(f"can't write {self.cache}: {error.strerror}") from None
        try:
            yield
        finally:
            lock.release()


def _member(split: str) -> str:
    return f"annotations/instances_{split}.json"


def _check_archive(path: Path, member: str) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            archive.getinfo(member)
    except (zipfile.BadZipFile, KeyError, NotImplementedError) as error:
        raise ValueError(f"no archive with {member}: {error}") from None


def _extract(archive: Path, member: str, target: Path) -> None:
    """Write one member, checked by its CRC, to ``target``; whole or not at all."""
    part = target.with_name(target.name + ".part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(archive) as opened:
            with opened.open(member) as source, open(part, "wb") as file:
                shutil.copyfileobj(source, file, 1 << 20)
        part.replace(target)
    except (zipfile.BadZipFile, zlib.error, KeyError, EOFError) as error:
        archive.unlink()
        raise UserError(f"{archive} was damaged ({error}) and is deleted; run it again") from None
    except RuntimeError as error:  # encrypted, or compressed in a way that Python lacks
        archive.unlink()
        raise UserError(
            f"{archive} can't be unpacked ({error}) and is deleted; name another mirror with "
            f"--base-url"
        ) from None
    except OSError as error:
        raise UserError(f"can't unpack {archive}: {error.strerror or error}") from None
    finally:
        part.unlink(missing_ok=True)


def _inside(folder: Path, image: CocoImage) -> Path:
    target = folder / check_file_name(image.file_name, f"image {image.id}")
    # A link inside the folder may lead out of it.
    if not target.parent.resolve().is_relative_to(folder.resolve()):
        raise UserError(f"image {image.id}: {target} leaves the image folder through a link")
    return target


def _check_image(path: Path, height: int, width: int) -> None:
    """Raise a `ValueError` unless ``path`` is an intact JPEG (PNG) of that size."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            if image.format not in ("JPEG", "PNG"):
                raise ValueError(f"format {image.format}, expected JPEG")
            if image.size != (width, height):
                raise ValueError(f"{image.size[0]}x{image.size[1]} pixels, not {width}x{height}")
            image.load()
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"no intact image: {error}") from None
