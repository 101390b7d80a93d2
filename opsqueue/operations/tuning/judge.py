"""Whether a host may be tuned, whether it was, and whether it is led back."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from typing import Any

from opsqueue.facts.tuning import value_at
from opsqueue.operations.tuning.hand import Hand
from opsqueue.operations.tuning.statistics import Compared, compared
from opsqueue.operations.tuning.steps import compares
from opsqueue.operations.tuning.wanted import SHOWN, path_of, same_resource, stems

_ALPHA = 0.05
_RESERVE = 256 << 20
_MB = 1 << 20


def objections(hand: Hand) -> Iterator[str]:
    """Why nothing may be sent."""
    task = hand.params.task
    if task == "analyse":
        return
    yield from _about_tools(hand)
    yield from _about_places(hand)
    if task in {"apply", "benchmark"}:
        yield from _about_measuring(hand)
    if task == "rollback" and not hand.found["undo"]:
        yield f"there is nothing to lead back: no change of {hand.params.profile} is recorded in {hand.place}"
        return
    if task == "rollback" and hand.damaged:
        yield hand.damaged
        return
    yield from _about_knobs(hand)
    yield from _about_files(hand)
    if task == "apply":
        yield from _about_owners(hand)
        yield from _about_units(hand)


def _about_tools(hand: Hand) -> Iterator[str]:
    need = {"base64": "coreutils", "timeout": "coreutils", "setsid": "util-linux"}
    if hand.params.task in {"apply", "benchmark"}:
        need |= {one.tool.partition("_")[0]: one.tool.partition("_")[0] for one in hand.params.benchmarks}
    need.pop("command", None)
    if hand.params.unit_resources:
        need["systemctl"] = "systemd"
    for program, package in need.items():
        if program not in hand.found["tools"]:
            yield f"{program} is not there; install {package}"


def _about_places(hand: Hand) -> Iterator[str]:
    """What lies there is run, or written to, with our rights."""
    for name, at in hand.found.get("loose", {}).items():
        yield f"others than root and us can change {at}; give another {_PLACES[name]}"


_PLACES = {"place": "state_dir", "room": "benchmark_dir"}


def _about_measuring(hand: Hand) -> Iterator[str]:
    params, busy = hand.params, hand.found["busy"]
    if not params.benchmarks:
        return
    if busy is not None and busy >= params.max_busy_percent and not params.allow_load:
        text = f"processes waited for a CPU for {busy:g} percent of the last minute, so nothing true can be measured"
        yield f"{text}; wait, or allow_load=true"
    size = sum(one.size_mb * _MB for one in params.benchmarks if one.tool.startswith("fio"))
    free = hand.found["free"]
    if size and free is None:
        yield f"{params.benchmark_dir} is not there"
    elif size and free < size + _RESERVE:
        yield f"{params.benchmark_dir} has {free >> 20} MiB free; fio wants {size >> 20}, and 256 are left for others"


def _about_knobs(hand: Hand) -> Iterator[str]:
    for one in hand.knobs:
        if one.found is None:
            yield f"{one.name} is not there ({one.path}); the kernel or this machine has no such setting"
        elif not one.may and one.changes:
            yield f"{one.name} may not be set here ({one.path}): not permitted in this name space, or not root"
    total, least = hand.found["memory_kb"], hand.params.values.get("vm.min_free_kbytes", "0")
    if total and least.isdigit() and int(least) * 20 > total and not hand.params.allow_unsafe:
        yield f"vm.min_free_kbytes={least} is more than 5 percent of the memory ({total} kB)"


def _about_files(hand: Hand) -> Iterator[str]:
    odd = {"link": "is a symbolic link", "odd": "is no regular file", "large": "is larger than 64 KiB"}
    for one in hand.files:
        if one.what in odd:
            yield f"{one.path} {odd[one.what]}; it is not written over"
        elif one.what == "there" and one.wanted is not None and hand.params.task == "apply":
            lost = stems(_text(one.found)) - stems(_text(one.wanted))
            if lost:
                names = ", ".join(sorted(lost))
                yield f"{one.path} holds what is not asked for now: {names}; ask for that too, or roll back first"


def _text(content: str) -> str:
    return base64.b64decode(content).decode(errors="replace")


def _about_owners(hand: Hand) -> Iterator[str]:
    if hand.params.allow_managed:
        return
    for daemon in hand.found["daemons"]:
        yield f"{daemon} runs, and sets the same; stop it, use its profiles, or allow_managed=true"
    if not hand.params.persist:
        return
    for key, value in hand.params.values.items():
        for text in hand.overriding(key, value):
            yield f"{text}, and would win at the next boot; change it there, or allow_managed=true"


def _about_units(hand: Hand) -> Iterator[str]:
    for unit, resources in hand.params.unit_resources.items():
        shown = hand.found["units"].get(unit, {})
        if shown.get("LoadState") != "loaded":
            yield f"{unit} is {shown.get('LoadState', 'not known here')}; its resources cannot be set"
        used, most = shown.get("MemoryCurrent", ""), resources.given.get("MemoryMax", "")
        if most[:1].isdigit() and used.isdigit() and not _fits(int(used), most):
            yield f"{unit} uses {used} bytes now; MemoryMax={most} would have it killed"


def _fits(used: int, most: str) -> bool:
    factor = {"K": 10, "M": 20, "G": 30, "T": 40}.get(most[-1], 0)
    return used <= int(most.rstrip("KMGT")) << factor


# -- afterwards -------------------------------------------------------------------------------------------


def comparisons(hand: Hand, now: Mapping[str, Any]) -> tuple[Compared, ...]:
    """Every benchmark, before and after; empty where nothing was compared."""
    params, found = hand.params, []
    if not compares(hand):
        return ()
    for one in params.benchmarks:
        old, new = (samples(now, one.label, state) for state in ("old", "new"))
        if len(old) == len(new) == params.pairs:
            better = one.better if one.tool == "command" else "higher"
            limits = {"max_cv": params.max_cv, "min_effect": params.min_effect_percent}
            found.append(compared(one.label, old, new, better=better, alpha=_ALPHA / len(params.benchmarks), **limits))
    return tuple(found)


def samples(now: Mapping[str, Any], name: str, state: str) -> list[float]:
    """What a benchmark measured in one state, in order."""
    return [one["value"] for one in now["samples"] if (one["name"], one["state"]) == (name, state)]


def verify(hand: Hand, now: Mapping[str, Any]) -> Iterator[str]:
    """Why this is not the success that was wanted."""
    if hand.params.task == "benchmark":
        for one in hand.params.benchmarks:
            if len(samples(now, one.label, "old")) != hand.params.pairs:
                yield f"{one.label} was not measured to its end"
        return
    if now["guard"] != "confirmed":
        yield _GUARD[now["guard"]]
    for knob in hand.knobs:
        if (found := value_at(now, knob.path)) != knob.wanted:
            yield f"{knob.name} is {found}, not {knob.wanted}"
    for kept in hand.files:
        what = now["files"].get(kept.path, {"what": "absent", "content": ""})
        wanted = ("absent", "") if kept.wanted is None else ("there", kept.wanted)
        if (what["what"], what["content"]) != wanted:
            yield f"{kept.path} is not as wanted"
    if hand.params.task == "apply":
        yield from _about_resources(hand, now)
    yield from _about_difference(hand, now)


_GUARD = {
    "none": "the change was not confirmed",
    "armed": "the change was begun and not confirmed",
    "fired": "the host led everything back by itself: nobody confirmed in time",
}


def _about_resources(hand: Hand, now: Mapping[str, Any]) -> Iterator[str]:
    for unit, resources in hand.params.unit_resources.items():
        shown = now["units"].get(unit, {})
        for name, wanted in resources.given.items():
            found = shown.get(SHOWN.get(name, name), "not known")
            if not same_resource(name, wanted, found):
                yield f"{unit} has {name} {found}, not {wanted}"


def _about_difference(hand: Hand, now: Mapping[str, Any]) -> Iterator[str]:
    found = comparisons(hand, now)
    if compares(hand) and len(found) != len(hand.params.benchmarks):
        yield "not every benchmark was measured to its end"
    for one in found:
        if one.verdict == "worse":
            yield f"it made it worse: {one}"
    if found and hand.params.accept_if == "improved" and not any(one.verdict == "improved" for one in found):
        yield f"it is no improvement: {'; '.join(map(str, found))}"


def restored(hand: Hand, now: Mapping[str, Any]) -> Iterator[str]:
    """What is not as it was: values, their pairs, and files to the byte."""
    if now["guard"] == "armed":
        yield f"a guard still waits in {hand.place}"
    for path, before in hand.found["knobs"].items():
        if before["there"] and (found := value_at(now, path)) != before["value"] and _touched(hand, path):
            yield f"{path} was {before['value']} and is {found}; set it by hand"
    for kept in hand.files:
        was, found = hand.found["files"].get(kept.path), now["files"].get(kept.path)
        if was and (found is None or any(was[key] != found[key] for key in ("what", "mode", "content"))):
            yield f"{kept.path} is not as it was; look at it"


def _touched(hand: Hand, path: str) -> bool:
    """Values that others move meanwhile are none of ours."""
    words = {*hand.back_words, *(one.path for one in hand.knobs)}
    return path in words


def kept_over_boot(hand: Hand) -> list[str]:
    """Values of the profile that another file would set otherwise at boot."""
    pairs = hand.params.values.items() if hand.params.persist else ()
    return [text for key, value in pairs for text in hand.overriding(key, value)]


def sources(hand: Hand) -> dict[str, str]:
    """Who sets each value at boot now: the last file that does, or the kernel itself."""
    owners = {key: hand.owners(key) for key in hand.params.values}
    return {path_of(key): rows[-1]["file"] if rows else "kernel" for key, rows in owners.items()}
