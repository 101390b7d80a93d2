"""A machine in the inventory, and how to reach it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, InstanceOf, field_serializer, field_validator

from opsqueue.errors import InvalidRequest
from opsqueue.model.window import Window

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9])?")
_GROUP = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,199}")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._:=/@+-]{0,199}")
_ADDRESS = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,253}|[0-9A-Fa-f:]{2,45}(?:%[A-Za-z0-9_.-]{1,32})?")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@\\-]{0,63}")


def host_name(name: str) -> str:
    """The name, if nothing could take it for an option, a path or shell text; else InvalidRequest."""
    if not _NAME.fullmatch(name) or name == "all":
        raise InvalidRequest(
            f"a host name has letters, digits, dots, dashes and underscores and begins and ends with a letter "
            f"or digit; `all` is none; found {name[:80]!r}. Write the name as `opsqueue hosts list` shows it."
        )
    return name


def group_name(name: str) -> str:
    """The name, if it can be one of a group; else InvalidRequest. `all` stands for every host already."""
    if not _GROUP.fullmatch(name) or name == "all":
        raise InvalidRequest(
            "a group's name has letters, digits, dots, dashes and underscores, does not begin with a dot or a dash, "
            f"and is not `all`; found {name[:80]!r}. Give it another name."
        )
    return name


class Host(BaseModel):
    """One machine. `name` is how people call it, `address` where it is; frozen."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    address: str = ""
    """Where it is; empty: its name is looked up."""
    connector: Literal["local", "ssh", "worker"] = "local"
    """`local`: the machine of the worker. `ssh`: over SSH. `worker`: it runs `opsqueue worker --host NAME` itself."""
    port: int = Field(default=22, ge=1, le=65535)
    user: str = ""
    """Who logs in over SSH; empty: the user that the worker runs as."""
    key_file: str = ""
    """The private key; empty: the usual ones in `~/.ssh` of the worker's user."""
    certificate_file: str = ""
    """An OpenSSH user certificate for the key."""
    gateway: str = ""
    """The name of the host of this inventory through which it is reached."""
    tags: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    windows: tuple[InstanceOf[Window], ...] = ()
    """Its own maintenance windows: with them no other window counts for it."""
    parameters: Mapping[str, Mapping[str, Any]] = Field(default_factory=dict)
    """Defaults of parameters by operation type; what the request says goes before."""

    @property
    def where(self) -> str:
        """`address:port`, as people read it."""
        return f"{self.address or self.name}:{self.port}"

    @field_validator("name")
    @classmethod
    def _valid_name(cls, name: str) -> str:
        return host_name(name)

    @field_validator("address")
    @classmethod
    def _valid_address(cls, address: str) -> str:
        if address and not _ADDRESS.fullmatch(address):
            raise ValueError(f"address is a host name or an IP address; found {address[:80]!r}")
        return address

    @field_validator("user")
    @classmethod
    def _valid_user(cls, user: str) -> str:
        if user and not _USER.fullmatch(user):
            raise ValueError(f"user is a login name; found {user[:80]!r}")
        return user

    @field_validator("tags")
    @classmethod
    def _valid_tags(cls, tags: tuple[str, ...]) -> tuple[str, ...]:
        for tag in tags:
            if not _TAG.fullmatch(tag):
                raise ValueError(f"a tag is a word of letters, digits and . _ : = / @ + -; found {tag[:80]!r}")
        return tuple(dict.fromkeys(tags))

    @field_serializer("windows")
    def _as_written(self, windows: tuple[Window, ...]) -> list[str]:
        return [window.spec for window in windows]
