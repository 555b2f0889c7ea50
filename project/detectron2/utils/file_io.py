"""Files by path or URL; follows ``detectron2.utils.file_io``.

`PathManager` opens local paths, ``http(s)://`` URLs (downloaded once, cached by iopath in
``$FVCORE_CACHE`` or ``~/.torch/iopath_cache``) and ``detectron2://`` names. `checkpoint` adds
``catalog://``.
"""

from __future__ import annotations

from iopath.common.file_io import HTTPURLHandler, PathHandler
from iopath.common.file_io import PathManager as _PathManager

__all__ = ["PathHandler", "PathManager", "RedirectHandler"]


class RedirectHandler(PathHandler):
    """Paths with a prefix of their own that stand for URLs; a subclass says for which ones."""

    _PREFIX: str

    def _url(self, name: str) -> str:
        """The URL of the path ``_PREFIX + name``."""
        raise NotImplementedError

    def _get_supported_prefixes(self) -> list[str]:
        return [self._PREFIX]

    def _get_local_path(self, path: str, force: bool = False, **kwargs) -> str:
        url = self._url(path.removeprefix(self._PREFIX))
        return PathManager.get_local_path(url, force=force, **kwargs)

    def _open(self, path: str, mode: str = "r", buffering: int = -1, **kwargs):
        return PathManager.open(
            self._url(path.removeprefix(self._PREFIX)), mode, buffering, **kwargs
        )


class _ModelZooHandler(RedirectHandler):
    """``detectron2://X`` is the file ``X`` of Detectron2's public storage."""

    _PREFIX = "detectron2://"

    def _url(self, name: str) -> str:
        return f"https://dl.fbaipublicfiles.com/detectron2/{name}"


PathManager = _PathManager()
PathManager.register_handler(HTTPURLHandler())
PathManager.register_handler(_ModelZooHandler())
