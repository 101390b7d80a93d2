"""References to secrets: the record, the logs and the configuration hold these, never the secret itself."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from opsqueue.errors import InvalidConfig
from opsqueue.model.in_words import in_words

_SECRET_KEY = re.compile(r"(?i)(^|_)(password|passwd|secret|token|api_?key|private_?key)$")
# A port and a query are no password: mailto://127.0.0.1:2525?from=ops@example.com
_SECRET_URL = re.compile(r"^[a-z][a-z0-9+.-]*://[^/@\s]*:(?![0-9]{1,5}\?)[^/@\s]+@", re.IGNORECASE)
_PLAIN_SCHEMES = (
    "mailto",
    "mailtos",
    "json",
    "jsons",
    "xml",
    "xmls",
    "form",
    "forms",
    "http",
    "https",
    "syslog",
)
"""Schemes of notification URLs that carry no token in their path."""


class SecretRef(BaseModel):
    """`{"$secret": "file:…" | "env:…" | "systemd:…"}`."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    ref: Annotated[
        str,
        Field(alias="$secret", pattern=r"^(file|env|systemd):[^\x00-\x1f]+$"),
        in_words("file:/a/path, env:NAME or systemd:NAME"),
    ]

    def resolve(self) -> str:
        """The secret, read now; InvalidConfig names the reference, never the value."""
        source, _, name = self.ref.partition(":")
        try:
            return {"file": _from_file, "env": _from_env, "systemd": _from_systemd}[source](name)
        except KeyError as error:
            missing = f"there is no {error.args[0]} in the environment of whoever reads it"
            raise InvalidConfig(f"the secret {self.ref} cannot be read: {missing}") from None
        except OSError as error:
            raise InvalidConfig(f"the secret {self.ref} cannot be read: {error.strerror or error}") from None
        except UnicodeDecodeError:  # its own words hold a part of what was read
            raise InvalidConfig(f"the secret {self.ref} cannot be read: it is no text in ASCII or UTF-8") from None

    def problem(self) -> str:
        """Why this process cannot read it now; empty when it can. Nothing is taken out of a pipe."""
        source, _, name = self.ref.partition(":")
        try:
            if source == "file" and _flows(name):
                return ""
            return "" if self.resolve() else f"the secret {self.ref} is empty"
        except InvalidConfig as error:
            return error.message


def literal_secrets(data: Mapping[str, Any], path: str = "") -> list[str]:
    """Where a configuration holds a secret in plain text, as dotted paths."""
    return list(_literals(data, path))


def _literals(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, child in value.items():
            yield from _literals(child, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list | tuple):
        for number, child in enumerate(value):
            yield from _literals(child, f"{path}[{number}]")
    elif isinstance(value, str) and _is_secret(value, path):
        yield path


def _is_secret(value: str, path: str) -> bool:
    key = path.rsplit(".", 1)[-1]
    if key == "$secret":
        return False
    if _SECRET_KEY.search(key) or _SECRET_URL.match(value):
        return True
    return path.startswith("notification_urls") and value.partition("://")[0].lower() not in _PLAIN_SCHEMES


def _flows(name: str) -> bool:
    """Whether what is read there is gone: a pipe, a socket, a terminal."""
    path = Path(name)
    return path.exists() and not path.is_file() and not path.is_dir()


def _from_file(name: str) -> str:
    path = Path(name)
    if path.stat().st_mode & 0o077:
        raise PermissionError(f"{name} can be read by others; chmod 600 it")
    return path.read_text(encoding="utf-8").rstrip("\n")


def _from_env(name: str) -> str:
    return os.environ[name]


def _from_systemd(name: str) -> str:
    if "/" in name:
        raise PermissionError("a credential is given by its name, and no path")
    return (Path(os.environ["CREDENTIALS_DIRECTORY"]) / name).read_text(encoding="utf-8").rstrip("\n")
