"""The compliance profile of a host, and systems that get no more security updates."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime

from opsqueue.model.fact import Facts
from opsqueue.model.kind import Metric
from opsqueue.model.names import Severity
from opsqueue.operations.security.catalogue import PROFILES, Control, controls, percent
from opsqueue.operations.security.found import Found, Missing, known
from opsqueue.operations.security.params import SecurityScanParams
from opsqueue.operations.security.rule import Judged, State

ENDS: Mapping[tuple[str, str], date] = {
    ("debian", "8"): date(2020, 6, 30),
    ("debian", "9"): date(2022, 6, 30),
    ("debian", "10"): date(2024, 6, 30),
    ("debian", "11"): date(2026, 8, 31),
    ("debian", "12"): date(2028, 6, 30),
    ("debian", "13"): date(2030, 6, 30),
    ("ubuntu", "14.04"): date(2019, 4, 30),
    ("ubuntu", "16.04"): date(2021, 4, 30),
    ("ubuntu", "18.04"): date(2023, 5, 31),
    ("ubuntu", "20.04"): date(2025, 5, 31),
    ("ubuntu", "22.04"): date(2027, 4, 30),
    ("ubuntu", "23.10"): date(2024, 7, 12),
    ("ubuntu", "24.04"): date(2029, 5, 31),
    ("ubuntu", "24.10"): date(2025, 7, 10),
    ("ubuntu", "25.04"): date(2026, 1, 17),
    ("ubuntu", "25.10"): date(2026, 7, 31),
    ("ubuntu", "26.04"): date(2031, 4, 30),
    ("rhel", "7"): date(2024, 6, 30),
    ("rhel", "8"): date(2029, 5, 31),
    ("rhel", "9"): date(2032, 5, 31),
    ("centos", "7"): date(2024, 6, 30),
    ("centos", "8"): date(2024, 5, 31),
    ("centos", "9"): date(2027, 5, 31),
    ("almalinux", "8"): date(2029, 3, 1),
    ("almalinux", "9"): date(2032, 5, 31),
    ("rocky", "8"): date(2029, 5, 31),
    ("rocky", "9"): date(2032, 5, 31),
}
"""The last day of security updates without a further contract: Debian's long-term support, Ubuntu's standard support,
the maintenance of RHEL and its like (by the first number of their versions)."""


def title(params: SecurityScanParams, facts: Facts) -> str:
    """The title of the profile that is judged; empty when none is for this host."""
    system = known(facts, "settings.system")
    if params.profile == "none" or not system:
        return ""
    wanted = (system["id"], system["version"])
    for name, (text, *whose) in PROFILES.items():
        if params.profile == name or (params.profile == "auto" and tuple(whose) == wanted):
            return text
    return ""


def profile(params: SecurityScanParams, facts: Facts, judged: Iterable[Judged]) -> tuple[Control, ...]:
    """The controls of the host's profile; none when there is no profile for it."""
    return controls(judged) if title(params, facts) else ()


def missing(params: SecurityScanParams, controls: Iterable[Control]) -> Iterator[Missing]:
    """A profile that somebody asked for by its name, and of which nothing was judged: that is no 100 percent."""
    if params.profile in PROFILES and not any(one.state in _JUDGED for one in controls):
        why = f"no control of the profile {params.profile} could be judged: it needs the check configuration, as root"
        yield Missing(part="compliance", why=why)


_JUDGED = (State.PASS, State.FAIL)


def metrics(found: Iterable[Control]) -> Iterator[Metric]:
    """How many controls stand how, and the share that passed."""
    rows = list(found)
    for state in State:
        number = sum(one.state is state for one in rows)
        name = f"controls_{state.value.replace(' ', '_')}"
        yield Metric(name=name, value=number if rows else None, unit="count")
    yield Metric(name="compliance", value=percent(rows), unit="percent")


def ended(facts: Facts, at: float) -> Iterator[Found]:
    """A system that gets no more security updates, or soon will not."""
    system = known(facts, "settings.system")
    end = _end(system["id"], system["version"]) if system else None
    if not system or not end:
        return
    days = (end - datetime.fromtimestamp(at, UTC).date()).days
    if days > _SOON:
        return
    text = f"{system['name']} gets no more security updates since {end}"
    yield Found(
        code="system_ended",
        subject="system",
        part="settings.system",
        severity=Severity.CRITICAL if days < 0 else Severity.WARNING,
        message=text if days < 0 else f"the security updates of {system['name']} end on {end}",
        advice="Plan the upgrade to the next release.",
        evidence={"system": system["id"], "version": system["version"], "ends": end.isoformat()},
    )


def _end(name: str, version: str) -> date | None:
    return ENDS.get((name, version)) or ENDS.get((name, version.partition(".")[0]))


_SOON = 90
"""Days before the end in which it is told."""
