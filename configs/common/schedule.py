"""Learning-rate schedules as multipliers of the optimizer's, over ``train.max_iter`` iterations."""

from project.engine.schedule import warmup_cosine, warmup_multistep, warmup_polynomial

from detectron2.config import LazyCall as L

cosine = L(warmup_cosine)(
    max_iter="${train.max_iter}", warmup_iters="${part:${train.max_iter},0.05}"
)
multistep = L(warmup_multistep)(
    max_iter="${train.max_iter}",
    warmup_iters="${part:${train.max_iter},0.05}",
    milestones=[2 / 3, 8 / 9],
)
polynomial = L(warmup_polynomial)(
    max_iter="${train.max_iter}", warmup_iters="${part:${train.max_iter},0.05}", power=0.9
)
