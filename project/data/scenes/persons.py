"""The built-in scenes with their persons alone, for models that tell people from the rest.

``<root>/scenes_person/<version>`` has the same pictures as ``<root>/scenes/<version>``, as links,
and annotation files whose one category is person. Cakes, cars and dogs are background there; crowds
of people are crowds still.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from project.data.publish import new_folder, place_file
from project.data.scenes.dataset import make_once, make_scenes, split_record, write_json

PERSON = "person"


def make_person_scenes(
    root: str | Path, sizes: Mapping[str, int] | None = None, seed: int = 0
) -> Path:
    """The folder ``<root>/scenes_person/<version>``; made, like the scenes, if it isn't there yet.

    Args:
        sizes, seed: as in `make_scenes`.

    Raises:
        UserError: as `make_scenes` does.
    """
    scenes = make_scenes(root, sizes, seed)
    folder = Path(root) / "scenes_person" / scenes.name
    make_once(folder, partial(_write_folder, scenes=scenes))
    return folder


def _write_folder(folder: Path, scenes: Path) -> None:
    manifest = json.loads((scenes / "manifest.json").read_text("utf-8"))
    with new_folder(folder) as work:
        (work / "annotations").mkdir()
        for split in manifest["splits"]:
            coco = persons_alone(json.loads((scenes / f"annotations/{split}.json").read_bytes()))
            write_json(work / "annotations" / f"{split}.json", coco)
            manifest["splits"][split] = split_record(split, coco)
            for image in coco["images"]:
                file = Path("images", split, image["file_name"])
                place_file(scenes / file, work / file)
        manifest |= {"name": "scenes_person", "classes": [PERSON]}
        manifest["negatives"] = _share_without(manifest["splits"])
        write_json(work / "manifest.json", manifest)


def persons_alone(coco: dict) -> dict:
    """A COCO dictionary of the scenes with the category person, now number 1, and its objects."""
    (person,) = (c for c in coco["categories"] if c["name"] == PERSON)
    persons = [a for a in coco["annotations"] if a["category_id"] == person["id"]]
    return {
        **coco,
        "annotations": [a | {"category_id": 1} for a in persons],
        "categories": [person | {"id": 1}],
    }


def _share_without(splits: Mapping[str, dict]) -> float:
    """Share (0-1) of all images that show nobody."""
    negatives = sum(split["num_negatives"] for split in splits.values())
    return round(negatives / sum(split["num_images"] for split in splits.values()), 4)
