"""The parameters of `backup_operation`."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from opsqueue.facts.backups import BackupWhere
from opsqueue.model.in_words import in_words
from opsqueue.model.kind import Params
from opsqueue.secrets import SecretRef

AbsolutePath = Annotated[
    str, Field(max_length=1000, pattern=r"^(/[^\x00-\x1f\x7f]*)?$"), in_words("an absolute path, such as /srv/data")
]
Repository = Annotated[
    Annotated[str, Field(max_length=1000, pattern=r"^(/|[a-z][a-z0-9]*:)[^\x00-\x20\x7f]+$")] | Literal[""],
    in_words("an absolute path, or a place as restic writes it (sftp:…, s3:…, rest:…), without spaces"),
]
Name = Annotated[
    Annotated[str, Field(max_length=40, pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")] | Literal[""],
    in_words("small letters, digits and - between them"),
]
Label = Annotated[
    str,
    Field(max_length=253, pattern=r"^([A-Za-z0-9][A-Za-z0-9._-]*)?$"),
    in_words("the name of a host: letters, digits, and then . _ -"),
]
Exclude = Annotated[
    str,
    Field(max_length=1000, pattern=r"^(/[^\x00-\x1f\x7f]+|[^/\x00-\x1f\x7f\[\]\\-][^/\x00-\x1f\x7f\[\]\\]*)$"),
    in_words("an absolute path, or a name such as *.tmp without / [ ] and \\, and without - at its beginning"),
]
"""A whole path with all that is below it, or a name in which `*` and `?` stand for anything."""
Snapshot = Annotated[
    str, Field(pattern=r"^(latest|[0-9]{1,9})$"), in_words('latest, or the number of a run in quotes, such as "3"')
]
EnvName = Annotated[
    str,
    Field(pattern=r"^(AWS|AZURE|B2|GOOGLE|OS|RESTIC_REST|ST|RCLONE)_[A-Z0-9_]{1,80}$"),
    in_words("a variable that restic reads for its place: AWS_…, AZURE_…, B2_…, GOOGLE_…, OS_…, RESTIC_REST_…"),
]
Keep = Annotated[int, Field(ge=0, le=10_000)]

PRESETS: dict[str, tuple[str, ...]] = {
    "system": ("/",),
    "configuration": ("/etc", "/usr/local/etc", "/var/spool/cron"),
    "data": (),
}
_NEVER = ("/proc/*", "/sys/*", "/dev/*", "/run/*", "/tmp/*", "/var/tmp/*", "/var/cache/apt/*", "/swapfile")  # noqa: S108 - names
"""Of a system: what is made anew at its start; the directories themselves are kept."""
_OPTION = re.compile(r"(sftp|rclone):(//)?([^/]*@)?[-:]|rclone:[^:]*,")
"""What ssh would take for an option, and rclone for a remote that names a program: both run when it is looked at."""
_USERINFO = re.compile(r"//[^/@\s]*:[^/@\s]*@")


def _covers(pattern: str, root: str) -> bool:
    """Whether a path that was asked for lies in what a system leaves out."""
    return root.startswith(pattern.removesuffix("*"))


class BackupParams(Params):
    """What is to be kept or brought back, where, for how long, and how it is proven."""

    task: Literal["backup", "verify", "restore"] = "backup"
    """`backup` makes a snapshot and proves it; `verify` proves an old one again; `restore` brings files back."""
    set: Literal["system", "data", "configuration"] = "data"
    """Which paths and what else: `system` is the root file system with an inventory of packages and disks,
    `configuration` is /etc and the like; `data` needs `paths`."""
    name: Name = ""
    """Tells several sets of one sort from each other; empty: as the sort is called."""
    repository: Repository = ""
    """A directory on the host, or a place as restic writes it: sftp:…, s3:…, rest:…, rclone:…"""
    password: SecretRef | None = None
    """A reference to the key of the repository. Keep a copy elsewhere: without it nothing can be restored."""
    password_file: AbsolutePath = ""
    """Instead of `password`: a file on the host that holds the key."""
    credentials: dict[EnvName, SecretRef] = Field(default={}, max_length=20)
    """References to what the place of the repository asks for, such as AWS_ACCESS_KEY_ID."""
    init: bool = False
    """Make the repository where there is none. A place that got lost looks the same, so say it once, not in a
    schedule."""
    when_unclear: Literal["fail", "skip"] = "fail"
    """What to do on a host for which no repository is configured: `skip` suits a schedule for all hosts."""
    paths: tuple[AbsolutePath, ...] = Field(default=(), max_length=100)
    """What is backed up; each must be there. Empty: what the set means."""
    exclude: tuple[Exclude, ...] = Field(default=(), max_length=200)
    """A path with all that is below it, or a name such as `*.tmp`, at any depth."""
    exclude_caches: bool = True
    """Leave out what lies beside a CACHEDIR.TAG."""
    one_file_system: bool = True
    """Leave out what is mounted below the paths."""
    on_partial: Literal["fail", "report"] = "fail"
    """What to do when a file cannot be read: refuse, or back up the rest and tell it."""
    level: Literal["sample", "full"] = "sample"
    """The proof: so many files restored and compared, or everything."""
    sample_files: int = Field(default=50, ge=1, le=100_000)
    """Others in each run."""
    read_data: Literal["none", "part", "all"] = "part"
    """What `verify` reads of the repository beside its structure: nothing, one of `read_data_parts`, everything."""
    read_data_parts: int = Field(default=7, ge=1, le=256)
    """After so many verifications all data was read once."""
    max_age_hours: int = Field(default=26, ge=1, le=100_000)
    """`verify` fails when the newest proven backup is older."""
    backup_retention_days: int = Field(default=90, ge=1, le=36_500)
    """Proven backups younger than this are kept; the setting of the same name unless said here."""
    keep_last: int = Field(default=3, ge=1, le=10_000)
    """So many of the newest proven backups are kept, however old."""
    keep_daily: Keep = 0
    """So many days keep their last backup, beyond `backup_retention_days`."""
    keep_weekly: Keep = 0
    """Likewise weeks."""
    keep_monthly: Keep = 0
    """Likewise months."""
    keep_yearly: Keep = 0
    """Likewise years."""
    prune: bool = True
    """Give back the room of backups that are not kept any more."""
    min_free_percent: int = Field(default=5, ge=0, le=90)
    """So much of the disk of a local repository has to stay free."""
    snapshot: Snapshot = "latest"
    """`verify`, `restore`: the number of a run as `opsqueue backups list` shows it; `latest`: the newest proven one."""
    restore_to: AbsolutePath = ""
    """`restore`: a directory that is not there yet, or empty; everything is put below it."""
    include: tuple[AbsolutePath, ...] = Field(default=(), max_length=100)
    """`restore`: only these paths."""
    in_place: bool = False
    """`restore`: put the one path of `include` back where it was; what is there now is moved aside. Destructive."""
    host_label: Label = ""
    """The host as the repository knows it; empty: its own name. To restore what another host backed up."""
    work_dir: AbsolutePath = "/var/lib/opsqueue/backups"
    """On the host, root's own: the programs, the manifests, and room for the scratch restore."""
    lock_wait_seconds: int = Field(default=120, ge=0, le=86_400)
    """How long others may hold the repository."""
    limit_upload_kib: int = Field(default=0, ge=0, le=100_000_000)
    """KiB/s at most; 0: no limit."""
    nice: int = Field(default=10, ge=0, le=19)
    """How far restic steps back for other programs."""
    sudo: bool = True
    """Act as root; false: as the worker's own user, who cannot give files to others."""
    timeout_seconds: int = Field(default=300, ge=30, le=604_800)
    """For each command; a large backup needs more, and the operation's own timeout (`default_timeout`) as well."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        for problem in (*self._about_place(), *self._about_task()):
            raise ValueError(problem)
        return self

    def _about_place(self) -> list[str]:
        named = (*self.paths, *self.include, self.restore_to, self.work_dir, self.repository)
        rules = (
            (self.password and self.password_file, "password and password_file are given; leave out one of them"),
            (_USERINFO.search(self.repository), "repository holds a password; give it with credentials"),
            (_OPTION.match(self.repository), "repository names a host, or a remote of rclone's own configuration"),
            (any("/../" in f"{one}/" or "/./" in f"{one}/" for one in named), "a path is given without '.' and '..'"),
            (not self.work_dir.strip("/"), "work_dir is a directory of its own, and never /"),
            (any(not one for one in (*self.paths, *self.include)), "a path is not empty"),
        )
        return [text for wrong, text in rules if wrong]

    def _about_task(self) -> list[str]:
        restore = self.task == "restore"
        only = bool(self.restore_to or self.in_place or self.include)
        rules = (
            (not restore and only, f"restore_to, include and in_place belong to task=restore, and it is {self.task}"),
            (restore and not (self.restore_to or self.in_place), "give restore_to, an empty directory; or in_place"),
            (self.restore_to and self.in_place, "restore_to and in_place are given; leave out one of them"),
            (self.in_place and len(self.include) != 1, "in_place puts back one path: name it in include"),
            (self.in_place and self.include == ("/",), "the root itself cannot be put back in place"),
            (self.task == "backup" and self.snapshot != "latest", "snapshot belongs to task=verify and restore"),
        )
        return [text for wrong, text in rules if wrong]

    @property
    def called(self) -> str:
        """The name of the set in the repository."""
        return self.name or self.set

    @property
    def state(self) -> str:
        """The directory of this set on the host."""
        return f"{self.work_dir}/{self.called}"

    @property
    def inventory(self) -> str:
        """Where the inventory of a system is written; empty: none."""
        return f"{self.work_dir}.inventory/{self.called}" if self.set == "system" else ""

    @property
    def roots(self) -> tuple[str, ...]:
        """What is to be backed up; of what a set means by itself, some may not be there."""
        given = tuple(one.rstrip("/") or "/" for one in self.paths) or PRESETS[self.set]
        return (*given, *((self.inventory,) if self.inventory else ()))

    @property
    def local(self) -> str:
        """The directory of a repository on the host itself; empty: it is elsewhere."""
        place = self.repository.removeprefix("local:")
        return place.rstrip("/") if place.startswith("/") else ""

    def rules(self, roots: tuple[str, ...]) -> dict[str, Any]:
        """What belongs to the backup of these, for the programs on the host."""
        own = (*self.exclude, self.work_dir, *((self.local,) if self.local else ()))
        never = [one for one in _NEVER if self.set == "system" and not any(_covers(one, root) for root in roots)]
        return {
            "paths": list(roots),
            "exclude_paths": [one.rstrip("/") for one in (*own, *never) if one.startswith("/")],
            "exclude_names": [one for one in self.exclude if not one.startswith("/")],
            "exclude_caches": self.exclude_caches,
            "one_file_system": self.one_file_system,
        }

    @property
    def secrets(self) -> dict[str, str]:
        """The environment names of all secrets, and their references."""
        key = {"RESTIC_PASSWORD": self.password.ref} if self.password else {}
        return key | {name: one.ref for name, one in self.credentials.items()}

    @property
    def configured(self) -> bool:
        """Whether there is a place and a key at all."""
        return bool(self.repository and (self.password or self.password_file))

    @property
    def where(self) -> BackupWhere:
        """Where the facts look."""
        return BackupWhere(
            repository=self.local or self.repository,
            password_file=self.password_file,
            name=self.called,
            label=self.host_label,
            state=self.state,
            sudo=self.sudo,
            timeout=self.timeout_seconds,
            secrets=self.secrets,
        )
