"""The host keys that are trusted: opsqueue's own file, in the form of OpenSSH's known_hosts.

Nothing is trusted on first sight: a key gets here by `opsqueue hosts trust`, when a person compared it. A key counts
for an address and port; hashed names and `@revoked` lines, as ssh-keygen writes them, are honoured, patterns and
certificate authorities are not.
"""

from __future__ import annotations

import base64
import binascii
import fcntl
import hashlib
import hmac
import os
import stat
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from opsqueue.errors import HostNotTrusted
from opsqueue.model.host import Host

_USUAL_PORT = 22
_HASHED = "|1|"


@dataclass(frozen=True, slots=True)
class HostKey:
    """A public host key: its `kind` (`ssh-ed25519` …) and its base64 `data`, as they stand in known_hosts."""

    kind: str
    data: str

    @property
    def fingerprint(self) -> str:
        """`SHA256:…`, as `ssh-keygen -lf` prints it."""
        digest = hashlib.sha256(base64.b64decode(self.data)).digest()
        return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")

    def __str__(self) -> str:
        return f"{self.kind} {self.fingerprint}"


@dataclass(frozen=True, slots=True)
class _Line:
    """One line of the file that names a key; `names` as they stand there."""

    names: tuple[str, ...]
    key: HostKey
    revoked: bool = False


def entry(host: Host) -> str:
    """Its name in the file: `[address]:port`, or the address alone where the port is 22; behind a gateway, `…@GATEWAY`.

    Behind two gateways the same address may be two machines.
    """
    address = (host.address or host.name).lower()
    place = address if host.port == _USUAL_PORT else f"[{address}]:{host.port}"
    return f"{place}@{host.gateway}" if host.gateway else place


def pinned(path: Path, host: Host) -> tuple[HostKey, ...]:
    """The keys that are trusted for this host; none when the file does not exist yet.

    Raises HostNotTrusted when the file cannot be read: then nothing in it can be trusted.
    """
    lines = _read(path)
    name = entry(host)
    return tuple(key for key in lines.keys_of(name) if key not in lines.revoked)


def pin(path: Path, host: Host, key: HostKey, *, replace: bool = False) -> bool:
    """Trust this key for this host from now on; False when it already was trusted, and nothing was written.

    Raises HostNotTrusted when another key is pinned and may not be replaced.
    """
    path = path.resolve()  # a link stays one
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _alone(path):
        known = pinned(path, host)
        if key in _read(path).revoked:
            raise HostNotTrusted(
                f"{host.name} ({host.where}) shows {key}, which {path} revokes; take that line out first",
                host=host.name,
            )
        if key in known and (not replace or len(known) == 1):
            return False
        if known and not replace:
            raise changed(host, known, key)
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        kept = [one for line in lines if (one := _without(line, entry(host))) is not None]
        _write(path, [*kept, f"{entry(host)} {key.kind} {key.data}"])
    return True


def unknown_key(host: Host, key: HostKey | None = None) -> HostNotTrusted:
    """The error for a host of which no key is pinned; `key` is the one that it showed."""
    found = f"it shows {key}" if key else "it was not asked to show one"
    return HostNotTrusted(
        f"{host.name} ({host.where}) is not trusted: wanted a pinned host key, found none; {found}. Compare that with "
        f"`ssh-keygen -lf` on the host, then `opsqueue hosts trust {host.name}`.",
        host=host.name,
        shown=key.fingerprint if key else None,
    )


def changed(host: Host, known: Sequence[HostKey], key: HostKey) -> HostNotTrusted:
    """The error for a host that shows another key than the pinned one."""
    wanted = " or ".join(map(str, known))
    return HostNotTrusted(
        f"{host.name} ({host.where}) shows another host key than the pinned one: wanted {wanted}, found {key}. "
        f"Somebody may stand between, so nothing was sent. If the machine was reinstalled, compare the key with "
        f"`ssh-keygen -lf` on the host, then `opsqueue hosts trust {host.name} --replace`.",
        host=host.name,
        pinned=[one.fingerprint for one in known],
        shown=key.fingerprint,
    )


class _Lines:
    """The lines of a file, by name; made once for each version of the file, because a thousand hosts ask."""

    def __init__(self, lines: Sequence[_Line]) -> None:
        self.revoked = {line.key for line in lines if line.revoked}
        self._plain: dict[str, list[HostKey]] = {}
        self._hashed: list[tuple[str, HostKey]] = []
        for line in lines:
            for name in line.names:
                if name.startswith(_HASHED):
                    self._hashed.append((name, line.key))
                else:
                    self._plain.setdefault(name.lower(), []).append(line.key)

    def keys_of(self, name: str) -> list[HostKey]:
        """Every key under this name, each once."""
        hashed = [key for one, key in self._hashed if _hash_fits(one, name)]
        return list(dict.fromkeys([*self._plain.get(name, ()), *hashed]))


def _read(path: Path) -> _Lines:
    try:
        found = path.stat()
        if found.st_mode & stat.S_IWOTH:
            raise HostNotTrusted(f"the pinned host keys {path} can be written by anybody: chmod o-w {path}")
        return _parsed(path, found.st_mtime_ns, found.st_size, found.st_ino)
    except FileNotFoundError:
        return _Lines(())
    except (OSError, UnicodeDecodeError) as error:
        raise HostNotTrusted(f"the pinned host keys {path} cannot be read: {error}. Mend or remove the file.") from None


@lru_cache(maxsize=8)
def _parsed(path: Path, _changed_at: int, _size: int, _file: int) -> _Lines:
    lines = map(_line, path.read_text(encoding="utf-8").splitlines())
    return _Lines([line for line in lines if line])


def _line(text: str) -> _Line | None:
    """A line that names a key; None for comments, authorities and what cannot be read."""
    words = text.split()
    revoked = words[:1] == ["@revoked"]
    if revoked:
        del words[0]
    if len(words) < 3 or words[0].startswith(("#", "@")):  # noqa: PLR2004 - names, kind, data
        return None
    try:
        base64.b64decode(words[2], validate=True)
    except (binascii.Error, ValueError):
        return None
    return _Line(tuple(words[0].split(",")), HostKey(words[1], words[2]), revoked)


def _hash_fits(hashed: str, name: str) -> bool:
    try:
        salt, wanted = (base64.b64decode(part) for part in hashed.removeprefix(_HASHED).split("|"))
    except ValueError:
        return False
    return hmac.compare_digest(hmac.digest(salt, name.encode(), "sha1"), wanted)


def _without(text: str, name: str) -> str | None:
    """The line without this name; None when no other name is left in it."""
    line = _line(text)
    if line is None or line.revoked:
        return text
    kept = [one for one in line.names if one.lower() != name and not _hash_fits(one, name)]
    if len(kept) == len(line.names):
        return text
    return f"{','.join(kept)} {line.key.kind} {line.key.data}" if kept else None


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One process at a time; the lock stands beside the file, which is itself replaced."""
    handle = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _write(path: Path, lines: Sequence[str]) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mode 0600
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write("".join(f"{line}\n" for line in lines))
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
