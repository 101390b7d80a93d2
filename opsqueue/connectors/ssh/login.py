"""Who logs in to a host: the user, and the private keys and certificates that are offered; never a password or agent.

A key is read once for each version of its file: a passphrase costs a tenth of a second of computing each time, and a
thousand hosts may share one key.
"""

from __future__ import annotations

import copy
import os
import pwd
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import paramiko
from cryptography.exceptions import UnsupportedAlgorithm

from opsqueue.connectors.ssh.keyfile import missing, objection, place_of
from opsqueue.errors import HostUnreachable
from opsqueue.model.host import Host

_USUAL = ("id_ed25519", "id_ecdsa", "id_rsa")


def user_of(host: Host) -> str:
    """The login name: the host's, else that of the worker's user."""
    return host.user or pwd.getpwuid(os.geteuid()).pw_name


class KeyRing:
    """The private keys that were read, by file; safe with several threads."""

    def __init__(self, passphrase: Callable[[], str] | None) -> None:
        self._passphrase = passphrase
        self._lock = threading.Lock()
        self._read: dict[tuple[object, ...], list[Any]] = {}

    def keys_for(self, host: Host) -> list[Any]:
        """What is offered, in this order: the certificate, then the key itself. Raises HostUnreachable when none."""
        if host.key_file:
            return self._keys(host, place_of(host.key_file), "key_file")
        places = [file for name in _USUAL if (file := _home() / ".ssh" / name).is_file()]
        if not places:
            raise HostUnreachable(
                f"{host.name} needs a private key: none is named (key_file), and {_home()}/.ssh has none of "
                f"{', '.join(_USUAL)}. Set key_file for the host, or ssh.key_file for all.",
                host=host.name,
            )
        return [key for place in places for key in self._keys(host, place, "the private key")]

    def _keys(self, host: Host, file: Path, called: str) -> list[Any]:
        certificate = place_of(host.certificate_file) if host.certificate_file else None
        # Each time: a file that was opened to others meanwhile is not the same any more.
        if why := objection(file, called):
            raise _cannot(host, why)
        try:
            version = (file, file.stat().st_mtime_ns, certificate, _version(certificate))
            with self._lock:
                if version not in self._read:
                    self._read[version] = _offers(self._loaded(file), certificate)
                return self._read[version]
        except (OSError, ValueError, TypeError, paramiko.SSHException, UnsupportedAlgorithm) as error:
            named = f"{file} (with {certificate})" if certificate else f"{file}"
            raise _cannot(host, f"{called} {named} cannot be used: {error}") from None

    def _loaded(self, file: Path) -> Any:
        try:
            return paramiko.PKey.from_path(file)
        except (ValueError, paramiko.UnknownKeyType, UnsupportedAlgorithm):  # which speak to programmers
            raise ValueError("it is damaged, or of a kind that is not known; ed25519, ecdsa and rsa are") from None
        except TypeError:  # it is encrypted: only then is the passphrase asked for
            if self._passphrase is None:
                raise ValueError("it has a passphrase; name where that is: ssh.key_passphrase") from None
        try:
            return paramiko.PKey.from_path(file, self._passphrase().encode())
        except ValueError:  # which speaks of something else
            raise ValueError("its passphrase is not what ssh.key_passphrase holds") from None


def _cannot(host: Host, why: str) -> HostUnreachable:
    whose = "" if not host.key_file else " (the settings are those of the host, else of `ssh`)"
    return HostUnreachable(f"{host.name} cannot be logged in to: {why}{whose}", host=host.name)


def _version(certificate: Path | None) -> int:
    """When the certificate was changed; ValueError when it is no file."""
    try:
        if certificate and not certificate.is_file():
            raise ValueError(f"certificate_file {certificate} is no file")
        return certificate.stat().st_mtime_ns if certificate else 0
    except OSError as error:
        raise ValueError(f"certificate_file {certificate} {missing(error)}") from None


def _home() -> Path:
    return Path(pwd.getpwuid(os.geteuid()).pw_dir)


def _offers(key: Any, certificate: Path | None) -> list[Any]:
    if certificate:
        key.load_certificate(str(certificate))
    if key.public_blob is None:
        return [key]
    plain = copy.copy(key)
    plain.public_blob = None
    return [key, plain]
