"""Read one place of the inventory: a file in our form or Ansible's, or a program that prints one of them."""

from __future__ import annotations

import os
import stat
import time
import tomllib
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from opsqueue.connectors.inventory.ansible import ansible_form
from opsqueue.connectors.inventory.place import Place, own_form
from opsqueue.connectors.process import run_process
from opsqueue.errors import InvalidConfig, InvalidRequest
from opsqueue.model.host import host_name
from opsqueue.model.in_words import kind_of
from opsqueue.model.request import strict_json

_LIMIT_S = 30.0
"""Seconds for `--list`, and again for all `--host` together."""
_MOST = 32 << 20
"""Bytes of a file, or of what a program prints."""
_SIDE_BY_SIDE = 8
_DATA = frozenset({".json", ".toml"})
"""What is called so is read, and never run."""
_SAID = 500
_STATIC = (
    "An inventory of Ansible in INI or YAML becomes one that opsqueue reads by "
    "`ansible-inventory -i FILE --list > hosts.json`, or by an executable that runs the same command."
)


def read_place(path: Path) -> Place:
    """What stands in a file, or what the program there prints; InvalidConfig names the file and what is wrong."""
    path = path.absolute()  # in messages whole: not everybody stands where the worker does
    _look_at(path)
    if is_program(path):
        program = _Program(path)
        said = _object(
            _parsed(strict_json, program.printed("--list", within=_LIMIT_S), f"{path} --list"), f"{path} --list"
        )
        return _form(said, str(path), program.variables)
    found = read_object(path)
    return own_form(found, str(path)) if path.suffix == ".toml" else _form(found, str(path), _nothing)


def read_object(path: Path) -> Mapping[str, Any]:
    """The object in a JSON or TOML file; InvalidConfig when there is none."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise InvalidConfig(f"the inventory {path} cannot be read: {error}") from None
    if text.startswith("#!") and path.suffix not in _DATA:
        raise InvalidConfig(
            f"the inventory {path} begins with `#!` like a program, but nobody may run it: chmod +x {path}"
        )
    return _object(_parsed(tomllib.loads if path.suffix == ".toml" else strict_json, text, str(path)), str(path))


def is_program(path: Path) -> bool:
    """Whether it is run: an executable file that is not called `.json` or `.toml`."""
    return path.suffix not in _DATA and os.access(path, os.X_OK)


def _look_at(path: Path) -> None:
    try:
        found = path.stat()
    except OSError as error:
        raise InvalidConfig(
            f"the inventory {path} cannot be read: {error.strerror}; the setting is `inventory`"
        ) from None
    if not stat.S_ISREG(found.st_mode):
        raise InvalidConfig(f"the inventory {path} is no file; `inventory` takes a list of files")
    if found.st_mode & stat.S_IWOTH:
        raise InvalidConfig(
            f"the inventory {path} can be written by anybody, and says where commands go: chmod o-w {path}"
        )
    if found.st_size > _MOST:
        raise InvalidConfig(f"the inventory {path} has {found.st_size} bytes; at most {_MOST} are read")


def _form(data: Mapping[str, Any], where: str, ask: Callable[[Iterable[str]], Mapping[str, Any]]) -> Place:
    foreign = "_meta" in data or "all" in data or not ("hosts" in data or "groups" in data)
    return ansible_form(data, where, ask) if foreign else own_form(data, where)


def _object(data: Any, source: str) -> Mapping[str, Any]:
    if not isinstance(data, Mapping):
        raise InvalidConfig(f"the inventory {source}: wanted an object of hosts and groups, found {kind_of(data)}")
    return data


def _parsed(parse: Callable[[str], Any], text: str, source: str) -> Any:
    try:
        return parse(text)
    except (ValueError, RecursionError) as error:
        form = "TOML" if parse is tomllib.loads else "JSON"
        hint = "" if form == "TOML" or text.lstrip().startswith("{") else f" {_STATIC}"
        raise InvalidConfig(f"the inventory {source} is not {form}: {str(error)[:200]}.{hint}") from None


def _nothing(_names: Iterable[str]) -> Mapping[str, Any]:
    """A file has no more to say of its hosts than what stands in it."""
    return {}


@dataclass(frozen=True, slots=True)
class _Program:
    path: Path

    def printed(self, *words: str, within: float) -> str:
        """What it prints; InvalidConfig with the end of its stderr when it fails or takes too long."""
        what = f"the inventory {self.path} {' '.join(words)}"
        try:
            found = run_process(
                (str(self.path), *words), env=_environment(), limit_s=within, grace_s=2, head_most=_MOST, tail_most=0
            )
        except (OSError, ValueError) as error:
            raise InvalidConfig(f"{what} could not be started: {error}. Does its first line name a program?") from None
        if found.timed_out:
            raise InvalidConfig(f"{what} did not end within {within:.3g} s{_told(found.stderr)}")
        if found.exit_code:
            raise InvalidConfig(f"{what} ended with exit status {found.exit_code}{_told(found.stderr)}")
        if found.truncated:
            raise InvalidConfig(f"{what} printed more than {_MOST} bytes")
        return found.stdout

    def variables(self, names: Iterable[str]) -> dict[str, Any]:
        """What `--host NAME` prints for each, asked side by side; only needed where `--list` has no `_meta`."""
        asked = [self._argument(name) for name in names]
        end = time.monotonic() + _LIMIT_S
        with ThreadPoolExecutor(_SIDE_BY_SIDE) as pool:
            return dict(zip(asked, pool.map(partial(self._of, end), asked), strict=True))

    def _argument(self, name: str) -> str:
        try:
            return host_name(name)
        except InvalidRequest as error:
            raise InvalidConfig(f"the inventory {self.path}: {error.message}") from None

    def _of(self, end: float, name: str) -> Any:
        left = end - time.monotonic()
        if left <= 0:
            raise InvalidConfig(
                f"the inventory {self.path} did not tell of all its hosts within {_LIMIT_S:g} s; "
                "let --list print `_meta` with `hostvars`, then nobody need ask for each host"
            )
        return _parsed(strict_json, self.printed("--host", name, within=left) or "{}", f"{self.path} --host {name}")


def _told(stderr: str) -> str:
    said = stderr.strip()
    return f"; it said: {said[-_SAID:]}" if said else ""


def _environment() -> dict[str, str]:
    """Ours, for such programs find their clouds by it, without our own settings, which may hold passwords."""
    return {name: value for name, value in os.environ.items() if not name.startswith("OPSQUEUE_")}
