"""Tools that every other sub-package uses; follows the API of ``detectron2.utils``.

The modules are imported when they are first asked for, so that ``detectron2.utils.comm`` doesn't
pull matplotlib in with the visualizer.
"""

import importlib

__all__ = [
    "collect_env",
    "comm",
    "env",
    "events",
    "file_io",
    "logger",
    "memory",
    "registry",
    "visualizer",
]


def __getattr__(name: str):
    if name in __all__:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
