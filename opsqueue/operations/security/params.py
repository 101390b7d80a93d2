"""The parameters of `security_scan`."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from opsqueue.model.in_words import in_words
from opsqueue.model.kind import Params
from opsqueue.operations.security.catalogue import CODES

Path = Annotated[
    str,
    Field(max_length=1000, pattern=r"^/[^\x00-\x1f]*$"),
    in_words("an absolute path"),
]
_SSHD = r"^/etc/ssh(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*/(sshd_config[A-Za-z0-9._-]*|[A-Za-z0-9_-][A-Za-z0-9._-]*\.conf)$"
SshdConfig = Annotated[
    str,
    Field(max_length=1000, pattern=_SSHD),
    in_words("/etc/ssh/sshd_config, or another sshd_config or *.conf below /etc/ssh"),
]
_NAME = r"[A-Za-z0-9._*?\[\]-]*"
_MANIFEST = (
    rf"^/[^\x00-\x1f]*?({_NAME}(requirements|constraints){_NAME}\.(txt|in|pip)|requirements/{_NAME}\.(txt|in)"
    rf"|{_NAME}\.lock)$"
)
Manifest = Annotated[
    str,
    Field(max_length=1000, pattern=_MANIFEST),
    in_words("an absolute path of requirements*.txt, constraints*.txt, requirements/*.txt or *.lock"),
]
Catalogue = Annotated[
    str,
    Field(max_length=1000, pattern=r"^/[^\x00-\x1f]*\.json$"),
    in_words("an absolute path of a .json file"),
]
Word = Annotated[str, Field(min_length=1, max_length=300)]
Code = Annotated[str, Field(max_length=60, pattern=r"^[a-z][a-z0-9_]*$"), in_words("the code of a finding")]
Check = Literal["vulnerabilities", "configuration", "permissions", "lynis", "integrity"]


class Accepted(Params):
    """A risk that somebody accepted until a day; it is listed, and counts no more."""

    code: Code
    """The code of the finding."""
    subject: Word = "*"
    """What it is about, as the finding's evidence names it; `*` stands for anything."""
    reason: Word
    """Why it is accepted."""
    owner: Word
    """Who answers for it."""
    until: date
    """The last day (UTC) on which it is accepted."""

    def holds(self, at: float) -> bool:
        """Whether it still counts at a moment (UNIX seconds)."""
        end = datetime.combine(self.until + timedelta(days=1), datetime.min.time(), UTC)
        return at < end.timestamp()


class SecurityScanParams(Params):
    """What is looked at, with which data, and what is accepted."""

    checks: tuple[Check, ...] = Field(
        default=("vulnerabilities", "configuration", "permissions", "lynis"), min_length=1, max_length=5
    )
    """`integrity` compares all files with their packages (dpkg --verify), which takes longer."""
    advisories: tuple[Path, ...] = Field(default=(), max_length=20)
    """Files and directories on the host: OSV (.json, .zip) or data of debsecan; besides the package lists of apt."""
    exploited: Catalogue | None = None
    """A catalogue on the host of holes that are known to be exploited (KEV, .json); these are then marked."""
    max_data_age_days: float = Field(default=7, gt=0, le=3650)
    """Advisory data and package lists that are older are a finding."""
    allow_network: bool = False
    """Let pip-audit on the host ask the network."""
    python_paths: tuple[Path, ...] = Field(default=(), max_length=50)
    """Directories of Python packages (patterns); empty: those below /usr/local, /opt, /srv and homes."""
    manifests: tuple[Manifest, ...] = Field(default=(), max_length=50)
    """Files of requirements, and lock files (patterns), on the host, that are called so; no other file is read."""
    profile: Literal["auto", "cis_debian12", "none"] = "auto"
    """The compliance profile; `auto`: the one for the host's system, where there is one."""
    skip_rules: tuple[Code, ...] = Field(default=(), max_length=100)
    """Rules that are not judged, by their codes."""
    allowed_ports: tuple[Annotated[int, Field(ge=1, le=65535)], ...] = Field(default=(22, 80, 443), max_length=200)
    """Ports on which programs may listen on all addresses."""
    paths: tuple[Path, ...] = Field(default=("/",), min_length=1, max_length=50)
    """Where files are looked at; network and virtual file systems below are not entered."""
    exclude_paths: tuple[Path, ...] = Field(
        default=("/proc", "/sys", "/dev", "/run", "/var/lib/docker", "/var/lib/containers", "/snap"), max_length=100
    )
    """Directories that are not entered."""
    sshd_config: SshdConfig = "/etc/ssh/sshd_config"
    """The file that sshd is started with, below /etc/ssh and root's; what is in effect is asked of sshd itself."""
    sudoers: Path = "/etc/sudoers"
    """Read with all that it includes."""
    accept: tuple[Accepted, ...] = Field(default=(), max_length=200)
    """Accepted risks: listed, and not counted among the open ones."""
    seconds: int = Field(default=120, ge=5, le=3600)
    """For each of advisories, settings and files; files end there with what was seen, and are said to be cut."""
    lynis_seconds: int = Field(default=240, ge=10, le=3600)
    """lynis takes half a minute to some minutes; with more than the operation's timeout ask for a longer one."""
    integrity_seconds: int = Field(default=200, ge=10, le=3600)
    """The same for `integrity`."""
    sudo: bool = True
    """Look as root; without it much is not known, and said to be so."""

    @model_validator(mode="after")
    def _sound(self) -> Self:
        strange = sorted({*self.skip_rules, *(one.code for one in self.accept)} - CODES)
        if strange:
            raise ValueError(f"there is no rule with the code {strange[0]!r}; the page of this type lists them")
        if len(set(self.checks)) != len(self.checks):
            raise ValueError("each check stands once")
        return self
