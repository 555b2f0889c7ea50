"""Dividing things with several labels each among splits, so that every split gets its share.

Nothing here is random: things come in drawn order (see `project.data.selection`), and the same
order gives the same splits on every machine.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

UNUSED = -1


def sizes_by_ratio(total: int, ratios: Sequence[float]) -> list[int]:
    """Whole numbers that add up to ``total``, each within one of its share.

    Shares are rounded down; what is left goes to the largest remainders (the first of equal ones).
    """
    exact = [total * ratio / sum(ratios) for ratio in ratios]
    # 62.99999999999999 is 63 that a division left a little short.
    sizes = [math.floor(round(share, 6)) for share in exact]
    by_remainder = sorted(range(len(sizes)), key=lambda i: sizes[i] - round(exact[i], 6))
    for i in by_remainder[: total - sum(sizes)]:
        sizes[i] += 1
    return sizes


def divide(
    sizes: Sequence[int],
    labels: np.ndarray,
    groups: np.ndarray | None = None,
    *,
    exact: bool = True,
) -> np.ndarray:
    """The split (0 to S-1) of each of N images, or `UNUSED`.

    Iterative stratification (Sechidis, Tsoumakas, Vlahavas: On the Stratification of Multi-Label
    Data, ECML PKDD 2011): the class with the fewest images left is served first, each of its images
    goes to the split that still wants most of it. Two additions: what no split takes is a further
    part, with its own share, and when the images of a class run short, the splits that have none of
    it come first; so a class with at least S images reaches every split that has room for it,
    unless images of a still rarer class decide otherwise.

    Args:
        sizes: images that each split wants, together at most N.
        labels: bool [N, K], image i shows class k; K = 0 fills the splits without stratifying.
        groups: int [N]; images of one group never go to two splits. None: each on its own.
        exact: each split gets its size; of a group that doesn't fit, some images stay unused.
            Otherwise whole groups are placed and sizes are met as nearly as they allow (then
            ``sizes`` must add up to N).
    """
    members = _members(len(labels), groups)
    work = _Division(sizes, _unit_labels(labels, members), members, exact)
    work.run()
    return work.assignment


def _members(num_images: int, groups: np.ndarray | None) -> list[np.ndarray]:
    """Image indices of each group, in order of its first image."""
    if groups is None:
        return list(np.arange(num_images)[:, None])
    by_group: dict[int, list[int]] = {}
    for index, group in enumerate(np.asarray(groups).tolist()):
        by_group.setdefault(group, []).append(index)
    return [np.array(indices) for indices in by_group.values()]


def _unit_labels(labels: np.ndarray, members: list[np.ndarray]) -> np.ndarray:
    """int [U, K]: images of group u that show class k."""
    counts = np.zeros((len(members), labels.shape[1]), np.int64)
    unit = np.repeat(np.arange(len(members)), [len(m) for m in members])
    if len(unit):
        np.add.at(counts, unit, labels[np.concatenate(members)].astype(np.int64))
    return counts


class _Division:
    """One run of `divide`; a unit is a group of images that stay together.

    The last part (index S) is the rest that no split takes.
    """

    def __init__(
        self, sizes: Sequence[int], labels: np.ndarray, members: list[np.ndarray], exact: bool
    ) -> None:
        num_images = sum(map(len, members))
        if sum(sizes) > num_images or min(sizes) < 0 or not (exact or sum(sizes) == num_images):
            raise ValueError(f"sizes {list(sizes)} don't fit {num_images} images")
        self.labels, self.members, self.exact = labels, members, exact
        self.num_splits = len(sizes)
        self.room = np.array([*sizes, num_images - sum(sizes)], np.int64)
        shares = self.room / max(num_images, 1)
        self.wanted = shares[:, None] * labels.sum(0)  # [S + 1, K], images
        self.has = np.zeros(self.wanted.shape, bool)
        self.left = (labels > 0).sum(0)  # units of each class that aren't placed yet
        self.open = np.ones(len(members), bool)
        self.in_rest: list[int] = []
        self.assignment = np.full(num_images, UNUSED)

    def run(self) -> None:
        larger_first = np.argsort([-len(m) for m in self.members], kind="stable")
        while self.left.any():
            label = int(np.where(self.left > 0, self.left, self.left.max() + 1).argmin())
            for unit in larger_first[(self.open & (self.labels[:, label] > 0))[larger_first]]:
                self._place(unit, self._best(label, len(self.members[unit])))
        for unit in larger_first[self.open[larger_first]]:
            self._place(unit, self._best(None, len(self.members[unit])))
        for unit in self.in_rest:  # groups that were cut can leave a split short
            if not self.room[: self.num_splits].any():
                break
            self._fill(unit, int(self.room[: self.num_splits].argmax()))

    def _best(self, label: int | None, size: int) -> int:
        """The part that wants a unit of ``size`` images most, for ``label`` (None: for itself)."""
        fits = self.room >= size
        if not fits.any():  # a group larger than any room: the emptiest split takes what it can
            return int(self.room[: self.num_splits].argmax())
        candidates = fits
        if label is not None:
            lacking = fits & ~self.has[:, label]
            lacking[-1] = False
            if lacking.sum() > 0 and lacking.sum() >= self.left[label]:
                candidates = lacking
        wanted = self.room / 1.0 if label is None else self.wanted[:, label]
        order = np.lexsort((-self.room, -wanted.round(9), ~candidates))
        return int(order[0])

    def _place(self, unit: int, part: int) -> None:
        self.open[unit] = False
        shown = self.labels[unit]
        self.left -= shown > 0
        self.wanted[part] -= shown
        self.has[part] |= shown > 0
        if part == self.num_splits:
            self.room[part] -= len(self.members[unit])
            self.in_rest.append(unit)
        else:
            self._fill(unit, part)

    def _fill(self, unit: int, split: int) -> None:
        images = self.members[unit]
        if self.exact:
            images = images[: max(int(self.room[split]), 0)]
        self.assignment[images] = split
        self.room[split] -= len(images)
