"""Files of a run folder, written in one step."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any


def write_json(file: Path, content: dict) -> None:
    """Write plain numbers, NaN as null, in one step: a reader never sees half a file."""
    temporary = file.with_suffix(".tmp")
    temporary.write_text(json.dumps(_plain(content), indent=2) + "\n", encoding="utf-8")
    os.replace(temporary, file)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value
