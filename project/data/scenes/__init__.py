"""Built-in scenes: seeded, drawn pictures of cakes, cars, dogs and people with exact masks."""

from project.data.scenes.dataset import (
    DEFAULT_SIZES,
    GENERATOR_VERSION,
    make_scenes,
    scene_record,
    scenes_version,
)
from project.data.scenes.scene import SCENES_CLASSES, Scene, SceneObject, draw_scene

__all__ = [
    "DEFAULT_SIZES",
    "GENERATOR_VERSION",
    "SCENES_CLASSES",
    "Scene",
    "SceneObject",
    "draw_scene",
    "make_scenes",
    "scene_record",
    "scenes_version",
]
