"""Between rows and frozen values: JSON columns are packed here and nowhere else."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from opsqueue.model.names import OperationPriority, Outcome, Stage, TargetState
from opsqueue.model.plan import Plan
from opsqueue.model.record import Delivery, Event, Freeze, Operation, Shard, Target

_AT_ONCE = 500
"""Values in one statement: no database takes parameters without end."""
_OPERATION_JSON = ("parameters", "systems", "channels", "hold", "coordinators", "verdicts", "findings", "rollout")
_TARGET_JSON = ("before", "after", "metrics", "problems", "steps")

#: What the lease holder may change; everything else of an operation stands as it was asked for.
MUTABLE = (
    "stage",
    "outcome",
    "due_at",
    "holder",
    "attempts",
    "hold",
    "digest",
    "coordinators",
    "verdicts",
    "score",
    "findings",
    "finished_at",
)


def in_parts(values: Collection[str]) -> Iterator[list[str]]:
    """The values in order, so many at once as a statement takes."""
    ordered = sorted(values)
    for start in range(0, len(ordered), _AT_ONCE):
        yield ordered[start : start + _AT_ONCE]


def pack(value: Any) -> str | None:
    """Compact JSON; None stays None."""
    if value is None:
        return None
    try:
        text = _dumps(value)
    except ValueError:  # JSON has neither NaN nor infinity: such a number is not known
        text = _dumps(_finite(value))
    # Half of a surrogate pair, as a host may send it, is written as JSON writes it: \ud800.
    return text if text.isascii() else text.encode(errors="backslashreplace").decode()


def kept(text: str) -> str:
    """The text without what no database keeps: NUL, and halves of surrogate pairs, are made visible."""
    return text.replace("\x00", "\\x00").encode(errors="backslashreplace").decode()


def operation_of(row: Mapping[Any, Any]) -> Operation:
    """The operation in a row."""
    data = {name: row[name] for name in Operation.__dataclass_fields__}
    for name in _OPERATION_JSON:
        data[name] = unpack(data[name])
    return Operation(
        **{
            **data,
            "priority": OperationPriority(data["priority"]),
            "stage": Stage(data["stage"]),
            "outcome": Outcome(data["outcome"]) if data["outcome"] else None,
        }
    )


def operation_row(operation: Operation) -> dict[str, Any]:
    """The columns of an operation, `request_digest` and `nudged_at` apart."""
    data = {name: getattr(operation, name) for name in Operation.__dataclass_fields__}
    return {**data, **{name: pack(data[name]) for name in _OPERATION_JSON}, "rank": operation.priority.rank}


def changes_of(operation: Operation) -> dict[str, Any]:
    """The mutable columns of an operation, as parameters of the one statement that saves them."""
    data = {f"new_{name}": getattr(operation, name) for name in MUTABLE}
    return data | {f"new_{name}": pack(getattr(operation, name)) for name in MUTABLE if name in _OPERATION_JSON}


def target_of(row: Mapping[Any, Any]) -> Target:
    """The target in a row."""
    data = {name: row[name] for name in Target.__dataclass_fields__}
    for name in _TARGET_JSON:
        data[name] = unpack(data[name])
    plan = Plan.from_json(json.loads(data["plan"]))
    return Target(**{**data, "plan": plan, "state": TargetState(data["state"])})


def target_row(target: Target) -> dict[str, Any]:
    """The columns of a target."""
    data = {name: getattr(target, name) for name in Target.__dataclass_fields__}
    packed = {name: pack(data[name]) for name in _TARGET_JSON}
    return {**data, **packed, "plan": pack(target.plan.as_json())}


def shard_of(row: Mapping[Any, Any]) -> Shard:
    """The shard in a row."""
    data = {name: row[name] for name in Shard.__dataclass_fields__}
    loaded = {"hosts": tuple(json.loads(data["hosts"])), "said": json.loads(data["said"])}
    return Shard(**{**data, **loaded, "stage": Stage(data["stage"])})


def shard_row(shard: Shard) -> dict[str, Any]:
    """The columns of a shard."""
    data = {name: getattr(shard, name) for name in Shard.__dataclass_fields__}
    return {**data, "hosts": pack(shard.hosts), "said": pack(shard.said)}


def event_of(row: Mapping[Any, Any]) -> Event:
    """The event in a row."""
    data = {name: row[name] for name in Event.__dataclass_fields__}
    return Event(**{**data, "data": json.loads(data["data"])})


def event_row(event: Event) -> dict[str, Any]:
    """The columns of an event that is yet to get its id."""
    data = {name: getattr(event, name) for name in Event.__dataclass_fields__ if name != "id"}
    return {**data, "message": kept(event.message), "data": pack(event.data)}


def delivery_of(row: Mapping[Any, Any]) -> Delivery:
    """The delivery in a row."""
    return Delivery(**{name: row[name] for name in Delivery.__dataclass_fields__})


def freeze_of(row: Mapping[Any, Any]) -> Freeze:
    """The freeze in a row."""
    data = {name: row[name] for name in Freeze.__dataclass_fields__}
    return Freeze(**{**data, "scope": tuple(json.loads(data["scope"]))})


def unpack(text: str | None) -> Any:
    """What `pack` packed; lists become tuples."""
    value = None if text is None else json.loads(text)
    return tuple(value) if isinstance(value, list) else value


def _dumps(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False, default=_plain)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is no JSON")
