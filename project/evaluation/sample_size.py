"""How many images would settle a difference."""

from __future__ import annotations

import math

from project.evaluation.student_t import NORMAL


def images_needed(
    difference: float,
    standard_error: float,
    num_images: int,
    *,
    power: float = 0.8,
    level: float = 0.95,
) -> int | None:
    """Images on which a test at 1 - ``level`` finds a difference as large as this one.

    If the true difference is the observed one, as many images of the same kind show it with
    probability ``power``: standard errors shrink with the square root of their number. An observed
    difference tends to be larger than the true one where it was looked for, so take it as the
    least. None for no difference, which no number of images settles.

    Args:
        difference, standard_error: of ``num_images`` images, in one unit.
    """
    if not 0 < power < 1 or not 0 < level < 1:
        raise ValueError(f"power and level must lie between 0 and 1, got {power} and {level}")
    if not math.isfinite(difference) or not math.isfinite(standard_error) or difference == 0:
        return None
    wanted = NORMAL.inv_cdf((1 + level) / 2) + NORMAL.inv_cdf(power)
    return max(1, math.ceil(num_images * (wanted * standard_error / difference) ** 2))
