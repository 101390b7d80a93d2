"""The steps of a tuning: what is sent."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from opsqueue.model.plan import Command, Plan, Step
from opsqueue.operations.tuning import scripts
from opsqueue.operations.tuning.hand import Hand
from opsqueue.operations.tuning.params import Benchmark, PerformanceTuningParams

_SETTING_S = 60
_ARMED = "write down the way back, and let a guard take it if nobody comes back"
_ENDLESS = 1 << 30
_EXTRA_S = 30
"""Seconds that one benchmark, and all together, may take beside those that they were given."""
_BETWEEN_S = 2


def plan(hand: Hand) -> Plan:
    """All steps, in order; the first that fails stops the rest, and all is led back."""
    task = hand.params.task
    if task == "benchmark":
        return Plan(steps=(_measured(hand),), note=f"measure {_named(hand)}, {hand.params.pairs} times each")
    if task == "analyse":
        return Plan(note="only looked at")
    if not hand.changing:
        return Plan(note=f"the settings of {hand.params.profile} are as wanted, and kept")
    return Plan(steps=_steps(hand), note=_note(hand))


def _named(hand: Hand) -> str:
    return ", ".join(one.label for one in hand.params.benchmarks)


def _note(hand: Hand) -> str:
    said = [f"{one.name}: {one.found} -> {one.wanted}" for one in hand.knobs if one.changes]
    said += [f"{'remove' if one.wanted is None else 'write'} {one.path}" for one in hand.files if one.changes]
    return "; ".join(said)


def compares(hand: Hand) -> bool:
    """Whether old and new values are measured in turn."""
    return bool(hand.params.benchmarks and hand.set_words and hand.params.task == "apply")


def _steps(hand: Hand) -> tuple[Step, ...]:
    seconds = hand.params.confirm_within_seconds + (_long(hand.params) if compares(hand) else 0)
    steps = [
        _step(hand, _ARMED, scripts.ARM, scripts.GUARD, hand.place, str(seconds), *hand.undo_words)
    ]  # fmt: skip
    if hand.set_words:
        steps.append(
            _step(hand, "set the values one by one, and read them back", scripts.APPLY, hand.place, *hand.set_words)
        )
    if compares(hand):
        steps.append(_measured(hand))
    if hand.file_words:
        steps.append(_step(hand, "write the files that keep them", scripts.APPLY, hand.place, *hand.file_words))
    steps.append(_step(hand, "call the guard off", scripts.CONFIRM, hand.place))
    return tuple(steps)


def _measured(hand: Hand) -> Step:
    params = hand.params
    old, new = (_lines(hand.back_words), _lines(hand.set_words)) if compares(hand) else ("", "")
    limit = str(params.benchmark_seconds + _EXTRA_S)
    rows = [(one.label, one.tool, limit, _line(params, one)) for one in params.benchmarks]
    text = "\n".join("\t".join(row) for row in rows)
    title = "measure with the old and the new values in turn" if new else "measure"
    words = (hand.place, str(params.pairs), old, new, text, hand.room)
    return _step(hand, title, scripts.MEASURE, *words, timeout=_long(params) + _SETTING_S)


def _lines(words: Sequence[str]) -> str:
    return "\n".join(f"{path}\t{value}" for _knob, path, value in zip(*[iter(words)] * 3, strict=True))


def _long(params: PerformanceTuningParams) -> int:
    """Seconds that the measuring takes at most."""
    return (2 * params.pairs + 2) * len(params.benchmarks) * (params.benchmark_seconds + _BETWEEN_S) + _EXTRA_S


def _line(params: PerformanceTuningParams, one: Benchmark) -> str:
    seconds = params.benchmark_seconds
    if one.tool == "command":
        return shlex.join(one.command)
    kind = one.tool.partition("_")[2]
    if one.tool.startswith("fio"):
        return shlex.join((
            "fio", "--name=opsqueue", "--filename=opsqueue.data", f"--size={one.size_mb}M", f"--rw={kind}", "--bs=4k",
            f"--numjobs={one.threads}", "--iodepth=16", "--ioengine=libaio", "--direct=1", "--time_based",
            f"--runtime={seconds}", "--group_reporting", "--output-format=terse", "--terse-version=3",
        ))  # fmt: skip
    length: tuple[str, ...] = (f"--time={seconds}", "--events=0")
    if one.events:
        length = (f"--events={one.events}", "--time=0")
    if kind == "memory":  # it counts no events, and without a size it goes on for 100 GiB
        length = ("--memory-block-size=1M", f"--memory-total-size={one.events or _ENDLESS}M", f"--time={seconds}")
    return shlex.join(("sysbench", kind, f"--threads={one.threads}", *length, "run"))


def undone(hand: Hand, *, scratch: bool) -> Plan:
    """The way back; sent also where the guard may have taken it, for twice is as good as once.

    `scratch`: a benchmark was killed before it removed what it measured on.
    """
    if hand.params.task == "benchmark":
        clear = _step(hand, "remove the file of the benchmark", scripts.CLEAR, hand.place)
        return Plan(steps=(clear,) if scratch else (), note="nothing was set")
    if not hand.changing:
        return Plan(note="nothing was set")
    back = _step(hand, "lead back values and files", scripts.UNDO, hand.place, *hand.undo_words)
    return Plan(steps=(back,))


def _step(hand: Hand, title: str, text: str, *words: str, timeout: int = _SETTING_S) -> Step:
    command = Command(argv=("sh", "-c", text, "sh", *words), sudo=hand.params.sudo, timeout=timeout)
    return Step(title=title, command=command)
