"""Vulnerable packages: what apt, the advisories and pip-audit said, one finding for each package and each hole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from opsqueue.model.fact import Facts
from opsqueue.model.kind import Metric
from opsqueue.model.names import Severity
from opsqueue.operations.security import scores
from opsqueue.operations.security.found import Found, Missing, known
from opsqueue.operations.security.params import SecurityScanParams
from opsqueue.operations.security.rule import NotApplicable, NotKnown, section

APT, DATA, PYTHON, AUDIT, EXPLOITED = (
    f"advisories.{name}" for name in ("apt", "advisories", "python", "pip_audit", "exploited")
)
_BUNDLES = ("DSA-", "DLA-", "USN-")
"""Advisories that tell of several holes at once, each of which has a name of its own."""
_TOLD = 5

Match = Mapping[str, Any]


def found(params: SecurityScanParams, facts: Facts) -> Iterator[Found]:
    """Holes that are known of what is installed, and data that are too old; updates of apt are told by a rule."""
    for part in (DATA, AUDIT):
        yield from _holes(part, facts)
    yield from _old(params, facts)


def matches(facts: Facts) -> list[Match]:
    """The holes, each once, whoever named it under whichever name."""
    rows = [(part, row) for part in (DATA, AUDIT) for row in (known(facts, part) or {"matches": ()})["matches"]]
    groups: dict[tuple[str, str, str], list[Match]] = {}
    for part, row in rows:
        groups.setdefault((row["ecosystem"], row["package"], row["where"]), []).append({**row, "part": part})
    return [one for key in sorted(groups) for one in _merged(groups[key])]


def _merged(rows: Sequence[Match]) -> list[Match]:
    """Those that share a name are one; a bundle is left out when all that it bundles is told."""
    clusters = _clusters([row for row in rows if not _bundle(row)])
    told = {name for names, _rows in clusters for name in names}
    bundles = [({row["id"]}, [row]) for row in rows if _bundle(row) and not set(row["aliases"]) <= told]
    merged = [_one(names, those) for names, those in (*clusters, *bundles)]
    return sorted(merged, key=lambda one: str(one["id"]))


def _clusters(rows: Sequence[Match]) -> list[tuple[set[str], list[Match]]]:
    """Rows whose names lead to each other, with all their names."""
    leads: dict[str, str] = {}

    def first(name: str) -> str:
        while leads[name] != name:
            leads[name] = leads[leads[name]]
            name = leads[name]
        return name

    for row in rows:
        for name in (row["id"], *row["aliases"]):
            leads[first(leads.setdefault(name, name))] = first(leads.setdefault(row["id"], row["id"]))
    found: dict[str, tuple[set[str], list[Match]]] = {}
    for row in rows:
        names, those = found.setdefault(first(row["id"]), (set(), []))
        names.update((row["id"], *row["aliases"]))
        those.append(row)
    return list(found.values())


def _bundle(row: Match) -> bool:
    return row["id"].startswith(_BUNDLES) and len(row["aliases"]) > 1


def _one(names: set[str], rows: Sequence[Match]) -> Match:
    ordered = sorted(names, key=lambda name: (not name.startswith("CVE-"), name))
    vectors = sorted({vector for row in rows for vector in row["vectors"]})
    return {
        **rows[0],
        "id": ordered[0],
        "aliases": ordered[1:],
        "vectors": vectors,
        "score": scores.highest(vectors),
        "fixed": next((row["fixed"] for row in rows if row["fixed"]), ""),
        "word": next((row["word"] for row in rows if row["word"]), ""),
        "sources": sorted({row["source"] for row in rows}),
    }


def _marked(facts: Facts) -> Iterator[Match]:
    """The holes, each with whether it is known to be exploited; None when no catalogue says anything."""
    catalogue = known(facts, EXPLOITED)
    named = frozenset(catalogue["named"]) if catalogue else None
    for one in matches(facts):
        yield {**one, "exploited": None if named is None else not named.isdisjoint((one["id"], *one["aliases"]))}


def _holes(part: str, facts: Facts) -> Iterator[Found]:
    for one in _marked(facts):
        if one["part"] != part:
            continue
        place = f" in {one['where']}" if one["where"] else ""
        mended = f"; mended in {one['fixed']}" if one["fixed"] else "; no mended version is known"
        used = ", which is exploited already" if one["exploited"] else ""
        text = f"{one['package']} {one['installed']}{place} has {one['id']}{used}{mended}"
        yield Found(
            code="vulnerable_package",
            subject=f"{one['ecosystem']}/{one['package']} {one['id']}{place}",
            part=part,
            severity=scores.severity(one["score"], one["word"]),
            message=text,
            advice=_how(one),
            references=(one["id"], *one["aliases"][:_TOLD]),
            evidence={key: one[key] for key in _KEPT if one[key] not in ("", [], None)},
        )


_KEPT = (
    "ecosystem", "package", "installed", "fixed", "where", "id", "aliases", "score", "sources", "summary", "exploited",
)  # fmt: skip


def _how(one: Match) -> str:
    if not one["fixed"]:
        return "Take what it opens out of reach, or remove it, until there is a mended version."
    if one["ecosystem"] == "PyPI":
        return f"Install {one['package']} {one['fixed']} or newer in {one['where']}."
    return f"Run `apt-get install --only-upgrade {' '.join(one['binaries'][:_TOLD])}` on the host."


def _old(params: SecurityScanParams, facts: Facts) -> Iterator[Found]:
    apt = known(facts, APT)
    for subject, part, age in ages(facts):
        ended = part == APT and apt["expired"]
        if age <= params.max_data_age_days and not ended:
            continue
        why = "and no longer valid by their own word" if ended else "what was found since is not known"
        yield Found(
            code="advisories_old",
            subject=subject,
            part=part,
            severity=Severity.WARNING,
            message=f"{subject}: the newest of it is {age:.0f} days old; {why}",
            advice="Run `apt-get update` there." if part == APT else "Bring newer advisories to the host.",
            evidence={"age_days": age, "max_data_age_days": params.max_data_age_days},
        )


def ages(facts: Facts) -> Iterator[tuple[str, str, float]]:
    """What was compared with, the part that it is of, and how many days old the newest of it is."""
    apt, data = known(facts, APT), known(facts, DATA)
    if apt:
        yield "the package lists of apt", APT, float(apt["age_days"])
    for one in data["files"] if data else ():
        yield one["path"], DATA, float(one["age_days"])
    if catalogue := known(facts, EXPLOITED):
        yield catalogue["path"], EXPLOITED, float(catalogue["age_days"])


# -- what was not compared ----------------------------------------------------------------------------------


def missing(facts: Facts) -> Iterator[Missing]:
    """What was compared with nothing, or not wholly."""
    if known(facts, "advisories") is None:  # it is told for all of it
        return
    for part in (APT, DATA, PYTHON, AUDIT, *_asked_of_catalogue(facts)):
        try:
            section(facts, part)
        except NotKnown as error:
            yield Missing(part=part, why=str(error))
        except NotApplicable:
            continue
    yield from _of_data(facts)
    yield from _of_python(facts)
    audit = known(facts, AUDIT)
    if audit and audit["skipped"]:
        yield Missing(part=AUDIT, why=f"pip-audit left out {_some(audit['skipped'])}")


def _asked_of_catalogue(facts: Facts) -> tuple[str, ...]:
    return (EXPLOITED,) if "exploited" in known(facts, "advisories") else ()


def _of_data(facts: Facts) -> Iterator[Missing]:
    data = known(facts, DATA)
    if not data:
        return
    if data["cut"]:
        yield Missing(part=DATA, why=data["cut"])
    if data["odd"]:
        yield Missing(part=DATA, why=f"ranges that cannot be compared: {', '.join(data['odd'][:_TOLD])}")
    if data["others"] and not [one for one in data["covered"] if one != "PyPI"]:
        yield Missing(part=DATA, why=f"the advisories are for {', '.join(data['others'][:_TOLD])}, not for this system")


def _of_python(facts: Facts) -> Iterator[Missing]:
    python, data, audit = known(facts, PYTHON), known(facts, DATA), known(facts, AUDIT)
    if not python:
        return
    covered = (data and "PyPI" in data["covered"]) or audit
    if python["packages"] and not covered:
        why = f"{python['packages']} Python packages were compared with nothing: give advisories for PyPI"
        yield Missing(part=PYTHON, why=why)
    if python["skipped"]:
        yield Missing(part=PYTHON, why=f"{_some(python['skipped'])} could not be compared")


def _some(rows: Sequence[Mapping[str, Any]]) -> str:
    names = ", ".join(f"{row['name']} ({row['why']})" for row in rows[:_TOLD])
    return names if len(rows) <= _TOLD else f"{names} and {len(rows) - _TOLD} more"


def metrics(facts: Facts) -> Iterator[Metric]:
    """How many packages were held against how old data, and what came of it."""
    answer, apt, python = known(facts, "advisories"), known(facts, APT), known(facts, PYTHON)
    number = answer["packages"] if answer and isinstance(answer["packages"], int) else None
    yield Metric(name="packages_scanned", value=number, unit="count")
    yield Metric(name="python_packages_scanned", value=python["packages"] if python else None, unit="count")
    yield Metric(name="security_updates", value=len(apt["updates"]) if apt else None, unit="count")
    asked = [known(facts, part) for part in (DATA, AUDIT)]
    yield Metric(name="vulnerabilities", value=len(matches(facts)) if any(asked) else None, unit="count")
    if answer and _asked_of_catalogue(facts):
        used = sum(one["exploited"] is True for one in _marked(facts)) if known(facts, EXPLOITED) else None
        yield Metric(name="vulnerabilities_exploited", value=used, unit="count")
    oldest = _oldest(ages(facts))
    yield Metric(name="data_age", value=oldest, unit="days")


def _oldest(rows: Iterable[tuple[str, str, float]]) -> float | None:
    return max((age for _subject, _part, age in rows), default=None)
