"""The parameters of `log_rotation`."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from opsqueue.facts.logs import LogsWhere
from opsqueue.model.in_words import in_words
from opsqueue.model.kind import Params

_PLAIN = r"A-Za-z0-9@%+=:,._"
LogPattern = Annotated[
    str,
    Field(max_length=1000, pattern=rf"^(/[{_PLAIN}*?\[\]-]+)+$"),
    in_words("an absolute path, or a pattern such as /var/log/app/*.log, without spaces and quotes"),
]
"""A path, or a pattern as a shell has them; no space, no quote, nothing that a shell would read otherwise."""
PlainPath = Annotated[
    str,
    Field(max_length=1000, pattern=rf"^((/[{_PLAIN}-]+)+)?$"),
    in_words("an absolute path, such as /var/log, without spaces and quotes, and no / at its end"),
]
Name = Annotated[
    str,
    Field(max_length=63, pattern=r"^([A-Za-z0-9_][A-Za-z0-9_.@:-]*)?$"),
    in_words("a name: letters, digits and _, and then . @ : - too"),
]


class Reopen(Params):
    """How a writer is told to open its log anew; exactly one of `pid_file`, `unit` and `command`."""

    signal: Literal["HUP", "USR1", "USR2"] = "HUP"
    """Sent to the process of `pid_file`, or to the main process of `unit`; nginx wants USR1."""
    pid_file: PlainPath = ""
    """A file on the host that holds the number of the process; the signal is sent with the rights of its owner."""
    unit: Name = ""
    """A unit of systemd."""
    command: tuple[Annotated[str, Field(min_length=1, max_length=1000)], ...] = Field(default=(), max_length=50)
    """A program with its arguments, such as `["supervisorctl", "signal", "HUP", "web"]`."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if sum(map(bool, (self.pid_file, self.unit, self.command))) != 1:
            raise ValueError("reopen has exactly one of pid_file, unit and command")
        return self


class LogRotationParams(Params):
    """Which logs, how they are rotated, and what becomes of the old ones."""

    paths: tuple[LogPattern, ...] = Field(default=(), max_length=50)
    """Logs, or patterns such as `/var/log/app/*.log`; what was rotated already is never matched."""
    exclude: tuple[LogPattern, ...] = Field(default=(), max_length=50)
    """Logs that are left alone though a pattern fits."""
    roots: tuple[PlainPath, ...] = Field(default=("/var/log",), min_length=1, max_length=10)
    """Nothing outside of these directories is touched, whatever a link says."""
    method: Literal["rename", "copytruncate", "journald"] = "rename"
    """`copytruncate` for a writer that cannot reopen its log; `journald` for the journal of systemd."""
    reopen: Reopen | None = None
    """How the writer is told to open its log anew, after a rename."""
    writer_reopens: bool = False
    """The writer sees by itself, at its next line, that its log was renamed; what it holds until then is packed by a
    later run."""
    reopen_timeout_seconds: int = Field(default=10, ge=1, le=600)
    """Nobody writes to a renamed log any more after so long, or the rotation is undone."""
    every_hours: int = Field(default=12, ge=0, le=8760)
    """A log that was rotated less than so long ago is left; 0: always rotate."""
    max_size_mb: int = Field(default=0, ge=0, le=1_000_000)
    """A log that is larger is rotated sooner; 0: never."""
    min_size_kb: int = Field(default=0, ge=0, le=1_000_000_000)
    """A log that is smaller is left; an empty one always."""
    force: bool = False
    """Whatever its age and size; only one that was rotated less than a minute ago is left."""
    compress: Literal["gzip", "zstd", "xz", "none"] = "gzip"
    """Each archive is unpacked and compared before the original is removed."""
    level: int = Field(default=0, ge=0, le=19)
    """Of the compression; 0: gzip 6, zstd 3, xz 6."""
    archive_dir: PlainPath = ""
    """Rotated logs are moved below this directory of root's, `/var/log/shop` to `var:log:shop`; empty: they stay beside
    the log."""
    log_retention_days: int = Field(default=30, ge=1, le=1_000_000)
    """Rotated logs whose last line is older are removed; the setting of the same name unless said here."""
    keep_most: int = Field(default=0, ge=0, le=100_000)
    """So many rotated logs are kept of each log at most; 0: any number."""
    max_total_mb: int = Field(default=0, ge=0, le=100_000_000)
    """The rotated logs of each log, or the journal, take no more than this; 0: any size."""
    min_free_percent: int = Field(default=0, ge=0, le=90)
    """Where less of the file system is free, the oldest rotated logs are removed until it is; 0: never."""
    may_lose_lines: bool = False
    """copytruncate also where lines that are written in that moment are lost: see the page of this type."""
    allow_managed: bool = False
    """Rotate a log although the host's own logrotate does."""
    logrotate_config: PlainPath = "/etc/logrotate.conf"
    """Asked which logs the host rotates by itself."""
    journal_directory: PlainPath = ""
    """Another journal than that of the host itself."""
    when_unclear: Literal["fail", "skip"] = "fail"
    """What to do where no log is named or found, or one should not be rotated: `skip` tells it and goes on with the
    others, which suits a schedule for all hosts."""
    sudo: bool = True
    """Act as root, and as the owner of a directory that others can write to; false: as the worker's own user."""
    run_as: Name = ""
    """Whom to be in the directories of the logs; empty: who is safe there."""
    trusted_groups: tuple[Name, ...] = Field(default=("syslog",), max_length=20)
    """Groups that may write to a directory of logs without being taken for an attacker of root."""
    timeout_seconds: int = Field(default=300, ge=10, le=86_400)
    """For each command; large logs need more to be compressed, and the operation's own timeout as well."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        _safe_paths(self)
        if self.method == "journald":
            if self.paths or self.reopen:
                raise ValueError("journald has a journal of its own: leave out paths and reopen")
            return self
        if self.journal_directory:
            raise ValueError("journal_directory belongs to method=journald")
        if self.method == "copytruncate" and (self.reopen or self.writer_reopens):
            raise ValueError("a writer that can reopen its log needs no copytruncate; leave out one of them")
        if self.method != "copytruncate" and self.may_lose_lines:
            raise ValueError("may_lose_lines belongs to method=copytruncate")
        if self.reopen and self.writer_reopens:
            raise ValueError("give reopen, or writer_reopens when nobody needs to tell the writer")
        if self.level > _MOST[self.compress]:
            raise ValueError(f"{self.compress} has levels up to {_MOST[self.compress]}")
        return self

    @property
    def where(self) -> LogsWhere:
        """Where the facts look."""
        return LogsWhere(
            paths=self.paths,
            exclude=self.exclude,
            roots=self.roots,
            archive_dir=self.archive_dir,
            pid_file=self.reopen.pid_file if self.reopen else "",
            logrotate_config=self.logrotate_config,
            trusted_groups=self.trusted_groups,
            sudo=self.sudo,
        )


_MOST = {"gzip": 9, "zstd": 19, "xz": 9, "none": 0}


def _safe_paths(params: LogRotationParams) -> None:
    given = (*params.paths, *params.roots, params.archive_dir, params.journal_directory, params.logrotate_config)
    if any(part in {".", ".."} for path in given for part in path.split("/")):
        raise ValueError("a path is given without '.' and '..'")
    if "" in params.roots:
        raise ValueError("a root is a directory such as /var/log")
    if outside := [path for path in params.paths if not any(path.startswith(f"{root}/") for root in params.roots)]:
        raise ValueError(f"{outside[0]} does not lie below one of roots ({', '.join(params.roots)})")
