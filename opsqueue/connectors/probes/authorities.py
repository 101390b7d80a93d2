"""The file of authorities that a check names, read so that no file of any kind can hold up the other probes."""

from __future__ import annotations

import os
import stat

_MOST = 1 << 20
"""Bytes; all the authorities of a system are a quarter of that."""


def read(path: str) -> str:
    """Its text; OSError when it is no regular file of at most 1 MiB. Opening a pipe would wait for its other end."""
    _regular(os.stat(path))  # noqa: PTH116 - some devices begin to work when they are opened
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as file:
        _regular(os.fstat(handle))  # it may be another by now
        text = file.read(_MOST + 1)
    if len(text) > _MOST:
        raise OSError(f"wanted at most {_MOST} bytes, and there are more")
    return text.decode("ascii", errors="ignore")  # what is not ASCII is beside the certificates


def _regular(found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise OSError("wanted a regular file, and it is none")
