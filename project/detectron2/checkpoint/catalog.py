"""``catalog://`` names of old Detectron's backbones (API of ``detectron2.checkpoint.catalog``)."""

from __future__ import annotations

from ..utils.file_io import PathManager, RedirectHandler

__all__ = ["ModelCatalog"]

_FOLDER = "ImageNetPretrained/"
_STORAGE = "https://dl.fbaipublicfiles.com/detectron/ImageNetPretrained"
_FILES = {
    "MSRA/R-50": "MSRA/R-50.pkl",
    "MSRA/R-101": "MSRA/R-101.pkl",
    "FAIR/R-50-GN": "47261647/R-50-GN.pkl",
    "FAIR/R-101-GN": "47592356/R-101-GN.pkl",
    "FAIR/X-101-32x8d": "20171220/X-101-32x8d.pkl",
}


class ModelCatalog:
    """Names of published backbones."""

    @staticmethod
    def get(name: str) -> str:
        """Address of ``ImageNetPretrained/NAME``.

        Raises:
            RuntimeError: for a name that isn't in the catalog.
        """
        file = _FILES.get(name.removeprefix(_FOLDER)) if name.startswith(_FOLDER) else None
        if file is None:
            known = ", ".join(_FOLDER + key for key in _FILES)
            raise RuntimeError(f"the model catalog has no {name!r}; it has {known}")
        return f"{_STORAGE}/{file}"


class _CatalogHandler(RedirectHandler):
    _PREFIX = "catalog://"

    def _url(self, name: str) -> str:
        return ModelCatalog.get(name)


PathManager.register_handler(_CatalogHandler())
