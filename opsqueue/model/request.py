"""What a producer asks for: the JSON of one request, checked at the door."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from contextlib import suppress
from typing import Annotated, Any, TypeVar
from uuid import UUID, uuid4

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from opsqueue.errors import InvalidRequest
from opsqueue.model.in_words import in_words, kind_of
from opsqueue.model.names import TYPE_ALIASES, OperationPriority
from opsqueue.model.plan import digest_of
from opsqueue.model.refused import refused
from opsqueue.model.rollout import Rollout

_MOST_BYTES = 64 * 1024
_DEEPEST = 24

LINE = in_words("one line, without control characters")
Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$"), LINE]


class OperationConfig(BaseModel):
    """One request: do this type of work on these target systems. The fields of CONTRACT section 3."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: Name
    type: Name
    priority: OperationPriority = OperationPriority.NORMAL
    description: str = Field(default="", max_length=2000)
    target_systems: tuple[Name, ...] = Field(min_length=1, max_length=10_000)
    parameters: Mapping[str, Any] = Field(default_factory=dict)
    timeout: int = Field(default=300, ge=1, le=7 * 86_400, strict=True)
    """Seconds for the whole of execute; the rollback has as long again."""
    retry_count: int = Field(default=2, ge=0, le=20, strict=True)
    """How many more times a failed or unreachable target is tried."""
    maintenance_window: str | None = Field(default=None, max_length=200)
    """The name of a configured window, or a window of its own such as `Sunday 01:00-05:00`."""
    notification_channels: tuple[Name, ...] | None = None
    rollback_enabled: bool = True
    rollout: Rollout | None = None
    """How it goes over many hosts; what it leaves out is as the configuration says."""

    @field_validator("type", mode="before")
    @classmethod
    def _type_by_its_own_name(cls, value: Any) -> Any:
        # A member of the public enum and its text are the same thing; so are the accepted aliases.
        text = str(value) if isinstance(value, str) else value
        return TYPE_ALIASES.get(text, text) if isinstance(text, str) else text

    @field_validator("target_systems")
    @classmethod
    def _each_once(cls, systems: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(systems))


class Request(OperationConfig):
    """A request on its way: with its id, which is also the idempotency key, and who asks and why."""

    operation_id: UUID = Field(default_factory=uuid4)
    reason: str = Field(default="", max_length=2000)
    requested_by: Annotated[str, Field(max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$"), LINE] = "unknown"
    """Who says to be asking. A claim: nothing that arrives over the broker proves it."""

    def digest(self) -> str:
        """The same for the same request; the id, the requester and the reason do not count."""
        return digest_of(self.model_dump(mode="json", exclude={"operation_id", "requested_by", "reason"}))


Wanted = TypeVar("Wanted", bound=BaseModel)


def parse_request(data: Any) -> Request:
    """The request in a JSON object or text; InvalidRequest names each field that is wrong.

    Never raises anything else, however hostile the input.
    """
    return parsed(data, Request, "request", "name, type and target_systems")


def parsed(data: Any, model: type[Wanted], what: str, needs: str) -> Wanted:
    """What a JSON object or text holds, as a value of `model`; InvalidRequest, and nothing else, otherwise."""
    if isinstance(data, str | bytes):
        data = _load(data)
    if not isinstance(data, Mapping):
        raise InvalidRequest(f"a {what} is a JSON object with {needs}; found {kind_of(data)}")
    _check_depth(data)
    _check_size(data)
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise InvalidRequest(explain(error, f"the {what}", model)) from None


def strict_json(text: str | bytes) -> Any:
    """JSON in which no key stands twice and every number is finite; ValueError otherwise."""
    return json.loads(text, object_pairs_hook=_no_twins, parse_constant=_no_constants, parse_float=_finite)


def explain(error: ValidationError, what: str, model: type[BaseModel] | None = None) -> str:
    """One sentence for all that is wrong, with the field of `model` that was meant.

    Never repeats a text of the input, which may be a secret.
    """
    parts = [f"{'.'.join(map(str, one.loc))}: {one.told}".removeprefix(": ") for one in refused(error, model)]
    return f"{what} cannot be accepted: " + "; ".join(parts[:12])


def _load(text: str | bytes) -> Any:
    if len(text) > _MOST_BYTES:
        raise InvalidRequest(f"a request has at most {_MOST_BYTES} bytes; found {len(text)}")
    try:
        return strict_json(text)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"a request is JSON; this text is not: {error}") from None


def _no_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return found


def _no_constants(word: str) -> float:
    raise ValueError(f"{word} is no number of JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is too large a number")
    return number


def _check_size(data: Mapping[Any, Any]) -> None:
    # An object is held to what a text is; one that is no JSON is refused by the model, which names the field.
    with suppress(TypeError, ValueError):
        if (size := len(json.dumps(data))) > _MOST_BYTES:
            raise InvalidRequest(f"a request has at most {_MOST_BYTES} bytes; found {size}")


def _check_depth(data: Any) -> None:
    level = [data]
    for _ in range(_DEEPEST):
        level = [child for value in level for child in _children(value)]
        if not level:
            return
    raise InvalidRequest(f"a request is at most {_DEEPEST} levels deep")


def _children(value: Any) -> list[Any]:
    if isinstance(value, Mapping):
        return list(value.values())
    return list(value) if isinstance(value, list | tuple) else []
