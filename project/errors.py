"""Mistakes of the user, told in one line."""

from __future__ import annotations

import difflib
import functools
import sys
from collections.abc import Callable, Iterable


class UserError(ValueError):
    """What came, what was expected, where (file, image, annotation, key), what to do: one line.

    Tools print the message without a traceback and exit with ``exit_code``.
    """

    exit_code = 2


def one_line(error: BaseException) -> str:
    """The message of an exception without line breaks, or its type where it has none."""
    return " ".join(str(error).split()) or type(error).__name__


def from_worker(error: UserError) -> UserError:
    """``error`` without the traceback that torch adds to the words of a loader process."""
    kind = type(error)
    if not str(error).startswith(f"Caught {kind.__name__} in DataLoader worker"):
        return error
    last = str(error).strip().splitlines()[-1]
    return UserError(last.removeprefix(f"{kind.__module__}.{kind.__name__}: "))


def unknown_name(kind: str, name: str, known: Iterable[str]) -> str:
    """Text for an unknown ``name``: the closest known name, then all of them (20 at most)."""
    known = [str(k) for k in known]
    close = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
    if not close:  # 'Person' or 'PERSON' for 'person'
        close = [k for k in known if k.lower() == str(name).lower()]
    hint = f"; did you mean {close[0]!r}?" if close else ""
    shown = ", ".join(known[:20]) + (", ..." if len(known) > 20 else "")
    return f"unknown {kind} {name!r}{hint} (known: {shown or 'none'})"


def exits_with_two(main: Callable[..., int]) -> Callable[..., int]:
    """Decorate a tool's ``main(argv)``: a `UserError` becomes one line on stderr and its code, 2.

    Ctrl-C gives one word and 130, the code of a shell for it.
    """

    @functools.wraps(main)
    def wrapped(*args, **kwargs) -> int:
        try:
            return main(*args, **kwargs)
        except UserError as error:
            print(f"error: {one_line(error)}", file=sys.stderr)
            return error.exit_code
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            return 130

    return wrapped
