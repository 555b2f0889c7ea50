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
    assert table["unknown"] == "RuntimeError"
    for name in [*unpublished, "nope.yaml"]:
        with pytest.raises(RuntimeError):
            model_zoo.get_checkpoint_url(name)


@pytest.mark.bundled
@pytest.mark.parametrize("name", ["mask_rcnn_R_50_FPN_3x", "COCO-InstanceSegmentation/nope.yaml"])
def test_the_error_names_what_there_is(name):
    with pytest.raises(RuntimeError, match=f"{name}.*mask_rcnn_R_101_FPN_3x.yaml"):
        model_zoo.get_checkpoint_url(name)


@pytest.fixture
def address_of(monkeypatch):
    """``address_of(path)`` → the URL that would be downloaded for it."""
    import detectron2.checkpoint  # noqa: F401  (registers catalog://)
    from detectron2.utils.file_io import PathManager
    from iopath.common.file_io import HTTPURLHandler

    monkeypatch.setattr(HTTPURLHandler, "_get_local_path", lambda self, url, **_: url)
    return PathManager.get_local_path


def test_catalog_paths_lead_to_old_backbones(table, address_of):
    prefix = "catalog://ImageNetPretrained/"
    catalog = table[prefix]
    assert len(catalog) == 5
    assert {key: address_of(prefix + key) for key in catalog} == catalog
    with pytest.raises(RuntimeError, match="MSRA/R-7"):
        address_of(prefix + "MSRA/R-7")


def test_model_zoo_paths_lead_to_the_public_storage(table, address_of):
    paths = table["imagenet_used_by_configs"]
    storage = table["detectron2:// prefix"]
    assert len(paths) == 3
    for path in paths:
        assert address_of(path) == path.replace("detectron2://", storage)


@pytest.mark.bundled
def test_importing_needs_no_pkg_resources():
    """New setuptools has no pkg_resources; upstream's model zoo can't be imported without it."""
    code = (
        "import sys; sys.modules['pkg_resources'] = None; import project; "
        "from detectron2 import model_zoo; print('torch' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPO)
    assert (result.stdout.strip(), result.stderr) == ("False", "")
