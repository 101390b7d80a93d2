"""What is to be set on one host and what is set there, side by side; no clock, no I/O."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from opsqueue.facts.tuning import PAIRS, TuningWhere, value_at
from opsqueue.operations.tuning.params import PerformanceTuningParams
from opsqueue.operations.tuning.wanted import SHOWN, THP, files_of, knobs_of

_BOOT_DIRS = ("/etc/sysctl.d", "/run/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d", "/lib/sysctl.d")
_PARTNER = {**PAIRS, **{share: whole for whole, share in PAIRS.items()}}
_LENGTH = {"knob": 3, "file": 4, "gone": 2, "rmdir": 2, "reload": 1}
_KNOB = re.compile(rf"/proc/sys/[A-Za-z0-9_-]+(/[A-Za-z0-9_.-]+)+|/sys/block/[A-Za-z0-9_-]+/queue/[a-z_]+|{THP}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Knob:
    """One value of the kernel; `found` is None where there is none."""

    path: str
    name: str
    wanted: str
    found: str | None
    may: bool

    @property
    def changes(self) -> bool:
        """Whether it is to be set."""
        return self.found != self.wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """One file that keeps settings over a reboot; `wanted` is None where it is to go."""

    path: str
    wanted: str | None
    """base64"""
    mode: str
    what: str
    found: str
    found_mode: str
    has_dir: bool

    @property
    def changes(self) -> bool:
        """Whether it is to be written, or removed."""
        if self.wanted is None:
            return self.what != "absent"
        return (self.what, self.found) != ("there", self.wanted)


def where_of(params: PerformanceTuningParams, record: Sequence[str] = ()) -> TuningWhere:
    """What the host is asked about; `record`: the words of a way back whose settings are looked at too."""
    place = f"{params.state_dir}/{params.profile}"
    fio = any(one.tool.startswith("fio") for one in params.benchmarks)
    if params.task == "benchmark":
        return TuningWhere(place=place, room=params.benchmark_dir if fio else "", sudo=params.sudo)
    rows = list(split(record))
    used = {name for one in params.unit_resources.values() for name in one.given}
    return TuningWhere(
        knobs=tuple(dict.fromkeys((*knobs_of(params), *(row[1] for row in rows if row[0] == "knob")))),
        files=tuple(dict.fromkeys((*files_of(params), *(row[1] for row in rows if row[0] in {"file", "gone"})))),
        keys=tuple(params.values),
        dirs=tuple(dict.fromkeys((params.sysctl_dir, *_BOOT_DIRS))),
        place=place,
        room=params.benchmark_dir if fio else "",
        units=tuple(params.unit_resources),
        properties=tuple(sorted(SHOWN.get(name, name) for name in used)),
        sudo=params.sudo,
    )


def split(words: Sequence[str]) -> Iterator[Sequence[str]]:
    """The words of a way back, one action each; ValueError where they are not ours."""
    at = 0
    while at < len(words):
        length = _LENGTH.get(words[at])
        if length is None or at + length > len(words):
            raise ValueError(f"the record of the last change is damaged at word {at + 1}")
        yield words[at : at + length]
        at += length


@dataclass(frozen=True, kw_only=True)
class Hand:
    """What was found on one host, seen with the parameters."""

    params: PerformanceTuningParams
    found: Mapping[str, Any]

    @property
    def place(self) -> str:
        """Where the host keeps the way back of this profile."""
        return f"{self.params.state_dir}/{self.params.profile}"

    @property
    def junk(self) -> str:
        """The directory of fio; empty without one."""
        fio = any(one.tool.startswith("fio") for one in self.params.benchmarks)
        return f"{self.params.benchmark_dir}/.opsqueue-{self.params.profile}.fio" if fio else ""

    @cached_property
    def record(self) -> tuple[Sequence[str], ...]:
        """The way back of the last change, where that is asked for."""
        return tuple(split(self.found["undo"])) if self.params.task == "rollback" else ()

    @cached_property
    def knobs(self) -> tuple[Knob, ...]:
        """All values that are wanted."""
        if self.params.task == "rollback":
            wanted = {row[1]: (row[1], row[2]) for row in self.record if row[0] == "knob"}
        elif self.params.task in {"apply", "analyse"}:
            wanted = knobs_of(self.params)
        else:
            wanted = {}
        return tuple(self._knob(path, *pair) for path, pair in wanted.items())

    def _knob(self, path: str, name: str, wanted: str) -> Knob:
        found = self.found["knobs"].get(path, {"may": False})
        return Knob(path=path, name=name, wanted=wanted, found=value_at(self.found, path), may=found["may"])

    @cached_property
    def files(self) -> tuple[Kept, ...]:
        """All files that are wanted, and those that are to go."""
        if self.params.task == "rollback":
            return tuple(self._kept(row[1], *_of_record(row)) for row in self.record if row[0] in {"file", "gone"})
        if self.params.task not in {"apply", "analyse"}:
            return ()
        texts = files_of(self.params).items()
        return tuple(self._kept(path, base64.b64encode(text.encode()).decode(), "644") for path, text in texts)

    def _kept(self, path: str, wanted: str | None, mode: str) -> Kept:
        found = self.found["files"].get(path, {"what": "absent", "content": "", "mode": "", "dir": True})
        return Kept(
            path=path, wanted=wanted, mode=mode, what=found["what"], found=found["content"], found_mode=found["mode"],
            has_dir=found["dir"],
        )  # fmt: skip

    @property
    def changing(self) -> bool:
        """Whether anything is to be set or written."""
        return any(one.changes for one in self.knobs) or any(one.changes for one in self.files)

    # -- the words of the way there, and of the way back ------------------------------------------------------

    @cached_property
    def set_words(self) -> list[str]:
        """Values of the kernel, in order."""
        return [word for one in self.knobs if one.changes for word in ("knob", one.path, one.wanted)]

    @cached_property
    def back_words(self) -> list[str]:
        """The old values, the last first; of a pair the one that was not 0."""
        words: list[str] = []
        for one in reversed(self.knobs):
            if one.changes and one.found is not None:
                path, value = self._old(one.path, one.found)
                words += ["knob", path, value]
        return words

    def _old(self, path: str, value: str) -> tuple[str, str]:
        partner = _PARTNER.get(path)
        other = value_at(self.found, partner) if partner else None
        if value == "0" and partner and other and other != "0":
            return partner, other
        return path, value

    @cached_property
    def file_words(self) -> list[str]:
        """Files to be written or removed."""
        words: list[str] = []
        for one in self.files:
            if one.changes:
                words += ["gone", one.path] if one.wanted is None else ["file", one.path, one.mode, one.wanted]
        gone = {one.path.rpartition("/")[0] for one in self.files if one.wanted is None}
        for row in self.record:
            if row[0] == "rmdir" and row[1] in gone:
                words += row
        return words + self._reload(words)

    @cached_property
    def file_back_words(self) -> list[str]:
        """Files as they were, byte by byte."""
        words: list[str] = []
        for one in reversed(self.files):
            if not one.changes:
                continue
            words += ["file", one.path, one.found_mode, one.found] if one.what == "there" else ["gone", one.path]
            if not one.has_dir:
                words += ["rmdir", one.path.rpartition("/")[0]]
        return words + self._reload(words)

    @staticmethod
    def _reload(words: Sequence[str]) -> list[str]:
        return ["reload"] if any(re.search(r"\.(service|slice|scope)\.d/", word) for word in words) else []

    @property
    def undo_words(self) -> list[str]:
        """The whole way back."""
        return [*self.file_back_words, *self.back_words]

    @property
    def damaged(self) -> str:
        """Why the record of the last change cannot be followed; empty where it can."""
        try:
            rows = self.record
        except ValueError as error:
            return str(error)
        strange = [row[1] for row in rows if row[0] == "knob" and not _is_knob(row[1])]
        strange += [row[1] for row in rows if row[0] in {"file", "gone"} and not self._is_ours(row[1])]
        return f"the record of the last change names {strange[0]}, which is not ours" if strange else ""

    def _is_ours(self, path: str) -> bool:
        return bool(re.fullmatch(rf"(/[A-Za-z0-9@%+=:,._-]+)+/60-opsqueue-{self.params.profile}\.(conf|rules)", path))

    # -- what a boot would make of it -----------------------------------------------------------------------

    @cached_property
    def own_file(self) -> str:
        """The file that keeps the values of the kernel."""
        return f"{self.params.sysctl_dir}/60-opsqueue-{self.params.profile}.conf"

    def owners(self, key: str) -> list[Mapping[str, str]]:
        """Who else sets this at boot, in order; the last wins."""
        return [one for one in self.found["owners"] if one["key"] == key and one["file"] != self.own_file]

    def overriding(self, key: str, value: str) -> Iterator[str]:
        """Files that would set it to something else: later ones, and those of other profiles."""
        ours = self.own_file.rpartition("/")[2]
        for one in self.owners(key):
            name = one["file"].rpartition("/")[2]
            if one["value"] != value and (name > ours or name.startswith("60-opsqueue-")):
                yield f"{one['file']} sets {key} to {one['value']}"


def _is_knob(path: str) -> bool:
    return bool(_KNOB.fullmatch(path)) and ".." not in path


def _of_record(row: Sequence[str]) -> tuple[str | None, str]:
    return (row[3], row[2]) if row[0] == "file" else (None, "")
