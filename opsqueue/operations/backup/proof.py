"""The proof that all tasks share: restored to a directory, compared with the manifest, and what that report says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from opsqueue.model.kind import Metric
from opsqueue.model.plan import Step
from opsqueue.operations.backup.hand import Hand

DIFFERENT = 4
"""The exit code of a comparison that found something."""
_NAMED = 3


def proof(hand: Hand, run: int, manifest: str, place: str, *, ok: tuple[int, ...]) -> Iterator[Step]:
    """Restore below `place`, compare, and remove what was restored; `ok`: exit codes of restoring and comparing."""
    params, scratch = hand.params, f"{place}/restored"
    some = params.level == "sample"
    if some:
        words = ("--manifest", f"{manifest}/manifest.gz", "--place", place, "--count", str(params.sample_files))
        yield hand.tree("choose what is restored for proof", "sample", *words, "--seed", str(_turn(hand, run)))
    yield hand.restic(
        "restore it to scratch",
        *("restore", "latest", *hand.one_run, *hand.tagged(f"run={run}"), "--target", scratch, *hand.sparse),
        include=f"{place}/sample" if some else "",
        save=f"{place}/restored.json",
        ok=ok,
    )
    yield compared(hand, manifest, place, scratch, ok=ok, more=("--sample", f"{place}/sample.json") if some else ())
    yield hand.step("remove what was restored", "rm", "-rf", "--", scratch)


def _turn(hand: Hand, run: int) -> int:
    """Another number for each proof, so that others are chosen."""
    return run + turn(hand)


def turn(hand: Hand) -> int:
    """The number of the next verification of this set."""
    return int(hand.runs.get("verify", {}).get("turn", 0)) + 1


def compared(
    hand: Hand, manifest: str, place: str, root: str, *, ok: tuple[int, ...] = (0,), more: tuple[str, ...] = ()
) -> Step:
    """Compare what lies below `root` with the manifest; the report goes to `place`."""
    words = ("--manifest", f"{manifest}/manifest.gz", "--root", root, "--place", place, "--level", hand.params.level)
    codes = (*ok, DIFFERENT) if len(ok) > 1 else ok
    return hand.tree("compare it", "compare", *words, *hand.sparse, *more, ok=codes)


def different(report: Mapping[str, Any]) -> str:
    """What a report complains of; empty: nothing."""
    if not report["compared"]:
        return "nothing was compared"
    told = [f"{one['path']}: {one['what']}" for one in report["differences"][:_NAMED]]
    more = f" and {report['different'] - len(told)} more" if report["different"] > len(told) else ""
    return f"{report['different']} differences: {'; '.join(told)}{more}" if told else ""


def numbers(report: Mapping[str, Any]) -> Iterator[Metric]:
    """What was compared, and how fast."""
    yield Metric(name="entries_compared", value=float(report["compared"]), unit="count")
    yield Metric(name="bytes_compared", value=float(report["bytes"]), unit="bytes")
    yield Metric(name="differences", value=float(report["different"]), unit="count")
    if report["total"]:
        yield Metric(name="coverage", value=100.0 * report["bytes"] / report["total"], unit="percent")
