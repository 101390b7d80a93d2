"""What is known of one host's alerts, and which of them are meant."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from opsqueue.model.fact import Facts, why_unknown
from opsqueue.model.matcher import all_match, parse_matchers
from opsqueue.operations.alerting.params import AlertManagementParams

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Hand:
    """The parameters and the answers of the record, side by side."""

    params: AlertManagementParams
    facts: Facts

    def known(self, name: str) -> Any:
        """An answer; None when it is not known."""
        found = self.facts.get(name)
        return None if found is None or why_unknown(found) is not None else found

    @property
    def host(self) -> str:
        """Whose alerts they are."""
        return str(self.facts["alerts"]["host"])

    @property
    def by(self) -> str:
        """Who asked."""
        return str(self.facts["alerts"]["by"])

    @cached_property
    def alerts(self) -> tuple[Row, ...]:
        """What is meant, the worst first, with what was named and is over."""
        matchers = parse_matchers(list(self.params.matchers))
        found = self.known("alerts") or {"alerts": ()}
        return tuple(one for one in found["alerts"] if _named(self.params, one) and all_match(matchers, _labels(one)))

    @property
    def firing(self) -> tuple[Row, ...]:
        """What of it fires."""
        return tuple(one for one in self.alerts if one["state"] == "firing")

    @property
    def open(self) -> tuple[Row, ...]:
        """What fires, and nobody looks after it."""
        return tuple(one for one in self.firing if not one["acknowledged_by"])

    def incident(self, name: str) -> Row | None:
        """How this firing stands; None when it is gone."""
        found = self.known("alerts") or {"alerts": ()}
        return next((one for one in found["alerts"] if one["incident"] == name), None)

    def unclear(self) -> Iterator[str]:
        """Ids that mean no alert of this host, or more than one."""
        every = (self.known("alerts") or {"alerts": ()})["alerts"]
        for beginning in self.params.alerts:
            number = sum(_begins(one, beginning) for one in every)
            if number != 1:
                few = "no alert" if not number else "more than one alert"
                yield f"{few} of {self.host} begins with {beginning}: `opsqueue alerts list --all` shows them"


def _named(params: AlertManagementParams, one: Row) -> bool:
    return not params.alerts or any(_begins(one, beginning) for beginning in params.alerts)


def _begins(one: Row, beginning: str) -> bool:
    return str(one["fingerprint"]).startswith(beginning) or str(one["incident"] or "").startswith(beginning)


def _labels(one: Row) -> dict[str, str]:
    return {**one["labels"], "severity": one["severity"]}
