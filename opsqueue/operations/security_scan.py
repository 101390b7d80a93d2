"""Security scan: known vulnerabilities, settings, permissions and compliance of a host, held against the scan before.

Nothing is changed on the host, so there is nothing to undo, and after a crash it is simply asked again. A scan that
finds holes has succeeded: findings are told, never failures; what could not be looked at is told as such, and never
counts as passed. The parts: `security/rules_*.py` (what should be so), `security/vulnerabilities.py`,
`security/states.py` (new, standing, fixed), `security/compliance.py`, `security/report.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from opsqueue.facts import security as ask
from opsqueue.model.fact import Fact, Facts, why_unknown
from opsqueue.model.kind import Analysis, Finding, Metric, OperationKind, Seen
from opsqueue.model.names import OperationType, Severity, Sort
from opsqueue.model.report import Section
from opsqueue.operations.security import compliance, found, report, states, vulnerabilities
from opsqueue.operations.security.catalogue import Control, rules
from opsqueue.operations.security.found import Found, Missing
from opsqueue.operations.security.params import SecurityScanParams
from opsqueue.operations.security.rule import Judged, judge
from opsqueue.operations.security.rules_files import SENSITIVE_FILES
from opsqueue.operations.security.rules_host import KERNEL_KEYS, PACKAGES
from opsqueue.operations.security.rules_ssh import SSHD_OPTIONS

_MOST_ENTRIES = 2000
"""Files of one kind that a host tells."""
_MOST_WHY, _LONGEST = 10, 500
"""Reasons that are told of one part, and characters of one."""
_COSTS = {Severity.CRITICAL: 20.0, Severity.WARNING: 4.0, Severity.INFO: 0.25}
_NOTHING = ("could not be looked at", "Make it possible and scan again; until then nothing is known of it.")
_IN_PART = ("looked at only in part", "Make it possible and scan again; until then nothing is known of the rest.")
_NOT_TOLD = ("told only in part", "Mend what is told and scan again: then the rest is told.")
_RULE_FACTS = {"vulnerabilities": "advisories", "configuration": "settings", "permissions": "files"}


def facts(params: SecurityScanParams) -> tuple[Fact, ...]:
    """One question for each check; each has its own time."""
    asked: dict[str, Callable[[SecurityScanParams], Fact]] = {
        "vulnerabilities": _advisories,
        "configuration": _settings,
        "permissions": _files,
        "lynis": lambda given: ask.lynis(sudo=given.sudo, seconds=given.lynis_seconds),
        "integrity": lambda given: ask.integrity(sudo=given.sudo, seconds=given.integrity_seconds),
    }
    return tuple(make(params) for check, make in asked.items() if check in params.checks)


def _advisories(params: SecurityScanParams) -> Fact:
    options = params.model_dump(include={"advisories", "allow_network", "python_paths", "manifests"})
    if params.exploited:
        options["exploited"] = params.exploited
    return ask.advisories(options, sudo=params.sudo, seconds=params.seconds)


def _settings(params: SecurityScanParams) -> Fact:
    options = {
        "keys": KERNEL_KEYS,
        "packages": PACKAGES,
        "sshd": SSHD_OPTIONS,
        "sshd_config": params.sshd_config,
        "sudoers": params.sudoers,
    }
    return ask.settings(options, sudo=params.sudo, seconds=params.seconds)


def _files(params: SecurityScanParams) -> Fact:
    options = params.model_dump(include={"paths", "exclude_paths", "sshd_config"})
    options |= {"files": SENSITIVE_FILES, "most": _MOST_ENTRIES}
    return ask.files(options, sudo=params.sudo, seconds=params.seconds)


@dataclass(frozen=True)
class Scan:
    """What the answers of one host come to, each part reckoned when it is wanted."""

    params: SecurityScanParams
    facts: Facts

    @cached_property
    def judged(self) -> tuple[Judged, ...]:
        """Every rule whose check was asked for."""
        asked = {_RULE_FACTS.get(check) for check in self.params.checks}
        wanted = [one for one in rules(self.params.allowed_ports) if one.part.partition(".")[0] in asked]
        return tuple(judge(one, self.facts) for one in wanted if one.code not in self.params.skip_rules)

    @cached_property
    def missing(self) -> tuple[Missing, ...]:
        """What was not looked at."""
        gaps = list(found.missing(self.params, self.facts, self.judged))
        if "vulnerabilities" in self.params.checks:
            gaps += vulnerabilities.missing(self.facts)
        gaps += compliance.missing(self.params, self.controls)
        return tuple(dict.fromkeys(gaps))

    @cached_property
    def controls(self) -> tuple[Control, ...]:
        """The controls of the host's compliance profile."""
        return compliance.profile(self.params, self.facts, self.judged)

    def weaknesses(self, at: float) -> Iterator[Found]:
        """Everything that was found."""
        yield from found.of_rules(self.judged)
        yield from vulnerabilities.found(self.params, self.facts)
        yield from found.of_lynis(self.facts)
        yield from found.of_integrity(self.facts)
        yield from compliance.ended(self.facts, at)
        for part in dict.fromkeys(gap.part for gap in self.missing):
            gaps = [gap for gap in self.missing if gap.part == part]
            beyond = any(gap.beyond for gap in gaps)
            yield _incomplete(part, gaps, self._how(part, gaps), self._codes(part) if beyond else ())

    def _how(self, part: str, gaps: Sequence[Missing]) -> tuple[str, str]:
        """How much of it is missing, and what to do."""
        if found.known(self.facts, part) is None:
            return _NOTHING
        return _NOT_TOLD if all(gap.beyond for gap in gaps) else _IN_PART

    def _codes(self, part: str) -> tuple[str, ...]:
        """What may have been found there beyond what is told: the next scan cannot call it new."""
        rules_there = {one.rule.code for one in self.judged if one.rule.part == part and one.problems}
        return (found.CHANGED,) if part == found.INTEGRITY else tuple(sorted(rules_there))

    def held(self, seen: Seen) -> states.Held:
        """The same, held against the scan of before."""
        return states.held(self.params, seen, self.weaknesses(seen.at), self.missing)


def _incomplete(part: str, gaps: Sequence[Missing], how: tuple[str, str], codes: tuple[str, ...]) -> Found:
    why = list(dict.fromkeys(gap.why for gap in gaps))
    told = [one[:_LONGEST] for one in why[:_MOST_WHY]]
    more = f"; and {len(why) - _MOST_WHY} more" if len(why) > _MOST_WHY else ""
    return Found(
        code="scan_incomplete",
        subject=part,
        part="",
        severity=Severity.WARNING,
        message=f"{part}: {how[0]}: {'; '.join(told)}{more}",
        advice=how[1],
        evidence={"why": told, "number": len(why), **({"codes": list(codes)} if codes else {})},
    )


def verify(params: SecurityScanParams, _before: Facts, after: Facts) -> tuple[str, ...]:
    """A scan that was answered nothing at all was none."""
    reasons = [_why_nothing(after, fact.name) for fact in facts(params)]
    if all(reasons):
        return (f"nothing could be looked at: {'; '.join(dict.fromkeys(filter(None, reasons)))}",)
    return ()


def _why_nothing(after: Facts, name: str) -> str | None:
    """Why a fact says nothing: what is not on the host was not looked at either. None when it says something."""
    answer = after.get(name)
    if isinstance(answer, Mapping) and set(answer) == {"absent"}:
        return str(answer["absent"])
    return why_unknown(answer)


def measure(params: SecurityScanParams, _before: Facts, after: Facts) -> tuple[Metric, ...]:
    """What was looked at, and the share of controls that passed; what was found is counted when it is analysed."""
    scan = Scan(params, after)
    walked, lynis = found.known(after, "files.walked"), found.known(after, "lynis")
    numbers: list[Metric] = []
    if "vulnerabilities" in params.checks:
        numbers += vulnerabilities.metrics(after)
    if "permissions" in params.checks:
        numbers.append(Metric(name="files_scanned", value=walked["files"] if walked else None, unit="count"))
    if "lynis" in params.checks:
        numbers.append(Metric(name="lynis_index", value=lynis["index"] if lynis else None, unit="score"))
        numbers.append(Metric(name="lynis_tests", value=lynis["tests"] if lynis else None, unit="count"))
        told = len(lynis["suggestions"]) if lynis else None
        numbers.append(Metric(name="lynis_suggestions", value=told, unit="count"))
    numbers.append(Metric(name="parts_missing", value=len({gap.part for gap in scan.missing}), unit="count"))
    return (*numbers, *compliance.metrics(scan.controls))


def analyse(params: SecurityScanParams, seen: Seen) -> Analysis:
    """Every weakness with its state, and a score that open ones cost: 20 critical, 4 warning, 0.25 info.

    Where one of the three main parts was asked for and says nothing, there is no score.
    """
    blind = any(_why_nothing(seen.after, name) for check, name in _RULE_FACTS.items() if check in params.checks)
    held = Scan(params, seen.after).held(seen)
    cost = sum(_COSTS[severity] * number for severity, number in held.severities.items())
    return Analysis(
        findings=held.findings,
        score=None if blind else max(0.0, round(100 - cost, 1)),
        metrics=tuple(states.metrics(held, seen.at)),
    )


def sections(params: SecurityScanParams, seen: Seen) -> tuple[Section, ...]:
    """The report of one host."""
    scan = Scan(params, seen.after)
    findings: tuple[Finding, ...] = scan.held(seen).findings
    return (
        *report.of_controls(compliance.title(params, seen.after), scan.controls),
        *report.of_vulnerabilities(findings),
        *report.of_findings(findings),
        *report.of_missing(scan.missing),
    )


OPERATION = OperationKind(
    name=OperationType.SECURITY_SCAN.value,
    summary="Looks for vulnerable packages, unsafe settings and permissions, and judges a compliance profile",
    sort=Sort.LOOKING,
    params=SecurityScanParams,
    facts=facts,
    verify=verify,
    measure=measure,
    compares=True,
    analyse=analyse,
    report=sections,
)
