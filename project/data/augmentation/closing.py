"""Heavy augmentation that ends before the run does, by a sample's place in the run alone."""

from __future__ import annotations

from collections.abc import Sequence

from project.errors import UserError

from detectron2.data import transforms as T


class UntilPosition(T.Augmentation):
    """One list of augmentations for the first samples of a run, another for the rest.

    The last epochs then show pictures as they will come in use (YOLOX, Ge et al. 2021, closes its
    mosaic so). What a sample gets follows from its ``position`` alone, hence neither from the
    number of loader processes nor from where a run was resumed.

    Args:
        augmentations: for samples before ``until``.
        until: position in the run's stream of samples, all ranks together. For nine tenths of a
            run: ``"${part:${part:${train.max_iter},${dataloader.train.total_batch_size}},0.9}"``.
        otherwise: for all later samples.
    """

    def __init__(
        self,
        augmentations: Sequence[T.Augmentation | T.Transform],
        until: int,
        otherwise: Sequence[T.Augmentation | T.Transform] = (),
    ) -> None:
        super().__init__()
        self.augmentations = T.AugmentationList(list(augmentations))
        self.otherwise = T.AugmentationList(list(otherwise))
        self.until = check_until("UntilPosition", until)

    def __call__(self, aug_input: T.AugInput) -> T.Transform:
        """Apply the list that is due at ``aug_input.position``.

        Raises:
            UserError: if it has no position.
        """
        early = is_before(getattr(aug_input, "position", None), self.until)
        return (self.augmentations if early else self.otherwise)(aug_input)


def check_until(owner: str, until: int) -> int:
    """``until``; a share like 0.9 would end the augmentation with the first sample.

    Raises:
        UserError: unless it is a whole number from 0 on.
    """
    if isinstance(until, bool) or not isinstance(until, int) or until < 0:
        raise UserError(
            f"{owner}: until={until!r} must be a whole number of samples; a share of the run is "
            f"written with ${{part:...}}, see UntilPosition"
        )
    return until


def is_before(position: int | None, until: int) -> bool:
    """Whether a sample at ``position`` comes before ``until``.

    Raises:
        UserError: if the sample has no position.
    """
    if position is None:
        raise UserError(
            f"an augmentation until position {until} needs the sample's position, which "
            f"project.data.loader.build_train_loader and InstanceMapper hand on"
        )
    return position < until
