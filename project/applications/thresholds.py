"""From which score on a prediction counts, for each class."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from project.errors import UserError, unknown_name

import numpy as np

THRESHOLDS_FILE = "thresholds.json"
DEFAULT_THRESHOLD = 0.5


def class_thresholds(
    classes: Sequence[str],
    given: float | Mapping[str, float | None] | None,
    run_dir: str | Path,
    default: float = DEFAULT_THRESHOLD,
) -> np.ndarray:
    """float64 [K]: the lowest score that counts, by class.

    Args:
        classes: the K names, in the model's order.
        given: one for all classes, or by name; None takes those of the run folder's
            `THRESHOLDS_FILE` (name → number, chosen on the validation images), if it has one.
            Classes that aren't named, or have None, take the default.
        default: where nothing else tells.

    Raises:
        UserError: for a class that the model lacks, or anything but a number from 0 to 1.
    """
    source = "the thresholds"
    if given is None:
        file = Path(run_dir, THRESHOLDS_FILE)
        if not file.is_file():
            return np.full(len(classes), float(default))
        given, source = _read(file), str(file)
    if not isinstance(given, Mapping):
        return np.full(len(classes), _checked(given, "the threshold"))
    for name in given:
        if name not in classes:
            raise UserError(f"{source}: {unknown_name('class', name, classes)}")
    chosen = (given.get(name) for name in classes)
    return np.array(
        [
            float(default) if value is None else _checked(value, f"{source}: {name}'s")
            for name, value in zip(classes, chosen, strict=True)
        ]
    )


def _read(file: Path) -> Mapping:
    try:
        content = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise UserError(f"{file} can't be read: {error}; give thresholds instead") from error
    if not isinstance(content, dict):
        raise UserError(f"{file} should hold one threshold for each class: {{name: number}}")
    return content


def _checked(value, what: str) -> float:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not 0 <= value <= 1:
        raise UserError(f"{what} is {value!r}; expected a number from 0 to 1")
    return float(value)


def parse_thresholds(words: Sequence[str]) -> float | dict[str, float] | None:
    """What ``0.6``, ``cake=0.3 person=0.7``, or nothing on a command line means.

    Raises:
        UserError: unless it is one number, or ``class=number`` for each word.
    """
    if not words:
        return None
    parts = [word.rpartition("=") for word in words]
    if len(words) > 1 and not all(equals for _, equals, _ in parts):
        raise UserError(f"thresholds {' '.join(words)}: expected one number, or class=number ...")
    try:
        numbers = [float(number) for _, _, number in parts]
    except ValueError:
        raise UserError(
            f"thresholds {' '.join(words)}: expected a number from 0 to 1, or class=number ..."
        ) from None
    if not parts[0][1]:
        return numbers[0]
    return {name: number for (name, _, _), number in zip(parts, numbers, strict=True)}
