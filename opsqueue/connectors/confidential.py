"""Secrets at the last moment: references read just before something is sent, and their values kept out of answers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from opsqueue.errors import InvalidConfig
from opsqueue.model.plan import Result
from opsqueue.secrets import SecretRef

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
_OURS = "env:OPSQUEUE_"
"""Who may ask for an operation chooses where its secrets are sent; the way to the record and the broker is not his."""
_SHORTEST = 4
"""Characters; what is shorter stands in any text by chance."""


def revealed(secrets: Mapping[str, str]) -> dict[str, str]:
    """The values by their environment names, read now.

    Raises InvalidConfig, which names the reference and never the value.
    """
    return {name: _value(name, reference) for name, reference in secrets.items()}


def _value(name: str, reference: str) -> str:
    if not _NAME.fullmatch(name):
        raise InvalidConfig(f"a secret is handed over under the name of an environment variable; found {name[:80]!r}")
    if reference.startswith(_OURS):
        raise InvalidConfig(
            f"{name}: {reference} is a setting of the worker itself, and none is handed to an operation"
        )
    try:
        ref = SecretRef.model_validate({"$secret": reference})
    except ValueError:
        raise InvalidConfig(f"{name}: a reference is file:…, env:… or systemd:…") from None
    value = ref.resolve()
    if not value or "\0" in value:
        raise InvalidConfig(f"the secret {reference} is empty, or holds a zero byte, which no environment can")
    return value


def concealed(result: Result, values: Iterable[str]) -> Result:
    """The result without the values, should a program print what it was told."""
    out, err = result.stdout, result.stderr
    for value in values:
        if len(value) >= _SHORTEST:
            out, err = out.replace(value, "[secret]"), err.replace(value, "[secret]")
    return result if (out, err) == (result.stdout, result.stderr) else replace(result, stdout=out, stderr=err)


def hidden(answer: Any, values: Iterable[str]) -> Any:
    """An answer as JSON without the values, should a server send back what it was told."""
    kept = [value for value in values if len(value) >= _SHORTEST]
    return _hidden(answer, kept) if kept else answer


def _hidden(answer: Any, values: Sequence[str]) -> Any:
    if isinstance(answer, str):
        for value in values:
            answer = answer.replace(value, "[secret]")
        return answer
    if isinstance(answer, Mapping):
        return {key: _hidden(child, values) for key, child in answer.items()}
    return [_hidden(child, values) for child in answer] if isinstance(answer, list) else answer
