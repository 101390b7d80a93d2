"""Prove an old backup again: the repository checked and read, files restored to scratch and compared with what was."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from opsqueue.model.kind import Finding, Metric
from opsqueue.model.names import Severity
from opsqueue.model.plan import Plan, Step
from opsqueue.operations.backup.hand import Hand
from opsqueue.operations.backup.proof import different, numbers, proof, turn

_HOUR = 3600
_OK = (0, 1)
"""What restic answers when it found damage is an answer: the report is written, and nothing is left behind."""
_TURN = 'printf "%s" "$2" >"$1"'


def objections(hand: Hand) -> Iterator[str]:
    """Why nothing can be verified."""
    if hand.chosen() is None:
        yield absent(hand)


def absent(hand: Hand) -> str:
    """That the wanted snapshot is not there, and which are."""
    runs = ", ".join(str(one.run) for one in hand.snapshots[-10:]) or "none"
    what = "proven backup" if hand.params.snapshot == "latest" else f"run {hand.params.snapshot}"
    return f"there is no {what} of {hand.params.called} of {hand.label}; the newest runs: {runs}"


def plan(hand: Hand) -> Plan:
    """All steps; those that find damage do not stop the rest."""
    chosen = hand.chosen()
    if chosen is None:
        return Plan(note=absent(hand))
    state, number = hand.params.state, turn(hand)
    partial = f"{state}/verify.partial"
    left = [name for name, one in sorted(hand.runs.items()) if one["partial"]]
    steps = (
        *hand.prepared(),
        *(hand.step("remove what was interrupted", "rm", "-rf", "--", f"{state}/{name}") for name in left),
        hand.tree("begin", "begin", "--place", partial),
        hand.step("count it", "sh", "-c", _TURN, "sh", f"{partial}/turn.json", str(number)),
        hand.restic("check the repository", "check", *_read(hand, number), save=f"{partial}/check.json", ok=_OK),
        *_proof(hand, chosen.run, partial),
        hand.step("forget the report before", "rm", "-rf", "--", f"{state}/verify"),
        hand.step("keep the report", "mv", "-T", "--", partial, f"{state}/verify"),
    )
    return Plan(steps=steps, note=f"{chosen}, from {hand.params.repository}")


def _proof(hand: Hand, run: int, partial: str) -> Iterator[Step]:
    """Compared with what was written down; without it restic itself reads again what it wrote."""
    if written(hand, run):
        yield from proof(hand, run, hand.place(run), partial, ok=_OK)
        return
    words = ("restore", "latest", *hand.one_run, *hand.tagged(f"run={run}"), "--verify", "--target")
    save = f"{partial}/restored.json"
    yield hand.restic("restore all of it to scratch", *words, f"{partial}/restored", *hand.sparse, save=save, ok=_OK)
    yield hand.step("remove what was restored", "rm", "-rf", "--", f"{partial}/restored")


def written(hand: Hand, run: int) -> bool:
    """Whether this host knows what a run should hold."""
    return bool(hand.runs.get(f"{run:06}", {}).get("manifest"))


def _read(hand: Hand, number: int) -> tuple[str, ...]:
    parts = hand.params.read_data_parts
    if hand.params.read_data == "part" and parts > 1:
        return (f"--read-data-subset={(number - 1) % parts + 1}/{parts}",)
    return () if hand.params.read_data == "none" else ("--read-data",)


def run_of(_hand: Hand) -> int:
    """No run whose changes are asked for."""
    return 0


def _report(hand: Hand, now: Hand) -> Mapping[str, Any]:
    """What this verification left; nothing when it did not come to its end."""
    told = now.runs.get("verify", {})
    return dict(told) if told.get("turn") == turn(hand) else {}


def verify(hand: Hand, now: Hand) -> Iterator[str]:
    """What is wrong with the backup, or why it could not be told."""
    told = _report(hand, now)
    if not told:
        yield "the verification did not come to its end"
        return
    if (code := told.get("check", {}).get("code")) != 0:
        yield f"the repository is damaged: restic check ended with {code}: {' '.join(told['check']['said'])[-300:]}"
    if told.get("restored", {}).get("code", 0) != 0:
        yield f"it cannot be restored: {' '.join(told['restored']['said'])[-300:]}"
    if "report" in told and (why := different(told["report"])):
        yield f"what was restored is not what was backed up: {why}"
    if hand.params.snapshot == "latest" and hand.proven[-1].age > hand.params.max_age_hours * _HOUR:
        yield f"the newest proven backup is {hand.proven[-1].age // _HOUR} hours old (max_age_hours)"


def rollback(hand: Hand, now: Hand) -> Iterator[Step]:
    """Remove what was begun; a backup that is damaged stays, whoever looks at it."""
    if "verify.partial" in now.runs:
        yield hand.step("remove what was begun", "rm", "-rf", "--", f"{hand.params.state}/verify.partial")


def restored(_hand: Hand, now: Hand) -> Iterator[str]:
    """What of it is still there."""
    if "verify.partial" in now.runs:
        yield "the scratch restore is still there"


def measure(hand: Hand, now: Hand) -> Iterator[Metric]:
    """What was compared, and how old the backup is."""
    told = _report(hand, now)
    if "report" in told:
        yield from numbers(told["report"])
    if chosen := hand.chosen():
        yield Metric(name="backup_age", value=float(chosen.age), unit="s")
    share = {"none": 0.0, "all": 100.0}.get(hand.params.read_data, 100.0 / hand.params.read_data_parts)
    yield Metric(name="repository_read", value=share, unit="percent")


def findings(hand: Hand, now: Hand) -> Iterator[Finding]:
    """Damage, and what could not be compared."""
    told = _report(hand, now)
    if not told:
        return
    broken = told["check"]["code"] != 0 or told.get("restored", {}).get("code", 0) != 0
    if broken or ("report" in told and different(told["report"])):
        text = f"the backup {hand.chosen()} is damaged"
        advice = "Make a new one into another repository now; then see `restic repair` and the disk."
        yield Finding(severity=Severity.CRITICAL, code="backup_damaged", message=text, advice=advice)
    if "report" not in told:
        text = "all of it was restored, and not compared: what it should hold was not written down on this host"
        advice = "Verify on the host that made it, or restore and look."
        yield Finding(severity=Severity.WARNING, code="no_manifest", message=text, advice=advice)
