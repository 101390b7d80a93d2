"""What a scan found, before it is held against the scan of before; and what it could not look at."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from opsqueue.model.fact import Facts
from opsqueue.model.names import Severity
from opsqueue.operations.security.params import SecurityScanParams
from opsqueue.operations.security.rule import Judged, NotApplicable, NotKnown, State, section
from opsqueue.operations.security.rules_listening import cut_sockets

INTEGRITY, CHANGED = "integrity", "package_file_changed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One weakness."""

    code: str
    subject: str
    """What it is about, the same at the next scan."""
    part: str
    """What it was judged by; gone from there, it is mended."""
    severity: Severity
    message: str
    advice: str
    references: tuple[str, ...] = ()
    evidence: Mapping[str, Any] = field(default_factory=dict)

    def fingerprint(self, host: str) -> str:
        """Its name over all scans of this host."""
        return fingerprint(self.code, host, self.subject)


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """A part that was not looked at, or not wholly."""

    part: str
    why: str
    code: str = ""
    """When it is about one rule only, and the rest of the part is known."""
    but: frozenset[str] = frozenset()
    """Directories of which all is known nevertheless."""
    beyond: bool = False
    """When it was looked at, and more was found than is told."""

    def covers(self, part: str, code: str, subject: str = "") -> bool:
        """Whether nothing is known of what was found there."""
        inside = part == self.part or part.startswith(f"{self.part}.")
        return inside and self.code in {"", code} and not self._known(subject)

    def _known(self, subject: str) -> bool:
        words = subject.split("/")
        return any("/".join(words[:number]) in self.but for number in range(2, len(words) + 1))


def fingerprint(code: str, host: str, subject: str) -> str:
    """From what it is and what it is about, never from a value or a sentence."""
    return hashlib.sha256(f"{code}\0{host}\0{subject}".encode()).hexdigest()[:16]


def of_rules(judged: Iterable[Judged]) -> Iterator[Found]:
    """What the rules found."""
    for one in judged:
        for problem in one.problems:
            yield Found(
                code=one.rule.code,
                subject=problem.subject,
                part=one.rule.part,
                severity=problem.severity or one.rule.severity,
                message=problem.message,
                advice=problem.advice or one.rule.advice,
                references=tuple(one.rule.references),
                evidence=problem.evidence,
            )


def of_lynis(facts: Facts) -> Iterator[Found]:
    """The warnings of lynis, one for each of its tests."""
    answer = known(facts, "lynis")
    by_test: dict[str, list[str]] = {}
    for one in answer["warnings"] if answer else ():
        by_test.setdefault(one["test"], []).append(one["text"])
    for test, texts in by_test.items():
        yield Found(
            code="lynis_warning",
            subject=test,
            part="lynis",
            severity=Severity.WARNING,
            message=f"{test}: {'; '.join(texts)}",
            advice=f"See `lynis show details {test}` on the host.",
            references=(f"lynis {test}",),
            evidence={"said": texts},
        )


def of_integrity(facts: Facts) -> Iterator[Found]:
    """Files of packages that were changed."""
    answer = known(facts, "integrity")
    for path in answer["changed"] if answer else ():
        yield Found(
            code=CHANGED,
            subject=path,
            part=INTEGRITY,
            severity=Severity.CRITICAL if "/bin/" in path or "/sbin/" in path or "/lib" in path else Severity.WARNING,
            message=f"{path} is not what its package installed",
            advice="Find out who changed it; `apt-get install --reinstall` brings the package's own back.",
            references=("lynis PKGS-7370",),
        )


def known(facts: Facts, part: str) -> Any:
    """The answer of a part; None when it is not known or not there."""
    try:
        return section(facts, part)
    except (NotKnown, NotApplicable):
        return None


def missing(params: SecurityScanParams, facts: Facts, judged: Iterable[Judged]) -> Iterator[Missing]:
    """What was not looked at, or not wholly; what a host does not have is not missing."""
    wanted = {
        "vulnerabilities": ("advisories",),
        "configuration": ("settings",),
        "permissions": ("files",),
        "lynis": ("lynis",),
        "integrity": ("integrity",),
    }
    whole: dict[str, str] = {}
    for fact in (fact for check in params.checks for fact in wanted[check]):
        try:
            section(facts, fact)
        except NotKnown as error:
            whole[fact] = str(error)
        except NotApplicable:
            continue
    yield from (Missing(part=fact, why=why) for fact, why in whole.items())
    unknown = [one for one in judged if one.state is State.UNKNOWN and one.rule.part.partition(".")[0] not in whole]
    told = {(one.rule.part, one.why, one.rule.code if known(facts, one.rule.part) else "") for one in unknown}
    yield from (Missing(part=part, why=why, code=code) for part, why, code in sorted(told))
    yield from _of_sockets(facts)
    yield from _of_files(facts)
    yield from _of_accounts(facts)
    yield from _of_keys(facts)
    yield from _of_integrity(facts)


def _of_sockets(facts: Facts) -> Iterator[Missing]:
    answer = known(facts, _SOCKETS)
    if answer and (why := cut_sockets(answer)):
        yield Missing(part=_SOCKETS, why=why, beyond=True)


_SOCKETS = "settings.listening"


def _of_files(facts: Facts) -> Iterator[Missing]:
    walked = known(facts, "files.walked")
    if not walked:
        return
    if walked["cut"]:
        yield Missing(part="files", why=f"{walked['files']} files were looked at, and then {walked['cut']}")
    for kind, number in walked["left_out"].items():
        why = f"{number} more were found than are told, which are the worst"
        yield Missing(part=f"files.{kind}", why=why, beyond=True)
    if walked["unreadable"] and not walked["root"]:
        yield Missing(part="files", why=f"{walked['unreadable']} directories cannot be read without root")


def _of_accounts(facts: Facts) -> Iterator[Missing]:
    answer = known(facts, "files.accounts")
    if not answer or not answer["sources"]:
        return
    told = f"{answer['unlisted']} were found by their homes or keys" if answer["unlisted"] else "none was found"
    why = f"accounts of {', '.join(answer['sources'][:_TOLD])} are in no list: {told}, others were not looked at"
    for part in ("files.authorized", "files.homes"):
        yield Missing(part=part, why=why, but=frozenset(answer["looked"]))


_TOLD = 5


def _of_keys(facts: Facts) -> Iterator[Missing]:
    for entry in known(facts, "files.authorized") or ():
        if entry["why"]:
            yield Missing(part="files.authorized", why=entry["why"])


def _of_integrity(facts: Facts) -> Iterator[Missing]:
    answer = known(facts, "integrity")
    if answer and answer["said"]:
        yield Missing(part=INTEGRITY, why=f"dpkg --verify looked at less than everything: {answer['said']}")
    if answer and answer["number"] > len(answer["changed"]):
        yield Missing(
            part=INTEGRITY, why=f"{answer['number']} files were changed, and not all of them are told", beyond=True
        )
