"""Optimizers. Normalisation layers take no weight decay; ``params.model`` is set by the trainer."""

from project.engine.optimizer import adam, adamw, lr_factors, sgd

from detectron2.config import LazyCall as L
from detectron2.solver import get_default_optimizer_params


def parameters(**options):
    return L(get_default_optimizer_params)(
        base_lr="${..lr}",
        weight_decay_norm=0.0,
        lr_factor_func=L(lr_factors)(layer_decay=1.0, backbone=1.0),
        **options,
    )


SGD = L(sgd)(params=parameters(), lr=0.02, momentum=0.9, weight_decay=1e-4, max_norm=None)
Adam = L(adam)(params=parameters(), lr=1e-3, weight_decay=0.0, max_norm=None)
AdamW = L(adamw)(params=parameters(weight_decay_bias=0.0), lr=1e-4, weight_decay=0.05, max_norm=1.0)
