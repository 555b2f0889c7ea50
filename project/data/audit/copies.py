"""Pictures that stand there twice: inside a split, and in two splits (leaks)."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

from project.data.audit.findings import Finding, finding
from project.data.audit.hashing import close_pairs
from project.data.audit.images import Picture, grey_values

import numpy as np

DUPLICATES = ("duplicate-image", "near-duplicate-image")  # exact, near
LEAKS = ("leak", "near-leak")
MAX_DISTANCE = 6  # of 64 bits
_SAME_PIXELS = 0.95  # correlation from which two pictures are one
_SIDE = 64  # pixels at which they are compared


class Copy(NamedTuple):
    """``picture`` shows what ``other`` shows; of a leak it is the one that should go."""

    kind: str
    picture: Picture
    other: Picture

    def finding(self) -> Finding:
        picture, other = self.picture, self.other
        exact = picture.facts.digest == other.facts.digest
        same = "is the very file of" if exact else "shows the same picture as"
        if self.kind in LEAKS:
            what = (
                f"image {picture.image_id} of {picture.split.name!r} {same} image "
                f"{other.image_id} of {other.split.name!r}, {other.facts.path}"
            )
        else:
            what = f"it {same} image {other.image_id} of the split, {other.facts.path.name}"
        return finding(self.kind, picture.facts.path, what, image=picture.image_id)


def find_copies(pictures: Sequence[Picture]) -> list[Copy]:
    """Duplicates inside splits and leaks between them, exact and near."""
    sizes = Counter(id(picture.split) for picture in pictures)
    found = []
    for group in copy_groups(pictures):
        members: dict[int, list[Picture]] = defaultdict(list)
        for picture in group:
            members[id(picture.split)].append(picture)
        for same in members.values():
            found += _copies(same[1:], same, DUPLICATES)
        for one, other in combinations(members, 2):
            # The larger split can spare the image; evaluation keeps its own.
            small, large = sorted((other, one), key=sizes.__getitem__)
            found += _copies(members[large], members[small], LEAKS)
    return found


def _copies(
    pictures: Sequence[Picture], others: Sequence[Picture], kinds: tuple[str, str]
) -> Iterator[Copy]:
    """Each picture against the first byte-equal one of ``others``, else the first of all."""
    first: dict[bytes, Picture] = {}
    for other in others:
        first.setdefault(other.facts.digest, other)
    for picture in pictures:
        equal = first.get(picture.facts.digest, picture)
        if equal is picture:  # none but itself
            yield Copy(kinds[1], picture, others[0])
        else:
            yield Copy(kinds[0], picture, equal)


def copy_groups(pictures: Sequence[Picture]) -> list[list[Picture]]:
    """Pictures that are copies of each other, two or more in a group, in the order given."""
    same: dict[bytes, list[int]] = defaultdict(list)
    for index, picture in enumerate(pictures):
        if picture.facts.digest and picture.facts.fault in ("", "truncated-image"):
            same[picture.facts.digest].append(index)
    groups = list(same.values())
    looks = [pictures[group[0]].facts.look for group in groups]
    told = [number for number, look in enumerate(looks) if look is not None]
    hashes = np.array([looks[number] for number in told], np.uint64)
    joined = list(range(len(groups)))

    def root(number: int) -> int:
        while joined[number] != number:
            joined[number] = number = joined[joined[number]]
        return number

    thumbnails: dict[Path, np.ndarray] = {}
    for pairs in close_pairs(hashes, MAX_DISTANCE):
        roots = np.array([root(number) for number in told])[pairs]
        for first, second in pairs[roots[:, 0] != roots[:, 1]].tolist():
            a, b = root(told[first]), root(told[second])
            if a == b:
                continue
            paths = [pictures[groups[told[n]][0]].facts.path for n in (first, second)]
            for path in paths:
                if path not in thumbnails:
                    thumbnails[path] = _thumbnail(path)
            if float((thumbnails[paths[0]] * thumbnails[paths[1]]).mean()) >= _SAME_PIXELS:
                joined[max(a, b)] = min(a, b)
    merged: dict[int, list[int]] = defaultdict(list)
    for number, group in enumerate(groups):
        merged[root(number)] += group
    return [[pictures[i] for i in sorted(m)] for m in merged.values() if len(m) > 1]


def _thumbnail(path: Path) -> np.ndarray:
    """The upright picture in 64 by 64 grey pixels, float32, of mean 0 and variance 1."""
    import cv2

    grey = grey_values(path)
    small = cv2.resize(grey, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    return (small - small.mean()) / max(float(small.std()), 1e-6)
