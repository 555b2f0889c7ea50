"""Writes configs: YAML that loads back, and code that people read.

Follows ``save`` and ``to_py`` of ``detectron2.config.lazy``. Better than upstream: configs that
can't be deep-copied are saved, a target that no name leads back to is noticed, and ``to_py`` takes
targets that are strings.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from ..utils.file_io import PathManager
from .execute import as_config
from .naming import dotted_name, is_name_of

__all__ = ["save", "to_py"]

logger = logging.getLogger(__name__)


def save(cfg: DictConfig, filename: str) -> None:
    """Write ``cfg`` as YAML to `filename`; the config itself stays as it is.

    Callable targets become names, interpolations stay unresolved. What YAML can't bring back
    (lambdas, local functions) is logged, and the config is pickled to ``filename + ".pkl"`` too:
    for the person who wants it, as nothing here ever opens such a pickle.
    """
    plain = OmegaConf.to_container(as_config(cfg), resolve=False)
    lost: list[str] = []
    try:
        text = _dump(_with_names(plain, lost))
    except Exception:
        logger.exception("The config can't be written as YAML to %s", filename)
        _pickle(cfg, filename + ".pkl")
        return
    with PathManager.open(filename, "w", encoding="utf-8") as file:
        file.write(text)
    if reason := _why_not_loadable(text, lost):
        logger.warning("%s won't give the config back: %s", filename, reason)
        _pickle(cfg, filename + ".pkl")


def to_py(cfg: DictConfig, prefix: str = "cfg.") -> str:
    """Pseudo code of ``cfg`` to read, one ``cfg.path = value`` a line, keys sorted.

    Lazy calls are written as calls, interpolations with their values. Lines are wrapped by `black`
    where it is installed.
    """
    plain = OmegaConf.to_container(as_config(cfg), resolve=True)
    text = "".join(f"{line}\n" for line in _assignments(plain, prefix.rstrip(".")))
    try:
        import black
    except ImportError:
        return text
    return black.format_str(text, mode=black.Mode())


def _dump(plain: dict) -> str:
    import yaml

    return yaml.dump(plain, default_flow_style=None, allow_unicode=True, width=9999)


def _with_names(node: Any, lost: list[str]) -> Any:
    """Copy with names for callable targets; ``lost`` collects the names that lead nowhere."""
    if isinstance(node, list):
        return [_with_names(item, lost) for item in node]
    if not isinstance(node, dict):
        return node
    named = {key: _with_names(value, lost) for key, value in node.items()}
    target = node.get("_target_")
    if callable(target) and (name := dotted_name(target)) is not None:
        named["_target_"] = name
        if not is_name_of(name, target):
            lost.append(name)
    return named


def _why_not_loadable(text: str, lost: list[str]) -> str:
    import yaml

    if lost:
        return f"nothing that can be imported is called {', '.join(lost)}"
    try:
        yaml.unsafe_load(text)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def _pickle(cfg: DictConfig, filename: str) -> None:
    import cloudpickle

    try:
        data = cloudpickle.dumps(cfg)
    except Exception as error:
        logger.warning("The config can't be pickled to %s either: %s", filename, error)
        return
    with PathManager.open(filename, "wb") as file:
        file.write(data)
    logger.warning("The config is pickled to %s", filename)


def _assignments(node: Any, path: str) -> Iterator[str]:
    if isinstance(node, Mapping) and node and "_target_" not in node:
        for key in sorted(node, key=str):
            way = f".{key}" if str(key).isidentifier() else f"[{_code(key)}]"
            yield from _assignments(node[key], path + way)
    else:
        yield f"{path} = {_code(node)}"


def _code(node: Any) -> str:
    """``node`` as an expression; text in double quotes, as `black` likes it."""
    if isinstance(node, Mapping) and "_target_" in node:
        arguments = (f"{k}={_code(node[k])}" for k in sorted(node, key=str) if k != "_target_")
        return f"{_target_code(node['_target_'])}({', '.join(arguments)})"
    if isinstance(node, Mapping):
        entries = (f"{_code(key)}: {_code(node[key])}" for key in sorted(node, key=str))
        return f"{{{', '.join(entries)}}}"
    if isinstance(node, list):
        return f"[{', '.join(map(_code, node))}]"
    if isinstance(node, str):
        text = repr(node)
        return text if text.startswith('"') or '"' in node else f'"{text[1:-1]}"'
    return repr(node)


def _target_code(target: Any) -> str:
    if isinstance(target, str):
        return target
    if isinstance(target, Mapping):  # a target that is itself described
        return f"({_code(target)})"
    return dotted_name(target) or repr(target)
