"""Built-in scenes: seeded, drawn pictures of cakes, cars, dogs and people with exact masks."""

from project.data.scenes.dataset import (
    DEFAULT_SIZES,
    FIRST_INDEX,
    GENERATOR_VERSION,
    make_scenes,
    scenes_version,
)
from project.data.scenes.layers import MIN_VISIBLE
from project.data.scenes.persons import make_person_scenes
from project.data.scenes.records import scene_record
from project.data.scenes.scene import (
    SCENES_CLASSES,
    Scene,
    SceneObject,
    draw_scene,
)

__all__ = [
    "DEFAULT_SIZES",
    "FIRST_INDEX",
    "GENERATOR_VERSION",
    "MIN_VISIBLE",
    "SCENES_CLASSES",
    "Scene",
    "SceneObject",
    "draw_scene",
    "make_person_scenes",
    "make_scenes",
    "scene_record",
    "scenes_version",
]
