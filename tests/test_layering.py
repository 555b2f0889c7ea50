"""The arrows between the rooms, and the names we take from `detectron2`, read from the source."""

import ast
import json
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[1]
# Each room and the rooms it may import, besides itself; `errors` and the package itself are free.
ARROWS = {
    "data": {"detectron2"},
    "modeling": {"detectron2"},
    "evaluation": {"detectron2", "data", "modeling"},
    "visualization": {"detectron2", "data", "modeling", "evaluation"},
    "engine": {"detectron2", "data", "modeling", "evaluation", "visualization"},
    "applications": {"detectron2", "data", "modeling", "evaluation", "visualization", "engine"},
}
ARROWS["experiments"] = set(ARROWS["applications"])
ARROWS["benchmarks"] = set(ARROWS["applications"]) | {"applications"}
NAMES = json.loads((REPO / "tests/detectron2_names.json").read_text())
SOURCES = sorted(
    p
    for folder in ("project", "configs", "tools", "datasets", "tests")
    for p in (REPO / folder).rglob("*.py")
)


def imports(path: Path):
    """``(module, names, level, line)`` of each import statement, inner ones included."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, (), 0, node.lineno
        elif isinstance(node, ast.ImportFrom):
            yield node.module or "", tuple(a.name for a in node.names), node.level, node.lineno


def room_of(path: Path) -> str:
    parts = path.relative_to(REPO).parts
    return parts[1].removesuffix(".py") if parts[0] == "project" else parts[0]


def rooms_imported(path: Path):
    for module, names, _, line in imports(path):
        if module == "detectron2" or module.startswith("detectron2."):
            yield "detectron2", line
        elif module == "project":
            yield from ((name, line) for name in names if name in ARROWS or name == "detectron2")
        elif module.startswith("project."):
            yield module.split(".")[1], line


@pytest.mark.parametrize("room", sorted(ARROWS))
def test_arrows_point_one_way(room):
    allowed = ARROWS[room] | {room, "errors"}
    wrong = [
        f"{path.relative_to(REPO)}:{line} imports {other}"
        for path in SOURCES
        if path.is_relative_to(REPO / "project" / room)
        for other, line in rooms_imported(path)
        if other not in allowed
    ]
    assert not wrong


def test_the_bundle_imports_itself_relatively_and_nothing_of_ours():
    wrong = [
        f"{path.relative_to(REPO)}:{line} imports {module}"
        for path in SOURCES
        if path.is_relative_to(REPO / "project/detectron2")
        for module, _, level, line in imports(path)
        if level == 0 and module.split(".")[0] in ("project", "detectron2")
    ]
    assert not wrong


def test_nobody_imports_tools_datasets_or_configs():
    wrong = [
        f"{path.relative_to(REPO)}:{line}"
        for path in SOURCES
        for module, _, level, line in imports(path)
        if level == 0 and module.split(".")[0] in ("tools", "datasets", "configs")
    ]
    assert not wrong


def test_our_code_reaches_the_bundle_only_as_detectron2():
    wrong = [
        f"{path.relative_to(REPO)}:{line}"
        for path in SOURCES
        if not path.is_relative_to(REPO / "project/detectron2")
        for module, names, _, line in imports(path)
        if module.startswith("project.detectron2")
        or (module == "project" and "detectron2" in names)
    ]
    assert not wrong


def known(module: str, name: str) -> bool:
    """Whether the contract lists ``name`` under ``module``, or as a sub-module of it."""
    inner = module.removeprefix("detectron2").removeprefix(".")
    listed = NAMES.get(inner, [])
    return name in listed or ".".join(filter(None, (inner, name))) in NAMES


@pytest.mark.parametrize("folder", ["project", "configs", "tools", "datasets", "tests"])
def test_every_detectron2_name_in_use_is_in_the_contract(folder):
    wrong = [
        f"{path.relative_to(REPO)}:{line} {module}.{name}"
        for path in SOURCES
        if path.is_relative_to(REPO / folder)
        for module, names, level, line in imports(path)
        if level == 0 and module.split(".")[0] == "detectron2"
        for name in names
        if not known(module, name)
    ]
    assert not wrong


def test_the_bundle_has_every_name_of_the_contract():
    import importlib

    import project  # noqa: F401

    missing = []
    for module, names in NAMES.items():
        loaded = importlib.import_module(f"detectron2.{module}" if module else "detectron2")
        missing += [f"{module}.{name}" for name in names if not hasattr(loaded, name)]
    assert not missing


# The modules of the contract's table 0.1 that have a parent package other than `detectron2` itself.
INNER_ROWS = [
    name
    for name in NAMES
    if name.startswith("modeling.")
    or name in ("config.lazy", "structures.boxes", "layers.mask_ops", "layers.batch_norm")
    or name in ("engine.defaults", "evaluation.testing", "solver.build")
]


@pytest.mark.bundled
@pytest.mark.parametrize("module", INNER_ROWS)
def test_names_are_reached_from_the_parent_package_too(module):
    import importlib

    import project  # noqa: F401

    parent = importlib.import_module(f"detectron2.{module.rpartition('.')[0]}")
    assert [name for name in NAMES[module] if not hasattr(parent, name)] == []


def test_transformers_does_not_take_the_bundle_for_the_real_one():
    import project

    import detectron2.modeling

    if project.detectron2_source() == "installed":
        pytest.skip("the real one has the registry")
    assert not hasattr(detectron2.modeling, "META_ARCH_REGISTRY")
