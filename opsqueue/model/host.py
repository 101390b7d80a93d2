"""A machine in the inventory, and how to reach it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from opsqueue.errors import InvalidRequest

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9])?")


def host_name(name: str) -> str:
    """The name, if nothing could take it for an option, a path or shell text; else InvalidRequest."""
    if not _NAME.fullmatch(name):
        raise InvalidRequest(
            f"a host name has letters, digits, dots, dashes and underscores and begins and ends with a letter "
            f"or digit; found {name[:80]!r}. Write the name as `opsqueue hosts list` shows it."
        )
    return name


class Host(BaseModel):
    """One machine. `name` is how people call it, `address` where it is; frozen."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    address: str = ""
    connector: Literal["local"] = "local"
    tags: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    parameters: Mapping[str, Mapping[str, Any]] = Field(default_factory=dict)
    """Defaults of parameters by operation type; what the request says goes before."""

    @field_validator("name")
    @classmethod
    def _valid_name(cls, name: str) -> str:
        return host_name(name)
