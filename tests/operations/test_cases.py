"""Golden cases: `tests/operations/<type>/*.toml` say what a type must make of recorded answers.

One file is one case of the kind `opsqueue.operations.<type>.OPERATION`::

    title = "a unit that is not there is refused"
    host = "web-1"              # optional; also attempts = 1
    [params]                    # as in a request
    [thresholds]                # optional, laid over cpu_usage 80, memory 85, disk 90, response_time 5000
    [occasions]                 # optional: changes = { service_restart = 2 }, alerts = { DiskFull = 1 }
    [earlier]                   # optional: metrics of the last operation, name = number
    [[series]]                  # optional: what the type wanted of the past; `at` above is the moment of the operation
    name = "days"
    metric = "disk_usage:/"
    step = 86400
    first = 20340               #   the first moment, in steps since 1970
    values = [40, "null", 41]   #   "null" is a gap; or a course: count = 60, from = 40, by = 0.5, zigzag = 0.1
    [series.day]                # or, where only the order counts: metric = values, oldest first;
    "x" = [1.5, { p95 = 2, count = 30 }]    # a table is the summary of a step
    [[before_raw]]              # what the host answered, fed through the fact's own `parse`:
    fact = "unit"               #   a script: stdout, stderr, exit_code (0; "null" for None), timed_out
    stdout = "LoadState=loaded"
    [[before_raw]]
    fact = "system"             #   a reading or a probe: json
    json = '''{"load": {"one": 0.5}}'''
    [before]                    # or answers already parsed, laid over the raw ones
    [[after_raw]]               # likewise for `after`; when neither is given, after is the same as before
    [after]
    [expect]                    # any of these; an expectation that is not named is not checked
    invalid = "fragment"        # the parameters are refused, and the reason holds this
    facts = ["unit"]            # the names asked before, in this order
    objections = ["fragment"]   # one fragment for each, in this order; [] for none
    plan = [["systemctl", "restart", "x.service"], "true"]  # argv, or the line as people see it
    note = "fragment"           # of the plan
    problems = []               # of verify, fragments in order
    rollback = []               # like plan
    restored = []               # like problems, with `after` being what was found after the rollback
    findings = ["critical disk_usage_high"]   # "severity code", any order, all of them
    messages = ["fragment"]     # each stands in the message or advice of some finding
    score = 49                  # or "null"
    risk = "read_only"
    report = ["fragment"]       # each stands in a title, a paragraph, a cell or a chart of what the type reports
    metrics = { cpu_usage = 12.5, "disk_usage:/" = "null", gone = "absent" }   # a subset; "null" is not known
    [expect.before]             # parsed answers by fact, a subset of the names and of each object's keys
    [expect.after]

A fact of which the case records no answer is unknown; an answer that no fact asks for fails the case.
"""

from __future__ import annotations

import importlib
import json
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from opsqueue.model.fact import Fact, Script, read, unknown
from opsqueue.model.kind import Analysis, Metric, OperationKind, Seen
from opsqueue.model.observed import Occasions
from opsqueue.model.plan import Plan, Result
from opsqueue.model.report import Section
from opsqueue.model.request import explain
from opsqueue.model.sample import Point, SeriesWanted

HERE = Path(__file__).parent
CASES = sorted(HERE.glob("*/*.toml"))
THRESHOLDS = {"cpu_usage": 80.0, "memory_usage": 85.0, "disk_usage": 90.0, "response_time": 5000.0}
SECTIONS = {
    "title", "host", "attempts", "params", "thresholds", "earlier",
    "before", "before_raw", "after", "after_raw", "expect", "at", "series", "occasions",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Case:
    """One file, with its answers parsed."""

    kind: OperationKind
    params: Any
    before: Mapping[str, Any]
    after: Mapping[str, Any]
    data: Mapping[str, Any]

    def metrics(self) -> dict[str, Metric]:
        found = self.kind.measure(self.params, self.before, self.after)
        named = {metric.name: metric for metric in found}
        assert len(named) == len(found), "a metric stands twice"
        return named

    def analysis(self) -> Analysis:
        return self.kind.analyse(self.params, self.seen())

    def seen(self) -> Seen:
        earlier = self.data.get("earlier", {})
        return Seen(
            host=self.data.get("host", "web-1"),
            before=self.before,
            after=self.after,
            metrics=self.metrics(),
            earlier={name: Metric(name=name, value=_null(value), unit="") for name, value in earlier.items()},
            thresholds=THRESHOLDS | self.data.get("thresholds", {}),
            attempts=self.data.get("attempts", 1),
            at=float(self.data.get("at", 0)),
            series=_series(self.kind.series(self.params), self.data.get("series", ())),
            occasions=lambda _since: Occasions(**self.data.get("occasions", {})),
        )


def _null(value: Any) -> Any:
    """TOML has no null, so cases write "null"."""
    return None if value == "null" else value


def _series(wanted: Sequence[SeriesWanted], rows: Any) -> dict[str, dict[str, Any]]:
    if isinstance(rows, Mapping):
        return {name: _in_order(found) for name, found in rows.items()}
    found: dict[str, dict[str, Any]] = {one.name: {} for one in wanted}
    for row in rows:
        begin, step = row["first"], row["step"]
        assert set(row) <= {"name", "metric", "first", "step", "values", "count", "from", "by", "zigzag"}, row
        values = row.get("values") or [
            row["from"] + row.get("by", 0) * place + row.get("zigzag", 0) * (-1) ** place
            for place in range(row["count"])
        ]
        points = (Point.raw((begin + place) * step, v) for place, v in enumerate(values) if v != "null")
        found[row["name"]][row["metric"]] = tuple(points)
    return found


def _in_order(found: Mapping[str, Sequence[Any]]) -> dict[str, tuple[Point, ...]]:
    return {metric: tuple(map(_point, range(len(values)), values)) for metric, values in found.items()}


def _point(at: int, value: Any) -> Point:
    if not isinstance(value, Mapping):
        return Point.raw(at, value)
    return Point(**{"at": at, "mean": value["p95"], "low": value["p95"], "high": value["p95"], **value})


def _raw(fact: Fact, row: Mapping[str, Any]) -> Any:
    extra = set(row) - {"fact", "json", "stdout", "stderr", "exit_code", "timed_out", "truncated"}
    assert not extra, f"{fact.name}: no such key of an answer: {sorted(extra)}"
    if not isinstance(fact.ask, Script):
        return json.loads(row["json"])
    rest = {key: row[key] for key in ("stdout", "stderr", "timed_out", "truncated") if key in row}
    return Result(exit_code=_null(row.get("exit_code", 0)), **rest)


def _answers(data: Mapping[str, Any], when: str, facts: Sequence[Fact]) -> dict[str, Any]:
    rows = {row["fact"]: row for row in data.get(f"{when}_raw", ())}
    stray = set(rows) - {fact.name for fact in facts}
    assert not stray, f"{when}_raw answers what nobody asks: {sorted(stray)}"
    missing = unknown("the case records no answer")
    found = {fact.name: read(fact, _raw(fact, rows[fact.name])) if fact.name in rows else missing for fact in facts}
    return found | data.get(when, {})


def _case(path: Path) -> tuple[OperationKind, dict[str, Any]]:
    data = tomllib.loads(path.read_text(encoding="utf-8"))
    assert set(data) <= SECTIONS, f"no such section: {sorted(set(data) - SECTIONS)}"
    assert data.get("title"), "a case has a title"
    unmet = set(data.get("expect", {})) - set(CHECKS) - {"invalid"}
    assert not unmet, f"no such expectation: {sorted(unmet)}"
    assert data.get("expect"), "a case expects something"
    return importlib.import_module(f"opsqueue.operations.{path.parent.name}").OPERATION, data


def _filled(kind: OperationKind, data: Mapping[str, Any]) -> Case:
    params = kind.params.model_validate(data.get("params", {}))
    before = _answers(data, "before", kind.facts(params))
    changed = "after" in data or "after_raw" in data
    after = _answers(data, "after", kind.facts_after(params, before)) if changed else before
    for answers in (before, after):
        json.dumps(answers, allow_nan=False)  # kept in the record, so it has to be JSON
    return Case(kind=kind, params=params, before=before, after=after, data=data)


# -- what is found, in the form in which the file says it -------------------------------------------------


def _commands(plan: Plan, wanted: Sequence[Any]) -> list[Any]:
    as_text = [isinstance(item, str) for item in wanted] + [False] * len(plan.steps)
    pairs = zip(plan.steps, as_text, strict=False)
    return [str(step.command) if text else list(step.command.argv) for step, text in pairs]


def _fragments(found: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """The fragment where it is found at its place, else the sentence: equal lists mean that all matched."""
    padded = [*wanted, *[None] * len(found)]
    pairs = zip(found, padded, strict=False)
    return [part if part is not None and part in text else text for text, part in pairs]


def _messages(case: Case, wanted: Sequence[str]) -> list[str]:
    texts = [f"{finding.message} {finding.advice}" for finding in case.analysis().findings]
    return [part if any(part in text for text in texts) else f"not in {texts}" for part in wanted]


def _findings(case: Case, wanted: Sequence[str]) -> list[str]:
    found = sorted(f"{finding.severity.value} {finding.code}" for finding in case.analysis().findings)
    return list(wanted) if found == sorted(wanted) else found


def _same(found: Any, wanted: Any) -> Any:
    """`wanted` where a number is near enough, so that cases need no last digits."""
    numbers = (int, float)
    if isinstance(found, numbers) and isinstance(wanted, numbers) and not isinstance(found, bool):
        return wanted if found == pytest.approx(wanted, rel=1e-3, abs=1e-6) else found
    return "null" if found is None else found


def _metrics(case: Case, wanted: Mapping[str, Any]) -> dict[str, Any]:
    found = case.metrics() | {metric.name: metric for metric in case.analysis().metrics}
    return {name: _same(found[name].value, value) if name in found else "absent" for name, value in wanted.items()}


def _score(case: Case, wanted: Any) -> Any:
    return _same(case.analysis().score, wanted)


def _report(case: Case, wanted: Sequence[str]) -> list[str]:
    sections = case.kind.report(case.params, case.seen())
    texts = [text for section in sections for text in (section.title, *section.text, *_shown_in(section))]
    return [part if any(part in text for text in texts) else f"not in {texts}" for part in wanted]


def _shown_in(section: Section) -> list[str]:
    rows = [" | ".join(map(str, row)) for grid in section.grids for row in (grid.columns, *grid.rows)]
    return rows + [chart.title for chart in section.charts]


def _subset(found: Any, wanted: Any) -> Any:
    if isinstance(found, Mapping) and isinstance(wanted, Mapping):
        return {key: _subset(found.get(key, "absent"), value) for key, value in wanted.items()}
    if isinstance(found, list | tuple) and isinstance(wanted, list) and len(found) == len(wanted):
        return [_subset(one, two) for one, two in zip(found, wanted, strict=True)]
    return _same(found, wanted)


def _lines(name: str) -> Callable[[Case, Any], Any]:
    def found(case: Case, wanted: Any) -> Any:
        return _fragments(getattr(case.kind, name)(case.params, case.before, case.after), wanted)

    return found


def _note(case: Case, wanted: str) -> str:
    return _fragments([case.kind.plan(case.params, case.before).note], [wanted])[0]


CHECKS: Mapping[str, Callable[[Case, Any], Any]] = {
    "facts": lambda case, _: [fact.name for fact in case.kind.facts(case.params)],
    "objections": lambda case, wanted: _fragments(case.kind.objections(case.params, case.before), wanted),
    "plan": lambda case, wanted: _commands(case.kind.plan(case.params, case.before), wanted),
    "note": _note,
    "problems": _lines("verify"),
    "rollback": lambda case, wanted: _commands(case.kind.rollback(case.params, case.before, case.after), wanted),
    "restored": _lines("restored"),
    "findings": _findings,
    "messages": _messages,
    "score": _score,
    "risk": lambda case, _: case.kind.risk(case.params).value,
    "metrics": _metrics,
    "report": _report,
    "before": lambda case, wanted: _subset(case.before, wanted),
    "after": lambda case, wanted: _subset(case.after, wanted),
}


def _shown(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)


def _refused(kind: OperationKind, data: Mapping[str, Any]) -> str:
    try:
        accepted = kind.params.model_validate(data.get("params", {}))
    except ValidationError as error:
        return explain(error, "the parameters")
    pytest.fail(f"the parameters were accepted: {accepted!r}")


@pytest.mark.parametrize("path", CASES, ids=[f"{path.parent.name}/{path.stem}" for path in CASES])
def test_case(path: Path) -> None:
    kind, data = _case(path)
    wanted = data["expect"]
    if "invalid" in wanted:
        assert wanted["invalid"] in _refused(kind, data)
        return
    case = _filled(kind, data)
    assert all(finding.advice[:1] in {"", finding.advice[:1].upper()} for finding in case.analysis().findings)
    found = {key: CHECKS[key](case, value) for key, value in wanted.items()}
    if found != wanted:
        pytest.fail(f"{data['title']}\nwanted {_shown(wanted)}\nfound {_shown(found)}")


@pytest.mark.parametrize("name", sorted({path.parent.name for path in CASES}))
def test_the_kind_has_the_name_of_its_file(name: str) -> None:
    assert importlib.import_module(f"opsqueue.operations.{name}").OPERATION.name == name
