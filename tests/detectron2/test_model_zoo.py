"""Addresses of published weights, against the golden table."""

import subprocess
import sys
from pathlib import Path

import project  # noqa: F401

import pytest
from detectron2 import model_zoo

REPO = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def table(golden):
    return golden.json("model_zoo")


def test_published_configs_have_their_address(table):
    published = {name: url for name, url in table["checkpoint_urls"].items() if url}
    assert len(published) == 6
    assert {name: model_zoo.get_checkpoint_url(name) for name in published} == published


def test_other_configs_have_none(table):
    unpublished = [name for name, url in table["checkpoint_urls"].items() if url is None]
    assert len(unpublished) == 2
    for name in [*unpublished, "nope.yaml"]:
        with pytest.raises(RuntimeError):
            model_zoo.get_checkpoint_url(name)


@pytest.mark.bundled
@pytest.mark.parametrize("name", ["mask_rcnn_R_50_FPN_3x", "COCO-InstanceSegmentation/nope.yaml"])
def test_the_error_names_what_there_is(name):
    with pytest.raises(RuntimeError, match=f"{name}.*mask_rcnn_R_101_FPN_3x.yaml"):
        model_zoo.get_checkpoint_url(name)


def test_catalog_names_old_backbones(table):
    from detectron2.checkpoint.catalog import ModelCatalog

    catalog = table["catalog://ImageNetPretrained/"]
    assert {key: ModelCatalog.get(f"ImageNetPretrained/{key}") for key in catalog} == catalog
    with pytest.raises(RuntimeError, match="MSRA/R-7"):
        ModelCatalog.get("ImageNetPretrained/MSRA/R-7")


@pytest.mark.parametrize(
    "path, key",
    [
        ("catalog://ImageNetPretrained/MSRA/R-50", "MSRA/R-50"),
        ("catalog://ImageNetPretrained/FAIR/R-101-GN", "FAIR/R-101-GN"),
        ("detectron2://ImageNetPretrained/MSRA/R-50.pkl", None),
        ("detectron2://ImageNetPretrained/torchvision/R-50.pkl", None),
    ],
)
def test_paths_lead_to_addresses(table, monkeypatch, path, key):
    import detectron2.checkpoint  # noqa: F401  (registers catalog://)
    from detectron2.utils.file_io import PathManager
    from iopath.common.file_io import HTTPURLHandler

    asked = []
    monkeypatch.setattr(
        HTTPURLHandler, "_get_local_path", lambda self, url, **_: asked.append(url) or "/cached"
    )
    if key is None:
        assert path in table["imagenet_used_by_configs"]
        expected = path.replace("detectron2://", table["detectron2:// prefix"])
    else:
        expected = table["catalog://ImageNetPretrained/"][key]
    assert PathManager.get_local_path(path) == "/cached"
    assert asked == [expected]


@pytest.mark.bundled
def test_importing_needs_no_pkg_resources():
    """New setuptools has no pkg_resources; upstream's model zoo can't be imported without it."""
    code = (
        "import sys; sys.modules['pkg_resources'] = None; import project; "
        "from detectron2 import model_zoo; print('torch' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPO)
    assert (result.stdout.strip(), result.stderr) == ("False", "")
