"""U-Nets, DeepLabs, FPNs of segmentation-models-pytorch, with its encoders or timm's."""

from __future__ import annotations

import warnings
from functools import partial

from project.errors import UserError, unknown_name
from project.modeling.checkpointing import BlockStage
from project.modeling.hub import from_hub

import torch
from torch import nn

# All give logits of the image's size for any size that is padded to their stride.
ARCHITECTURES = (
    "Unet",
    "UnetPlusPlus",
    "MAnet",
    "Linknet",
    "FPN",
    "PSPNet",
    "DeepLabV3",
    "DeepLabV3Plus",
    "PAN",
    "UPerNet",
    "Segformer",
)


def build_smp(
    architecture: str,
    encoder_name: str = "resnet34",
    encoder_weights: str | None = None,
    *,
    num_outputs: int,
    **options,
) -> nn.Module:
    """A network of segmentation-models-pytorch, without what it never uses.

    Args:
        architecture: one of `ARCHITECTURES`.
        encoder_name: the package's own ("resnet34", "efficientnet-b0", ...) or, after "tu-", a
            feature backbone of timm ("tu-mobilenetv3_large_100").
        encoder_weights: "imagenet" loads the encoder's from the hub; None starts at random.
        num_outputs: channels of the logits.
        options: of the package's class, e.g. ``decoder_channels``.

    Raises:
        UserError: if the package is missing, a name is unknown or the hub is out of reach.
    """
    smp = _import_smp()
    if architecture not in ARCHITECTURES:
        raise UserError(unknown_name("architecture", architecture, ARCHITECTURES))
    if refused := {"activation", "aux_params"} & set(options):
        raise UserError(f"build_smp: the network must give logits only; leave out {refused.pop()}")
    encoder, weights = _checked_encoder(encoder_name, encoder_weights)
    remedy = "start from random weights with model.network.encoder_weights=null"
    with warnings.catch_warnings():
        # Of the package's "timm-" names, which go on working.
        warnings.simplefilter("ignore", DeprecationWarning)
        build = partial(
            getattr(smp, architecture), encoder, classes=num_outputs, in_channels=3, **options
        )
        if weights is None:
            network = build(encoder_weights=None)
        else:
            with from_hub(f"the weights {encoder_weights!r} of {encoder_name}", remedy):
                network = build(encoder_weights=weights)
    _drop_unused(network, size=128 if architecture == "PAN" else 64)
    _mark_stages(network)
    return network


def _import_smp():
    try:
        import segmentation_models_pytorch as smp
    except ImportError as error:
        raise UserError(
            "semantic models need segmentation-models-pytorch; install it with "
            "pip install -e '.[semantic]'"
        ) from error
    return smp


def _checked_encoder(name: str, weights: str | None) -> tuple[str, str | bool | None]:
    """The package's name for an encoder and its weights."""
    from segmentation_models_pytorch.encoders import encoders

    if name.startswith("timm-") and name not in encoders:
        name = "tu-" + name.removeprefix("timm-")
    if name.startswith("tu-"):
        return name, _timm_weights(name, weights)
    if name not in encoders:
        raise UserError(f"{unknown_name('encoder', name, encoders)}; tu-NAME is timm's NAME")
    known = encoders[name]["pretrained_settings"]
    if weights is not None and weights not in known:
        raise UserError(f"encoder {name}: {unknown_name('encoder_weights', weights, known)}")
    return name, weights


def _timm_weights(name: str, weights: str | None) -> bool | None:
    """What the package takes as the weights of a ``tu-`` encoder, whose tag is in its name."""
    import timm

    model = name.removeprefix("tu-")
    if not timm.is_model(model):
        names = [f"tu-{x}" for x in timm.list_models()]
        raise UserError(unknown_name("encoder", name, names))
    if weights is None:
        return None
    if weights != "imagenet" or not timm.models.is_model_pretrained(model):
        known = [f"tu-{x}" for x in timm.list_pretrained(f"{model.partition('.')[0]}*")]
        raise UserError(
            f"encoder {name} has no weights {weights!r}; timm's are part of the name, with "
            f"encoder_weights=imagenet (known: {', '.join(known[:8]) or 'none'})"
        )
    return True


class _Idle(nn.Module):
    """In the place of a module that may be called, and whose result nobody uses."""

    def forward(self, x: torch.Tensor, *options) -> torch.Tensor:
        return x


def _drop_unused(network: nn.Module, size: int) -> None:
    """Put `_Idle` in the place of modules that the output doesn't depend on.

    Encoders come with layers for classification, or deeper ones than a decoder reads.
    DistributedDataParallel refuses parameters without gradients, and counts of them would be wrong.
    """
    network.eval()  # takes no random numbers and changes no statistics
    with torch.enable_grad():
        network(torch.zeros(1, 3, size, size)).sum().backward()
    _replace_idle(network)
    network.zero_grad(set_to_none=True)
    network.train()


def _replace_idle(module: nn.Module) -> None:
    for name, child in module.named_children():
        parameters = list(child.parameters())
        if parameters and all(p.grad is None for p in parameters):
            setattr(module, name, _Idle())
        else:
            _replace_idle(child)


def _mark_stages(network: nn.Module) -> None:
    """Make a ResNet's stages known to ``train.checkpoint_activations``."""
    from torchvision.models.resnet import BasicBlock, Bottleneck

    for module in network.modules():
        blocks = list(module) if type(module) is nn.Sequential else []
        if blocks and all(isinstance(block, BasicBlock | Bottleneck) for block in blocks):
            module.__class__ = BlockStage
