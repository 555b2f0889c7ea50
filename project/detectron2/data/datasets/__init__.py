"""Readers of annotation files; importing them registers nothing.

Follows the API of ``detectron2.data.datasets``.
"""

from .coco import load_coco_json, register_coco_instances
from .coco_export import convert_to_coco_json
from .sem_seg import load_sem_seg

__all__ = ["convert_to_coco_json", "load_coco_json", "load_sem_seg", "register_coco_instances"]
