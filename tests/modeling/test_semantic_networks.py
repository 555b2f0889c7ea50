"""Networks of segmentation-models-pytorch under the model, and the hub out of reach."""

from __future__ import annotations

import copy
import socket
import subprocess
import sys
from pathlib import Path

import project  # noqa: F401 - makes `detectron2` importable
from project.errors import UserError
from project.modeling import semantic
from project.modeling.checkpointing import checkpoint_activations
from project.modeling.hub import from_hub
from project.modeling.semantic import SemanticSegmenter, build_smp
from project.modeling.semantic_losses import SemanticLoss
from project.modeling.semantic_networks import ARCHITECTURES

import pytest
import torch
from detectron2.config import LazyConfig, instantiate
from omegaconf import OmegaConf

smp = pytest.importorskip("segmentation_models_pytorch")

CONFIG = str(Path(__file__).resolve().parents[2] / "configs/common/models/semantic.py")

# Size 64 leaves features of 2x2, or 1x1 behind the pooling of DeepLab.
LIGHT = [
    ("Unet", "resnet18", 14.33),
    ("DeepLabV3Plus", "tu-mobilenetv3_large_100", 4.71),
    ("FPN", "efficientnet-b0", 5.35),
    ("Unet", "timm-mobilenetv3_small_050", None),
]


def model_of(architecture: str, encoder: str, num_classes: int = 2, **options) -> SemanticSegmenter:
    network = build_smp(architecture, encoder, num_outputs=num_classes + 1, **options)
    return SemanticSegmenter(
        network, num_classes, SemanticLoss(num_classes), [120.0] * 3, [60.0] * 3
    )


def train_and_evaluate(model: SemanticSegmenter, size: int = 64) -> None:
    """A step on one image leaves every parameter with a gradient; then probabilities come out."""
    pixels = torch.randint(0, 256, (3, size, size), dtype=torch.uint8)
    labels = torch.randint(0, 3, (size, size))
    losses = model.train()([{"image": pixels, "sem_seg": labels}])
    sum(losses.values()).backward()
    missing = [name for name, p in model.named_parameters() if p.grad is None]
    assert missing == []
    with torch.no_grad():
        result = model.eval()([{"image": pixels[:, 7:], "height": 30, "width": 50}])[0]["sem_seg"]
    assert result.shape == (3, 30, 50)
    torch.testing.assert_close(result.sum(0), torch.ones(30, 50))


@pytest.mark.parametrize(("architecture", "encoder", "millions"), LIGHT)
def test_light_networks_train_on_one_image(architecture, encoder, millions):
    model = model_of(architecture, encoder)
    train_and_evaluate(model)
    if millions:
        count = sum(p.numel() for p in model.parameters()) / 1e6
        assert count == pytest.approx(millions, abs=0.005)


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture(architecture):
    size = 160 if architecture == "PAN" else 64  # its decoder pools thrice more
    train_and_evaluate(model_of(architecture, "efficientnet-b0"), size)


def test_a_resnets_activations_can_be_computed_again():
    model = model_of("Unet", "resnet18")
    other = copy.deepcopy(model)
    assert checkpoint_activations(other.backbone) == 8
    assert list(model.state_dict()) == list(other.state_dict())
    pixels = torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8)
    item = {"image": pixels, "sem_seg": torch.randint(0, 3, (64, 64))}
    for net in (model, other):
        sum(net([item]).values()).backward()
    for a, b in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(a.grad, b.grad)
    assert all(map(torch.equal, model.state_dict().values(), other.state_dict().values()))


def test_dropping_what_is_unused_changes_no_output():
    torch.manual_seed(0)
    ours = build_smp("PSPNet", "efficientnet-b0", num_outputs=3).eval()
    torch.manual_seed(0)
    theirs = smp.PSPNet("efficientnet-b0", encoder_weights=None, classes=3).eval()
    x = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        assert torch.equal(ours(x), theirs(x))
    sizes = [sum(p.numel() for p in net.parameters()) for net in (ours, theirs)]
    assert sizes[0] < sizes[1] / 2  # the decoder reads half of the encoder only
    state = theirs.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in ours.state_dict().items())


def test_building_takes_random_numbers_for_the_weights_only():
    states = []
    for build, classes in ((build_smp, "num_outputs"), (smp.create_model, "classes")):
        torch.manual_seed(0)
        build("Unet", "resnet18", encoder_weights=None, **{classes: 2})
        states.append(torch.get_rng_state())
    assert torch.equal(*states)


def test_unknown_names_are_told():
    cases = [
        (("Unett",), "unknown architecture 'Unett'; did you mean 'Unet'"),
        (("Unet", "resnt34"), "unknown encoder 'resnt34'; did you mean 'resnet34'.*tu-NAME"),
        (("Unet", "tu-mobilnetv3_large_100"), "did you mean 'tu-mobilenetv3_large_100'"),
        (("Unet", "tu-hf-hub:me/mine"), "unknown encoder"),
        (("Unet", "resnet34", "imagnet"), "resnet34: unknown encoder_weights 'imagnet'; did you"),
        (("Unet", "tu-resnet18", "swsl"), r"no weights 'swsl'.*tu-resnet18.fb_swsl_ig1b_ft_in1k"),
    ]
    for arguments, message in cases:
        with pytest.raises(UserError, match=message):
            build_smp(*arguments, num_outputs=2)
    with pytest.raises(UserError, match="logits only; leave out activation"):
        build_smp("Unet", num_outputs=2, activation="sigmoid")


def test_sizes_that_a_network_cannot_take_are_told():
    network = build_smp("FPN", "tu-mobilenetv3_small_050", num_outputs=2)
    with pytest.raises(UserError, match="size_divisibility=16: FPN needs a multiple of 32"):
        SemanticSegmenter(network, 1, SemanticLoss(1), [0] * 3, [1] * 3, size_divisibility=16)


@pytest.fixture
def offline(monkeypatch):
    """No host has an address, and nothing was downloaded before."""
    from huggingface_hub import constants

    def nowhere(*args, **kwargs):
        raise socket.gaierror("Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", nowhere)
    monkeypatch.setattr("urllib.request.getproxies", dict)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", "/nowhere")
    return constants


@pytest.mark.parametrize("encoder", ["resnet18", "tu-mobilenetv3_small_050"])
def test_without_the_hub_the_remedy_is_told(offline, encoder):
    with pytest.raises(
        UserError,
        match=rf"weights 'imagenet' of {encoder} can't be had from https.*"
        r"model\.network\.encoder_weights=null$",
    ) as caught:
        build_smp("Unet", encoder, "imagenet", num_outputs=2)
    assert "\n" not in str(caught.value)
    assert offline.HF_HUB_OFFLINE is False


def test_other_mistakes_stay_what_they_are(offline):
    with pytest.raises(TypeError), from_hub("weights", "do without"):
        raise TypeError
    behind = RuntimeError("the disk is full. Buy another")
    behind.__cause__ = OSError()
    message = r"^w can't be had from https://\S+ \(the disk is full\); .*, or do without$"
    with pytest.raises(UserError, match=message), from_hub("w", "do without"):
        raise behind
    with from_hub("weights", "do without"):
        assert offline.HF_HUB_OFFLINE is True
    assert offline.HF_HUB_OFFLINE is False


def test_a_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "segmentation_models_pytorch", None)
    with pytest.raises(UserError, match=r"pip install -e '\.\[semantic\]'$"):
        build_smp("Unet", num_outputs=2)


def test_the_package_is_imported_where_it_is_used():
    code = (
        f"import {semantic.__name__}, sys; "
        f"print([m for m in ('segmentation_models_pytorch', 'timm', 'torchvision', "
        f"'huggingface_hub') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_models_of_the_configs_follow_the_number_of_classes():
    nodes = OmegaConf.to_container(LazyConfig.load(CONFIG), resolve=False)
    models = {k: v for k, v in nodes.items() if isinstance(v, dict) and "network" in v}
    assert {"unet_R34", "deeplabv3plus_R50", "deeplabv3plus_R101", "fpn_R50"} <= set(models)
    for model in models.values():
        assert model["num_classes"]["subset"] == "${dataset.name}"
        assert model["network"]["num_outputs"]["num_classes"] == "${...num_classes}"
        assert model["input_format"] == "RGB"
    for classes, sigmoid, outputs in [(1, True, 1), (1, False, 2), (4, True, 5)]:
        model = LazyConfig.load(CONFIG).unet_mobilenetv3
        model.network.encoder_name, model.network.encoder_weights = "tu-mobilenetv3_small_050", None
        model.network.num_outputs.sigmoid = sigmoid
        model.num_classes = classes
        built = instantiate(model)
        assert (built.num_classes, built.loss.num_classes) == (classes, classes)
        assert built.network.segmentation_head[0].out_channels == outputs
