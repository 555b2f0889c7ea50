"""Networks of Hugging Face's `transformers`, made from their settings, with random weights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from project.errors import UserError, one_line, unknown_name

from torch import nn

# Those with four feature maps of strides 4, 8, 16 and 32. Mask2Former's own is Swin.
BACKBONES = ("swin", "resnet", "convnext")
_STAGES = ["stage1", "stage2", "stage3", "stage4"]
_GROUPS = 32  # of the pixel decoder's group norms


def build_mask2former(num_classes: int, backbone: Mapping[str, Any], **settings) -> nn.Module:
    """Mask2Former (Cheng et al. 2022) of `transformers`, ``Mask2FormerForUniversalSegmentation``.

    Args:
        num_classes: without "no object".
        backbone: ``model_type``, one of `BACKBONES`, and arguments of its configuration
            (``SwinConfig``, ``ResNetConfig``, ``ConvNextConfig``).
        settings: of ``Mask2FormerConfig``, e.g. ``num_queries`` or ``decoder_layers``.

    Raises:
        UserError: without transformers, or for a backbone, setting or size that it doesn't have.
    """
    transformers = import_transformers()
    if num_classes < 1:
        raise UserError(f"num_classes={num_classes} must be at least 1")
    # What stands for no names in transformers; the dataset has them.
    names = {number: f"LABEL_{number}" for number in range(num_classes)}
    own = {
        "backbone_config": _backbone_config(transformers, dict(backbone)),
        "id2label": names,
        "label2id": {name: number for number, name in names.items()},
        "use_auxiliary_loss": True,  # without it the network can't be evaluated
    }
    kind = transformers.Mask2FormerConfig
    _check_names("setting of Mask2Former", settings, set(_fields(kind)) - own.keys())
    with quiet(transformers):  # of backbones beside Swin it says that they may not work
        config = _config(kind, {**own, **settings})
        _check_sizes(config)
        network = transformers.Mask2FormerForUniversalSegmentation(config)
    forget_unused(network)
    return network


def import_transformers() -> ModuleType:
    """`transformers`, or a `UserError` that names the extra which installs it."""
    try:
        import transformers
    except ImportError as error:
        raise UserError(
            f"Mask2Former needs transformers ({error}): pip install -e '.[detr]'"
        ) from error
    return transformers


def forget_unused(network: nn.Module) -> None:
    """Leave out what has no gradient, or isn't learnt, from a Mask2Former's parameters and state.

    Swin's last norm isn't on the way to the feature maps: DistributedDataParallel would wait for
    its gradient. The weights of the classes in the loss follow from the settings.
    """
    encoder = network.model.pixel_level_module.encoder
    if hasattr(encoder, "swin"):
        encoder.swin.layernorm = nn.Identity()
    criterion = network.criterion
    criterion.register_buffer("empty_weight", criterion.empty_weight, persistent=False)


def _backbone_config(transformers: ModuleType, options: dict[str, Any]):
    name = options.pop("model_type", None)
    if name not in BACKBONES:
        raise UserError(unknown_name("model_type of Mask2Former's backbone", name, BACKBONES))
    kind = transformers.CONFIG_MAPPING[name]
    _check_names(f"setting of the backbone {name}", options, _fields(kind))
    return _config(kind, {"out_features": _STAGES, **options})


def _config(kind: type, options: Mapping[str, Any]):
    """A configuration of transformers, which checks the types of its settings."""
    from huggingface_hub.errors import StrictDataclassError

    plain = {key: list(x) if _is_list(x) else x for key, x in options.items()}
    try:
        return kind(**plain)
    except (StrictDataclassError, ValueError) as error:
        raise UserError(f"settings of {kind.__name__}: {one_line(error)}") from error


def _is_list(value: Any) -> bool:  # the lists of LazyConfig files are of a type of their own
    return isinstance(value, Sequence) and not isinstance(value, str)


def _fields(config: type) -> Iterable[str]:
    return config.__dataclass_fields__


def _check_names(what: str, given: Iterable[str], known: Iterable[str]) -> None:
    known = set(known)
    for name in given:  # transformers would keep an unknown one and do nothing with it
        if name not in known:
            raise UserError(unknown_name(what, name, sorted(known)))


def _check_sizes(config) -> None:
    if config.feature_size % _GROUPS:
        raise UserError(f"feature_size={config.feature_size} must be a multiple of {_GROUPS}")
    for name in ("feature_size", "hidden_dim"):
        if getattr(config, name) % config.num_attention_heads:
            raise UserError(
                f"{name}={getattr(config, name)} must be a multiple of "
                f"num_attention_heads={config.num_attention_heads}"
            )


@contextmanager
def quiet(transformers: ModuleType) -> Iterator[None]:
    """Within it transformers logs errors only."""
    before = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers.logging.set_verbosity(before)
