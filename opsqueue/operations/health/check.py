"""What all checks have in common, and the forms of their values."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field, StringConstraints, field_validator, model_validator

from opsqueue.model.in_words import in_words
from opsqueue.model.kind import Params
from opsqueue.operations.health import conditions

Word = Annotated[
    str,
    StringConstraints(min_length=1, max_length=1024, pattern=r"^[^\x00-\x1f\x7f]+$"),
    in_words("one line, without control characters"),
]
CheckName = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._/-]{0,63}$"),
    in_words("a name of 1 to 64 letters, digits, and then spaces and . _ / - too"),
]
HostName = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9:][A-Za-z0-9.:_-]{0,252}$"),
    in_words("the name or the address of a host, without a port"),
]
Path = Annotated[
    str,
    StringConstraints(max_length=1024, pattern=r"^/[^\x00-\x1f\x7f]*$"),
    in_words("an absolute path, such as /srv/data"),
]
Argument = Annotated[
    str, StringConstraints(max_length=4096, pattern=r"^[^\x00]*$"), in_words("a text without a zero byte")
]
Port = Annotated[int, Field(ge=1, le=65_535)]
Percent = Annotated[float, Field(gt=0, le=100)]
Milliseconds = Annotated[float, Field(gt=0, le=600_000)]
ALWAYS = frozenset({"CONNECTED", "RESPONSE_TIME"})
"""What conditions of every check over the network may look at."""


class Check(Params):
    """What every check has."""

    name: CheckName
    weight: float = Field(default=1.0, gt=0, le=1000)
    """How much it counts in the score."""
    critical: bool = False
    """Whether the host counts as down when this check is critical."""
    timeout_s: float = Field(default=5.0, ge=0.1, le=60)
    """Seconds for one attempt, in total, whatever the other side does."""
    depends_on: tuple[CheckName, ...] = Field(default=(), max_length=20)
    """Checks without which this one cannot be well: while one of them is down, its own failure is no news."""

    @property
    def seconds(self) -> int:
        """The time limit in whole seconds, for scripts."""
        return max(1, round(self.timeout_s + 0.49))


class NetworkCheck(Check):
    """A check from the worker over the network."""

    places: ClassVar[frozenset[str]] = ALWAYS
    """What its conditions may look at."""
    retries: int = Field(default=0, ge=0, le=5)
    """How many more attempts before the answer counts; each has `timeout_s`."""
    warn_ms: Milliseconds | None = 1000
    crit_ms: Milliseconds | None = 5000
    conditions: tuple[Word, ...] = Field(default=(), max_length=20)
    """Such as `[STATUS] == 200`, `[BODY].status == "UP"`; one that fails is critical."""

    @field_validator("conditions")
    @classmethod
    def _readable(cls, texts: tuple[str, ...]) -> tuple[str, ...]:
        for text in texts:
            strange = sorted(conditions.parse(text).places() - cls.places)
            if strange:
                raise ValueError(f"{text!r}: this kind of check has no [{strange[0]}]")
        return texts

    @model_validator(mode="after")
    def _in_order(self) -> NetworkCheck:
        if self.warn_ms is not None and self.crit_ms is not None and self.warn_ms > self.crit_ms:
            raise ValueError(f"warn_ms is at most crit_ms; found {self.warn_ms:g} and {self.crit_ms:g}")
        return self

    def looks_at(self, place: str) -> bool:
        """Whether one of the conditions looks at this place."""
        return any(place in conditions.parse(text).places() for text in self.conditions)
