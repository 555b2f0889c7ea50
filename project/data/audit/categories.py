"""One numbering of the categories for several files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from project.data.audit.source import Split
from project.data.coco_file import CocoCategory


def common_categories(splits: Sequence[Split]) -> list[dict]:
    """All categories by name, each with one id, sorted by id: the same list for every file.

    A name keeps the id of the first file that has it where that is free; the others are numbered
    from the highest id on. An id that one file gives to two names belongs to the first.
    """
    ids: dict[str, int] = {}
    waiting: list[str] = []
    for split in splits:
        for category in split.categories:
            if category.name in ids or category.name in waiting:
                continue
            if category.id in ids.values():
                waiting.append(category.name)
            else:
                ids[category.name] = category.id
    following = max(ids.values(), default=0) + 1
    ids |= {name: following + n for n, name in enumerate(waiting)}
    return [
        {"id": number, "name": name} for name, number in sorted(ids.items(), key=lambda i: i[1])
    ]


def ambiguous_ids(categories: Sequence[CocoCategory]) -> set[int]:
    """Ids that stand for two names, so that nobody knows what their annotations show."""
    names = Counter(number for number, _ in {(c.id, c.name) for c in categories})
    return {number for number, times in names.items() if times > 1}
