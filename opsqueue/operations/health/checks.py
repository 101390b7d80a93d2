"""What can be checked: one frozen record per kind of check, with limits and units on the fields."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, field_validator, model_validator

from opsqueue.model.in_words import in_words
from opsqueue.model.kind import NO_TEMPLATE
from opsqueue.operations.health.check import ALWAYS, Argument, Check, HostName, NetworkCheck, Path, Percent, Port, Word
from opsqueue.operations.health.servers import PostgresCheck, RedisCheck, SshCheck

_SECRET_HEADER = re.compile(r"(?i)authorization|cookie|token|secret|api-?key|password")
_SECRET_NAME = re.compile(r"(?i)pass(word|wd|phrase)?|secret|token|api_?key|private_?key|credential")
_PLUGIN = re.compile(r"/etc/opsqueue/checks/[A-Za-z0-9_][A-Za-z0-9_.-]*")
"""Where the administrator of a host puts, or links, the programs that may check it; a name in it, no other path."""
_USERINFO = re.compile(r"(?i)^https?://[^/?#]*@")


class HttpCheck(NetworkCheck):
    """A request to a web server."""

    places = ALWAYS | {"STATUS", "BODY", "HEADERS", "CERTIFICATE_EXPIRATION", "IP"}
    kind: Literal["http"]
    url: Word
    method: Literal["GET", "HEAD", "POST", "PUT", "OPTIONS"] = "GET"
    expect_status: Literal["2xx", "3xx", "4xx", "5xx"] | tuple[Annotated[int, Field(ge=100, le=599)], ...] = "2xx"
    """Left out while a condition looks at [STATUS]."""
    headers: Mapping[Word, str] = Field(default_factory=dict, max_length=30)
    body: str = Field(default="", max_length=16_384)
    follow_redirects: bool = False
    verify_tls: bool = True
    ca_file: Path | None = None
    """Authorities to believe instead of the system's; a file on the worker."""
    max_bytes: int = Field(default=65_536, ge=1, le=1_048_576)
    """Bytes of the body that are read."""

    @field_validator("url")
    @classmethod
    def _plain_url(cls, url: str) -> str:
        if "{" in url or "}" in url:
            raise ValueError(NO_TEMPLATE)
        if not re.match(r"(?i)https?://[^/?#\s]", url):
            raise ValueError("a url begins with http:// or https:// and names a host")
        if _USERINFO.match(url):
            raise ValueError("a url holds no user and password: they would be kept in the record and seen in logs")
        return url

    @field_validator("headers")
    @classmethod
    def _no_secrets(cls, headers: Mapping[str, str]) -> Mapping[str, str]:
        for name, value in headers.items():
            if _SECRET_HEADER.search(name):
                raise ValueError(
                    f"the header {name} holds a secret, and parameters are kept in the record and seen by people. "
                    f"Check a page that needs no login, or use a command check that reads its secret on the host."
                )
            if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name) or re.search(r"[\x00-\x08\x0a-\x1f\x7f]", value):
                raise ValueError(f"{name[:40]!r} is no header that can be sent")
        return headers


class TcpCheck(NetworkCheck):
    """A connection to a port, optionally with a line sent and a text expected."""

    places = ALWAYS | {"IP", "BODY"}
    kind: Literal["tcp"]
    host: HostName
    port: Port
    send: str = Field(default="", max_length=1024)
    expect: str = Field(default="", max_length=256)
    """A text that must come, as it is; without it nothing is read, and conditions have no [BODY]."""

    @model_validator(mode="after")
    def _reads_what_it_looks_at(self) -> TcpCheck:
        if self.looks_at("BODY") and not self.expect:
            raise ValueError("nothing is read without `expect`, so that conditions have no [BODY]")
        return self


class TlsCheck(NetworkCheck):
    """The certificate of a server."""

    places = ALWAYS | {"IP", "CERTIFICATE_EXPIRATION"}
    kind: Literal["tls"]
    host: HostName
    port: Port = 443
    server_name: HostName | None = None
    """The name to ask for and to find in the certificate; else the host."""
    starttls: Literal["smtp", "imap", "postgres"] | None = None
    warn_days: float = Field(default=30, ge=0, le=3650)
    crit_days: float = Field(default=7, ge=0, le=3650)
    """Days left of the certificate in the chain that ends first."""
    min_protocol: Literal["TLSv1.2", "TLSv1.3"] = "TLSv1.2"
    """What the server must be able to speak at least; less is a warning."""
    ca_file: Path | None = None


class DnsCheck(NetworkCheck):
    """The answer of a name server."""

    places = ALWAYS | {"DNS_RCODE", "BODY"}
    kind: Literal["dns"]
    query: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_*.-]{1,253}$"), in_words("a name of the DNS")]
    """The name to ask for."""
    rtype: Literal["A", "AAAA", "CNAME", "MX", "NS", "PTR", "SOA", "SRV", "TXT", "CAA"] = "A"
    resolver: (
        Annotated[
            str,
            StringConstraints(pattern=r"^[0-9a-fA-F.:\[\]]{2,60}$"),
            in_words("the address of a name server, such as 192.0.2.53 or [2001:db8::53]:5353"),
        ]
        | None
    ) = None
    """An address, optionally with a port; else the worker's own name servers."""
    expect: tuple[Word, ...] = Field(default=(), max_length=50)
    """Exactly these records, in any order."""


class ProcessCheck(Check):
    """Processes on the host; exactly one of `process`, `cmdline` and `pidfile`."""

    kind: Literal["process"]
    process: Word | None = None
    """The program's name."""
    cmdline: Word | None = None
    """An extended regular expression for the whole command line."""
    pidfile: Path | None = None
    min: int = Field(default=1, ge=0, le=100_000)
    max: int | None = Field(default=None, ge=0, le=100_000)

    @model_validator(mode="after")
    def _one_way(self) -> ProcessCheck:
        if len([way for way in (self.process, self.cmdline, self.pidfile) if way]) != 1:
            raise ValueError("a process is found by exactly one of process, cmdline and pidfile")
        if self.max is not None and self.max < self.min:
            raise ValueError(f"max is at least min; found {self.max} and {self.min}")
        return self


class ServiceCheck(Check):
    """A service as its manager sees it: systemd, else supervisor, runit or SysV."""

    kind: Literal["service"]
    unit: Annotated[
        str,
        StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9@:._\\-]{0,254}$"),
        in_words("the name of a service: letters, digits and _, and then @ : . - too, such as nginx"),
    ]
    expect_active: bool = True
    max_restarts: int = Field(default=3, ge=0, le=1_000_000)
    """More restarts by systemd itself since the unit was loaded are a warning."""


class DiskCheck(Check):
    """The file system that holds a path."""

    kind: Literal["disk"]
    path: Path = "/"
    warn_percent: Percent = 90
    crit_percent: Percent = 95
    warn_inode_percent: Percent = 90
    crit_inode_percent: Percent = 95
    allow_read_only: bool = False
    write_test: bool = False
    """Also write a small file in the directory `path`, read it back and remove it: more than a look."""


class MemoryCheck(Check):
    """Memory in use, from the system reading."""

    kind: Literal["memory"]
    warn_percent: Percent = 85
    crit_percent: Percent = 95


class LoadCheck(Check):
    """The load average over five minutes, divided by the number of processors."""

    kind: Literal["load"]
    warn_per_cpu: float = Field(default=2.0, gt=0, le=1000)
    crit_per_cpu: float = Field(default=4.0, gt=0, le=1000)


class CommandCheck(Check):
    """A monitoring plugin of the host: exit 0, 1, 2, 3 and performance data.

    Only programs that the host's administrator put into one folder: a health check passes freezes, windows and locks
    because it only looks, and many monitoring plugins do more when their arguments say so.
    """

    kind: Literal["command"]
    argv: tuple[Argument, ...] = Field(min_length=1, max_length=100)

    @field_validator("argv")
    @classmethod
    def _a_program(cls, argv: tuple[str, ...]) -> tuple[str, ...]:
        if not _PLUGIN.fullmatch(argv[0]):
            raise ValueError(
                f"argv begins with a program in /etc/opsqueue/checks/ of the host; found {argv[0][:80]!r}. Put a check "
                "there, or link a monitoring plugin that only looks, whatever its arguments"
            )
        named = [word for word in argv if re.match(r"-{0,2}[\w-]*=.", word) and _SECRET_NAME.search(word.split("=")[0])]
        if named:
            raise ValueError(f"{named[0].split('=')[0]} holds a secret, which everybody on the host could see in `ps`")
        return argv


AnyCheck = Annotated[
    HttpCheck
    | TcpCheck
    | TlsCheck
    | DnsCheck
    | ProcessCheck
    | ServiceCheck
    | DiskCheck
    | MemoryCheck
    | LoadCheck
    | CommandCheck
    | SshCheck
    | PostgresCheck
    | RedisCheck,
    Field(discriminator="kind"),
]
