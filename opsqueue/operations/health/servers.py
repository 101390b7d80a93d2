"""Checks of servers that have a protocol of their own: SSH, PostgreSQL, Redis."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints

from opsqueue.model.in_words import in_words
from opsqueue.operations.health.check import ALWAYS, HostName, NetworkCheck, Path, Percent, Port
from opsqueue.secrets import SecretRef

_FOR_CHECKS = re.compile(
    r"file:/etc/opsqueue/check-secrets/[A-Za-z0-9_][A-Za-z0-9_.-]*|env:CHECK_[A-Za-z0-9_]+|systemd:check-[A-Za-z0-9_.-]+"
)


def _for_checks(secret: SecretRef) -> SecretRef:
    if not _FOR_CHECKS.fullmatch(secret.ref):
        raise ValueError(
            "whoever may look at a host chooses where a check tells its password, so only those that were made for "
            "checks are told: file:/etc/opsqueue/check-secrets/NAME, env:CHECK_NAME or systemd:check-NAME on the "
            f"worker; found {secret.ref[:80]}"
        )
    return secret


CheckSecret = Annotated[SecretRef, AfterValidator(_for_checks)]
Fingerprint = Annotated[
    str,
    StringConstraints(pattern=r"^SHA256:[A-Za-z0-9+/]{43}=?$"),
    in_words("a fingerprint as `ssh-keygen -lf` prints it, such as SHA256:…"),
]
Login = Annotated[
    str,
    StringConstraints(max_length=63, pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.$-]*$"),
    in_words("a name of letters, digits and _, and then . $ - too"),
]


class SshCheck(NetworkCheck):
    """An SSH server: whether it answers, and with the right host key; nobody logs in."""

    places = ALWAYS | {"IP", "BODY"}
    kind: Literal["ssh"]
    host: HostName
    port: Port = 22
    host_keys: tuple[Fingerprint, ...] = Field(default=(), max_length=10)
    """Fingerprints of host keys, any one of which is right; without one the key is only shown."""


class ServerCheck(NetworkCheck):
    """What a check with a login has."""

    places = ALWAYS | {"IP"}
    host: HostName
    password: CheckSecret | None = None
    """A reference that the worker reads: file:/etc/opsqueue/check-secrets/NAME, env:CHECK_NAME, systemd:check-NAME."""
    tls: bool = False
    verify_tls: bool = True
    ca_file: Path | None = None
    """Authorities to believe instead of the system's; a file on the worker."""


class PostgresCheck(ServerCheck):
    """A PostgreSQL: log in, SELECT 1, and how it stands, in a transaction that can only read."""

    kind: Literal["postgres"]
    port: Port = 5432
    user: Login
    """Its role needs no right but pg_monitor, to see the transactions of others."""
    database: Login = "postgres"
    expect_role: Literal["primary", "standby"] | None = None
    max_lag_s: float = Field(default=30, ge=0, le=1_000_000)
    """Seconds that a standby may be behind."""
    max_connections_percent: Percent = 80
    """Of max_connections."""
    max_transaction_s: float = Field(default=3600, gt=0, le=10_000_000)
    """Seconds that the oldest transaction may be open."""


class RedisCheck(ServerCheck):
    """A Redis: PING, and what INFO says."""

    kind: Literal["redis"]
    port: Port = 6379
    user: Login | None = None
    expect_role: Literal["primary", "replica"] | None = None
    max_memory_percent: Percent = 90
    """Of maxmemory, where it has one."""
