"""Write a file whole or not at all, and over an existing one only when that is wanted; its name may say its form."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from tempfile import mkstemp

from opsqueue.errors import Conflict, InvalidRequest

_SAYS_A_FORM = re.compile(r"\.[a-z][a-z0-9]*$", re.IGNORECASE)
"""The end of `x.pdf`, not of `report-2026.03`."""


def form_by_name(path: Path, forms: Mapping[str, str], option: str) -> str | None:
    """The form by the end of a name, such as `.json`; None where it says none, InvalidRequest for one there is not."""
    name = path.name.lower()
    found = next((form for end, form in forms.items() if name.endswith(end)), None)
    if found is None and (other := _SAYS_A_FORM.search(name)):
        known = ", ".join(sorted(forms))
        raise InvalidRequest(
            f"wanted a file whose name ends in one of {known}; found {other.group()!r} in {path}. "
            f"With {option} it may have any name."
        )
    return found


def refuse_existing(path: Path, *, force: bool) -> None:
    """Conflict when something is there that must stay; InvalidRequest where no file can be."""
    if path.is_dir() or not path.parent.is_dir():
        what = "it is a directory" if path.is_dir() else f"there is no directory {path.parent}"
        raise InvalidRequest(f"{path} cannot be written: {what}. Say the path of a file with --to.")
    if os.path.lexists(path) and not force:
        raise Conflict(f"{path} is there already. Say another file, or --force to write over it.")


def write(path: Path, text: str, *, force: bool) -> None:
    """The text under this name, complete from the first moment; Conflict when it is taken and not to be replaced."""
    refuse_existing(path, force=force)
    try:
        _put_in_place(path, text, force=force)
    except FileExistsError:
        raise Conflict(f"{path} was made by somebody else meanwhile. Say another file, or --force.") from None
    except OSError as error:
        raise InvalidRequest(f"{path} cannot be written: {error.strerror}. Say another place with --to.") from None


def _put_in_place(path: Path, text: str, *, force: bool) -> None:
    handle, name = mkstemp(dir=path.parent, prefix=f".{path.name[:50]}.")
    new = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
            os.fchmod(file.fileno(), _usual_mode())
            file.flush()
            os.fsync(file.fileno())
        if force:
            new.replace(path)
        else:
            path.hardlink_to(new)  # unlike a rename, it fails when the name is taken
    finally:
        new.unlink(missing_ok=True)


def _usual_mode() -> int:
    """As a file gets that this user makes."""
    mask = os.umask(0o077)
    os.umask(mask)
    return 0o666 & ~mask
