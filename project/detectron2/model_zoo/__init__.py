"""Addresses of published weights (API of ``detectron2.model_zoo``).

Better than upstream: no ``pkg_resources`` (gone from new setuptools), and unknown names tell the
known ones.
"""

from .model_zoo import get_checkpoint_url

__all__ = ["get_checkpoint_url"]
