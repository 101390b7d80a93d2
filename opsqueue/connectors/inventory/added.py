"""The hosts that `opsqueue hosts add` wrote: one file in the state directory, changed by one process at a time."""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from opsqueue.connectors.inventory.directory import THIS_MACHINE, merged, written_by_people
from opsqueue.connectors.inventory.place import Place, own_form
from opsqueue.connectors.inventory.reading import read_object
from opsqueue.errors import Conflict, InvalidConfig, NotFound
from opsqueue.model.inventory import Inventory
from opsqueue.model.misspelt import nearest
from opsqueue.settings import Settings

Check = Callable[[Inventory], None]
"""Raises InvalidConfig for an inventory with which the settings cannot be honoured."""


def add_host(settings: Settings, name: str, given: Mapping[str, Any], groups: Sequence[str], check: Check) -> Inventory:
    """Write a host down; the inventory with it.

    Raises Conflict when the name is there, InvalidRequest for what cannot be a host; nothing is written then.
    """
    with _alone(settings.added_hosts):
        others, data = written_by_people(settings), _data(settings.added_hosts)
        here = _with(settings, others, data)
        if name in here and here.places[name] != THIS_MACHINE:
            where = here.places[name]
            raise Conflict(f"there is a host {name} already, in {where}; `opsqueue hosts show {name}` shows it")
        data["hosts"][name] = dict(given)
        for group in dict.fromkeys(groups):
            data["groups"].setdefault(group, []).append(name)

        def both(after: Inventory) -> None:
            _refuse_ambiguous(here, after)
            check(after)

        return _written(settings, others, data, both)


def _refuse_ambiguous(before: Inventory, after: Inventory) -> None:
    """Conflict for a word that would mean something else from now on."""
    for name, what in after.ambiguous.items():
        if name not in before.ambiguous:
            stands = name in before
            there, new = ("host", what) if stands else (what, "host")
            raise Conflict(
                f"there is a {there} {name} already, and selectors would mean the host instead of the {what}: "
                f"give the {new} another name"
            )


def remove_host(settings: Settings, name: str, check: Check) -> Inventory:
    """Forget a host that `hosts add` wrote; the inventory without it.

    Raises NotFound when there is none, Conflict when it stands elsewhere, InvalidConfig when something names it.
    """
    with _alone(settings.added_hosts):
        others, data = written_by_people(settings), _data(settings.added_hosts)
        here = _with(settings, others, data)
        if name not in here:
            near = nearest(name, here) or "."
            raise NotFound(f"there is no host {name[:80]!r}{near} `opsqueue hosts list` lists them.")
        if here.places[name] != str(settings.added_hosts):
            raise Conflict(f"host {name} stands in {here.places[name]}, which people write: take it out there")
        del data["hosts"][name]
        left = {group: [one for one in names if one != name] for group, names in data["groups"].items()}
        data["groups"] = {group: names for group, names in left.items() if names}
        return _written(settings, others, data, check)


def _data(path: Path) -> dict[str, Any]:
    """What stands there; InvalidConfig when `hosts add` did not write it, for then it is not ours to change."""
    if not path.exists():
        return {"hosts": {}, "groups": {}}
    found = read_object(path)
    own_form(found, str(path))
    return {"hosts": dict(found.get("hosts", {})), "groups": {k: list(v) for k, v in found.get("groups", {}).items()}}


def _with(settings: Settings, others: Sequence[Place], data: Mapping[str, Any]) -> Inventory:
    return merged(settings, [*others, own_form(data, str(settings.added_hosts))])


def _written(settings: Settings, others: Sequence[Place], data: Mapping[str, Any], check: Check) -> Inventory:
    path = settings.added_hosts
    found = _with(settings, others, data)
    check(found)
    try:
        _replace(path, json.dumps(data, indent=2, ensure_ascii=False) + "\n")
    except OSError as error:
        raise _unwritable(path, error) from None
    return found


def _replace(path: Path, text: str) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fchmod(file.fileno(), 0o644)  # a worker may be another user, and there is no secret in it
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _unwritable(path: Path, error: OSError) -> InvalidConfig:
    return InvalidConfig(f"{path} cannot be written: {error.strerror}. Mend that, or set state_dir")


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One process at a time; the lock stands beside the file, which is itself replaced."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _unwritable(path, error) from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
