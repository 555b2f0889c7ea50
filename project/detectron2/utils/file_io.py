"""Files by path or URL; follows ``detectron2.utils.file_io``.

`PathManager` opens local paths, ``http(s)://`` URLs (downloaded once, cached by iopath in
``$FVCORE_CACHE`` or ``~/.torch/iopath_cache``) and ``detectron2://`` names. `checkpoint` adds
``catalog://``.
"""

from __future__ import annotations

from iopath.common.file_io import HTTPURLHandler, PathHandler
from iopath.common.file_io import PathManager as _PathManager

__all__ = ["PathHandler", "PathManager"]


class _ModelZooHandler(PathHandler):
    """``detectron2://X`` is the file ``X`` of Detectron2's public storage."""

    _PREFIX = "detectron2://"
    _STORAGE = "https://dl.fbaipublicfiles.com/detectron2/"

    def _url(self, path: str) -> str:
        return self._STORAGE + path.removeprefix(self._PREFIX)

    def _get_supported_prefixes(self) -> list[str]:
        return [self._PREFIX]

    def _get_local_path(self, path: str, force: bool = False, **kwargs) -> str:
        return PathManager.get_local_path(self._url(path), force=force, **kwargs)

    def _open(self, path: str, mode: str = "r", buffering: int = -1, **kwargs):
        return PathManager.open(self._url(path), mode, buffering, **kwargs)


PathManager = _PathManager()
PathManager.register_handler(HTTPURLHandler())
PathManager.register_handler(_ModelZooHandler())
