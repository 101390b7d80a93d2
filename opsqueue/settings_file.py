"""The configuration file: where it is, and what stands in it."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

from opsqueue.errors import InvalidConfig
from opsqueue.model.request import strict_json
from opsqueue.secrets import literal_secrets

_PLACES = (
    "./opsqueue.json",
    "./opsqueue.toml",
    "/etc/opsqueue/opsqueue.json",
    "/etc/opsqueue/opsqueue.toml",
)


def find_config(explicit: str | None = None) -> Path | None:
    """The configuration file: `--config`, OPSQUEUE_CONFIG, the working directory, /etc; else None."""
    named = explicit or os.environ.get("OPSQUEUE_CONFIG")
    if named:
        return Path(named)
    return next((Path(place) for place in _PLACES if Path(place).is_file()), None)


def read_config(path: Path) -> dict[str, Any]:
    """Its keys and values; InvalidConfig when it cannot be read, or holds a secret in plain text."""
    try:
        text = path.read_text(encoding="utf-8")
        data = tomllib.loads(text) if path.suffix == ".toml" else strict_json(text)
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidConfig(f"the configuration {path} cannot be read: {error}") from None
    if not isinstance(data, dict):
        raise InvalidConfig(f"the configuration {path} is not an object of keys and values")
    if found := literal_secrets(data):
        raise InvalidConfig(
            f"{path}: {found[0]} holds a secret in plain text. Write a reference instead: "
            '{"$secret": "file:/path"}, {"$secret": "env:NAME"} or {"$secret": "systemd:NAME"}.'
        )
    return data
