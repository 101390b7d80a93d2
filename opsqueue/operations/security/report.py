"""What `opsqueue report` shows of a scan: the controls, the findings by state, the vulnerabilities, what is missing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from opsqueue.model.kind import Finding
from opsqueue.model.report import Cell, Grid, Section
from opsqueue.operations.security.catalogue import Control, percent
from opsqueue.operations.security.found import Missing
from opsqueue.operations.security.rule import State
from opsqueue.operations.security.states import ACCEPTED, FIXED, NEW, STANDING, UNVERIFIED

_TITLES = {
    NEW: "New findings",
    STANDING: "Standing findings",
    UNVERIFIED: "Findings of before that were not looked at",
    ACCEPTED: "Accepted risks",
    FIXED: "Fixed since the last scan",
}


def of_controls(title: str, controls: Sequence[Control]) -> Iterator[Section]:
    """Every control with its number and how it stands."""
    if not controls:
        return
    counts = {state: sum(one.state is state for one in controls) for state in State}
    passed, failed = counts[State.PASS], counts[State.FAIL]
    share = percent(controls)
    score = "nothing could be judged" if share is None else f"{share:.1f} percent passed"
    text = (
        f"{score}: {passed} of the {passed + failed} that were judged. {counts[State.UNKNOWN]} could not be told, and "
        f"{counts[State.NOT_APPLICABLE]} do not apply; neither counts as passed."
    )
    rows: tuple[tuple[Cell, ...], ...] = tuple((one.number, one.title, one.state.value, one.why) for one in controls)
    about = "The numbers are those of the benchmark, the words are ours; it is not the whole of it."
    grid = Grid(columns=("control", "what should be so", "state", "why"), rows=rows)
    yield Section(title=title, text=(text, about), grids=(grid,))


def of_findings(findings: Sequence[Finding]) -> Iterator[Section]:
    """The findings by state; vulnerabilities have a section of their own."""
    for state, title in _TITLES.items():
        rows = [one for one in findings if one.evidence.get("status") == state and one.code != "vulnerable_package"]
        if rows:
            yield Section(title=title, grids=(_accepted(rows) if state == ACCEPTED else _grid(rows),))


def _accepted(rows: Sequence[Finding]) -> Grid:
    """Accepted risks, with how bad they are, who answers for them, and until when."""
    columns = ("severity", "code", "about", "what was found", "reason", "accepted by", "until")
    keys = ("reason", "accepted_by", "until")
    return Grid(
        columns=columns,
        rows=tuple(
            (
                str(one.evidence.get("severity", one.severity.value)),
                one.code,
                str(one.evidence.get("subject", "")),
                one.message,
                *(str(one.evidence.get(key, "")) for key in keys),
            )
            for one in rows
        ),
    )


def _grid(rows: Sequence[Finding]) -> Grid:
    columns = ("severity", "code", "about", "what was found", "advice", "references")
    return Grid(
        columns=columns,
        rows=tuple(
            (
                one.severity.value,
                one.code,
                str(one.evidence.get("subject", "")),
                one.message,
                one.advice,
                ", ".join(one.evidence.get("references", ())),
            )
            for one in rows
        ),
    )


def of_vulnerabilities(findings: Sequence[Finding]) -> Iterator[Section]:
    """Packages with known holes, the worst first."""
    rows = [one.evidence for one in findings if one.code == "vulnerable_package"]
    if not rows:
        return
    columns: tuple[str, ...] = ("package", "installed", "mended in", "advisory", "score", "state", "where")
    keys = ("package", "installed", "fixed", "id", "score", "status", "where")
    cells: list[tuple[Cell, ...]] = [tuple(row.get(key) for key in keys) for row in rows]
    if any("exploited" in row for row in rows):
        columns = (*columns, "exploited")
        cells = [(*cell, _said(row.get("exploited"))) for cell, row in zip(cells, rows, strict=True)]
    grid = Grid(columns=columns, rows=tuple(cells))
    yield Section(title="Vulnerable packages", grids=(grid,))


def _said(known: bool | None) -> Cell:
    return None if known is None else "yes" if known else "no"


def of_missing(gaps: Sequence[Missing]) -> Iterator[Section]:
    """What was not looked at."""
    if gaps:
        grid = Grid(columns=("part", "why"), rows=tuple((gap.part, gap.why) for gap in gaps))
        yield Section(title="Not looked at", text=("Of these nothing is known; they are not passed.",), grids=(grid,))
