"""What the script printed, by label and by sample."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from opsqueue.model.plan import Result

Lines = Mapping[str, Sequence[str]]
"""The contents by label, in their order."""

STAT, STATUS = "stat", "status"
"""Files of all processes; the content begins with the number of the process it belongs to."""

_FACTS = ("@stat", "@later", "@df", "@user")
"""Labels whose every line is whole by itself."""

_LAST = {*_FACTS, "@end", "/proc/self/mountinfo", "/proc/partitions"}
"""What is told after the samples and belongs to neither."""

_GROUP = re.compile(r"(/sys/fs/cgroup/.*(?:memory|cpu|cpuacct)\.[a-z_]+):(.*)")
"""A group's name may hold a colon."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What stands beside the first sample, and the last sample alone, which is empty when there was none."""

    first: Lines
    between: Sequence[Lines]
    """The samples between them, of which there are few."""
    second: Lines
    errors: str
    why: str
    """Why something may be missing; empty when nothing is known."""

    def lines(self, label: str, sample: Lines | None = None) -> Sequence[str]:
        """All contents with this label; ValueError when there are none."""
        found = (self.first if sample is None else sample).get(label)
        if not found:
            raise ValueError(f"the host did not tell {label.removeprefix('@')}{self.why}")
        return found

    def text(self, path: str) -> str:
        """The text of a file that must be there; ValueError when it is not."""
        return "\n".join(self.lines(path))

    def text_or_empty(self, path: str) -> str:
        """The text of a file; empty when there is none."""
        return "\n".join(self.first.get(path, ()))

    def word(self, label: str) -> str:
        """The one content with this label; empty when there is none."""
        return next(iter(self.first.get(label, ())), "")


def answer_of(result: Result) -> Answer:
    """The output taken apart; ValueError when it holds nothing at all."""
    # Never splitlines(): what stands in a name or a path may be a line separator for Python.
    lines = result.stdout.split("\n")[:-1]
    first: dict[str, list[str]] = {label: [] for label in _LAST}
    second: dict[str, list[str]] = {}
    between: list[dict[str, list[str]]] = []
    current = first
    for label, content in _labelled(lines):
        if label == "@between":
            current = {}
            between.append(current)
        if label == "@second":
            current = second
        (first if label in _LAST else current).setdefault(label, []).append(content)
    why = "" if first["@end"] else _why(result)
    if "@first" not in first:
        raise ValueError(f"the host answered nothing that can be read{why or ': it said nothing'}")
    return Answer(first=first, between=between, second=second, errors=result.stderr, why=why)


def _labelled(lines: list[str]) -> Iterator[tuple[str, str]]:
    for line in _whole(lines):
        label, _colon, content = line.partition(":")
        if line[:1].isdigit():
            pid, _slash, file = label.partition("/")
            yield file, f"{pid} {content}"
        elif line.startswith("/sys/fs/cgroup/") and (match := _GROUP.fullmatch(line)):
            yield match[1], match[2]
        else:
            yield label, content


def _whole(lines: list[str]) -> list[str]:
    """Only what is certainly whole when the end is missing: half a table gives wrong numbers."""
    if lines and lines[-1].startswith("@end:"):
        return lines
    last = max((number for number, line in enumerate(lines) if line == "@ok:"), default=-1)
    return lines[: last + 1] + [line for line in lines[last + 1 :] if line.partition(":")[0] in _FACTS]


def _why(result: Result) -> str:
    if result.timed_out:
        return f": it was given up after {result.seconds:.0f} s"
    problem = next((line.strip() for line in result.stderr.splitlines() if line.strip()), "")
    return f": {problem}" if problem else ": its answer was cut off" if result.stdout else ""
