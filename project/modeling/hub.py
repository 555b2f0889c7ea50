"""Weights from the Hugging Face hub, and one line where they can't be had."""

from __future__ import annotations

import socket
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from project.errors import UserError, one_line

# Where errors of a download come from; which HTTP library the hub's client uses has changed often.
_DOWNLOADERS = {"huggingface_hub", "httpx", "httpx2", "httpcore", "httpcore2", "requests"}


@contextmanager
def from_hub(what: str, remedy: str) -> Iterator[None]:
    """Within it downloads from the hub work as ever; a failure is told in one line.

    Where the hub's name can't be resolved only what was downloaded before is looked for, without
    the half minute of retries.

    Args:
        what: "ImageNet's weights of resnet34", for the message.
        remedy: what to do instead, an imperative.

    Raises:
        UserError: if a download fails.
    """
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or not _is_known(constants.ENDPOINT)
    try:
        yield
    except Exception as error:  # the client's errors have no common base
        if not any(map(_is_download, _causes(error))):
            raise
        reason = one_line(error).split(". ")[0][:160]
        raise UserError(
            f"{what} can't be had from {constants.ENDPOINT} ({reason}); connect to the internet "
            f"once to keep them, or {remedy}"
        ) from error
    finally:
        constants.HF_HUB_OFFLINE = before


def _is_known(endpoint: str) -> bool:
    """Whether the endpoint's host has an address; a proxy would have to find out itself."""
    if urllib.request.getproxies():
        return True
    try:
        socket.getaddrinfo(urllib.parse.urlsplit(endpoint).hostname, 443)
    except OSError:
        return False
    return True


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _is_download(error: BaseException) -> bool:
    return isinstance(error, OSError) or type(error).__module__.split(".")[0] in _DOWNLOADERS
