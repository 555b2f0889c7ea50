"""Weights of transformers as checkpoints: folders, the hub, other classes, what is refused."""

import json

from project.engine.pretrained import load_pretrained
from project.errors import UserError
from project.modeling.transformers_network import build_mask2former
from project.modeling.transformers_segmenter import TransformersSegmenter
from project.modeling.transformers_weights import read_weights

import pytest
import torch
from detectron2.checkpoint import DetectionCheckpointer

RESNET = dict(
    model_type="resnet", layer_type="basic", embedding_size=8, hidden_sizes=[8, 16, 24, 32],
    depths=[1, 1, 1, 1],
)  # fmt: skip
TINY = dict(
    feature_size=32, mask_feature_size=32, hidden_dim=32, encoder_feedforward_dim=32,
    dim_feedforward=32, num_attention_heads=2, encoder_layers=1, decoder_layers=2, num_queries=6,
)  # fmt: skip
NAMES = ["dog", "person", "cat"]
HEAD = "network.class_predictor.weight"


def make(num_classes, seed=0):
    torch.manual_seed(seed)
    network = build_mask2former(num_classes, RESNET, **TINY)
    return TransformersSegmenter(network, num_classes, [0.0] * 3, [255.0] * 3)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "transformers"


@pytest.fixture
def source():
    return make(3, seed=1)


@pytest.fixture
def folder(source, tmp_path):
    source.network.config.id2label = dict(enumerate(NAMES))
    source.network.config.label2id = {name: k for k, name in enumerate(NAMES)}
    source.network.save_pretrained(tmp_path / "saved")
    return tmp_path / "saved"


def assert_same_state(one, other, *, but=()):
    one, other = one.state_dict(), other.state_dict()
    assert one.keys() == other.keys()
    different = {name for name in one if not torch.equal(one[name], other[name])}
    assert different == set(but)


def test_a_checkpoint_of_ours_goes_round(source, tmp_path):
    DetectionCheckpointer(source, str(tmp_path)).save("all")
    model = make(3)
    left = DetectionCheckpointer(model).load(str(tmp_path / "all.pth"))
    assert_same_state(model, source)
    assert not left.get("incompatible")
    picture = [{"image": torch.full((3, 40, 50), 90, dtype=torch.uint8)}]
    with torch.no_grad():
        mine, its = (m.eval()(picture)[0]["instances"].scores for m in (model, source))
    assert torch.equal(mine, its)


def test_a_folder_loads_as_a_checkpoint(source, folder):
    content = read_weights(str(folder))
    assert content["classes"] == NAMES
    model = make(3)
    transfer = load_pretrained(DetectionCheckpointer(model), f"transformers://{folder}", NAMES)
    assert_same_state(model, source)
    assert transfer.named_by == "the checkpoint"
    assert not transfer.fresh


def test_classes_are_found_by_name_and_the_others_start_fresh(source, folder):
    model, fresh = make(2), make(2)
    checkpointer = DetectionCheckpointer(model)
    transfer = load_pretrained(checkpointer, f"transformers://{folder}", ["person", "kite"])
    assert transfer.kept == {"person": ("person", 1)}
    assert transfer.fresh == ["kite"]
    assert transfer.cut == ["dog", "cat"]
    rows, theirs = model.state_dict()[HEAD], source.state_dict()[HEAD]
    assert torch.equal(rows[0], theirs[1])
    assert torch.equal(rows[1], fresh.state_dict()[HEAD][1])
    assert torch.equal(rows[2], theirs[3])  # no object
    other = [k for k in model.state_dict() if "class_predictor" not in k]
    assert all(torch.equal(model.state_dict()[k], source.state_dict()[k]) for k in other)


def test_weights_that_do_not_name_their_classes(source, tmp_path, caplog):
    source.network.save_pretrained(tmp_path / "nameless")
    assert "classes" not in read_weights(str(tmp_path / "nameless"))
    model, fresh = make(2), make(2)
    address = f"transformers://{tmp_path / 'nameless'}"
    transfer = load_pretrained(DetectionCheckpointer(model), address, ["person", "kite"])
    assert transfer.fresh == ["person", "kite"]
    assert "doesn't name its 3 classes" in caplog.text
    assert torch.equal(model.state_dict()[HEAD], fresh.state_dict()[HEAD])


def test_a_folder_is_converted_once_and_again_when_it_changes(source, folder, cache):
    address = f"transformers://{folder}"
    for _ in range(2):
        DetectionCheckpointer(make(3)).load(address)
        assert len(list(cache.iterdir())) == 1
    with torch.no_grad():
        source.network.class_predictor.weight.add_(1)
    source.network.save_pretrained(folder)
    model = make(3)
    DetectionCheckpointer(model).load(address)
    assert_same_state(model, source)


def test_without_a_network_one_line_tells_what_to_do(monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    name = "somebody/mask2former-of-nobody"
    with pytest.raises(UserError, match="train.init_checkpoint=transformers://FOLDER") as told:
        DetectionCheckpointer(make(2)).load(f"transformers://{name}")
    assert "\n" not in str(told.value)
    assert name in str(told.value)
    assert "train.init_checkpoint=''" in str(told.value)


@pytest.mark.parametrize("name", ["/no/such/folder", "./folder", "a/b/c", ""])
def test_a_folder_that_is_not_there(name):
    with pytest.raises(UserError, match="there is no folder"):
        read_weights(name)


def test_pickles_are_refused(source, folder):
    (folder / "model.safetensors").unlink()
    torch.save(source.network.state_dict(), folder / "pytorch_model.bin")
    with pytest.raises(UserError, match="can't be loaded: .*safetensors"):
        read_weights(str(folder))


def test_other_models_damaged_and_incomplete_ones_are_refused(source, folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "detr"}))
    with pytest.raises(UserError, match="model of type 'detr', and the weights of a mask2former"):
        read_weights(str(folder))
    (folder / "config.json").write_text(json.dumps({**config, "decoder_layers": 3}))
    with pytest.raises(UserError, match=r"lacks \d+ of the weights .*decoder\.layers\.1"):
        read_weights(str(folder))
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").write_bytes(b"no tensors")
    with pytest.raises(UserError, match="can't be loaded"):
        read_weights(str(folder))
