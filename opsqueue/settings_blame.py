"""Where a setting that cannot be accepted was said: in the file, or in which variable of the environment."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from pydantic import BaseModel, ValidationError
from pydantic_settings import SettingsError

from opsqueue.model.refused import NO_SUCH_NAME, Loc, Refused, refused
from opsqueue.secrets import literal_secrets

PREFIX = "OPSQUEUE_"
_MOST = 12
_SECRET = frozenset(
    {
        "broker_url",
        "database_url",
        "notification_urls",
        "notification_channels",
        "notification_rules",
        "key_passphrase",
        "ack_key",
    }
)
"""Settings whose value may be a secret, and so is never repeated."""


def explain(error: ValidationError, where: str, model: type[BaseModel]) -> str:
    """One sentence for all that is wrong: what the environment says by its variable, the rest by its key in `where`."""
    named = [(_variable(one.loc), one) for one in refused(error, model)[:_MOST]]
    places = dict.fromkeys("the environment" if variable else where for variable, _ in named)
    parts = [
        _of_variable(variable, one) if variable else f"{'.'.join(map(str, one.loc))}: {one.told}".removeprefix(": ")
        for variable, one in named
    ]
    return f"{' and '.join(places)} cannot be accepted: {'; '.join(parts)}"


def _variable(loc: Loc) -> str:
    """The variable that says this setting, or holds it as JSON; empty when none does."""
    names = (f"{PREFIX}{'__'.join(str(part) for part in loc[:end]).upper()}" for end in range(len(loc), 0, -1))
    return next((name for name in names if name in _environment()), "")


def _environment() -> Mapping[str, str]:
    # The names of variables are read without regard to their case.
    return {name.upper(): value for name, value in os.environ.items()}


def _of_variable(variable: str, one: Refused) -> str:
    levels = variable.removeprefix(PREFIX).count("__") + 1
    inside = ".".join(map(str, one.loc[levels:]))
    if inside:
        return f"{variable}: {inside}: {one.told}"
    found = _found(variable, one.loc)
    told = one.wrong if found else one.told
    if told.startswith(NO_SUCH_NAME):
        above = variable.rpartition("__")[0]
        told = re.sub(r"did you mean '(\w+)'", lambda near: f"did you mean '{above}__{near[1].upper()}'", told)
    return f"{variable}: {told}{found}"


def _found(variable: str, loc: Loc) -> str:
    value = _environment()[variable]
    hidden = _SECRET.intersection(map(str, loc)) or literal_secrets({str(loc[-1]): value})
    return "" if hidden or "://" in value else f"; found {value[:60]!r}"


def unreadable(error: SettingsError) -> str:
    """The sentence for a variable whose text is no JSON where that is needed."""
    field = re.search(r'field "(\w+)"', str(error))
    variable = f"{PREFIX}{field[1].upper()}" if field else "the environment"
    return f'{variable} cannot be read: wanted JSON, such as \'["a", "b"]\' for a list and \'{{"a": 1}}\' for an object'
