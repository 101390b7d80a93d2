"""What each action plans, when it is done, and what leads back."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from opsqueue.model.plan import Command, Plan, Step
from opsqueue.operations.alerting.hand import Hand
from opsqueue.operations.alerting.show import time_of

_STOOD = frozenset({"pending", "active", "expired"})


def _step(title: str, *words: str) -> Step:
    return Step(title=title, command=Command(argv=("opsqueue", "alerts", *words)))


# -- before -----------------------------------------------------------------------------------------------


def objections(hand: Hand) -> Iterator[str]:
    """Why nothing may be sent."""
    action = hand.params.action
    if action in {"ack", "resolve"}:
        yield from hand.unclear()
        if left := hand.facts["alerts"]["left_out"]:
            yield f"{hand.host} has {left} alerts more than can be handled at once: end their cause, or their rule"
    if action in {"create", "update", "delete"}:
        yield from _about_rule(hand, hand.known("rule"))


def _about_rule(hand: Hand, found: Mapping[str, Any] | None) -> Iterator[str]:
    action, name = hand.params.action, hand.params.rule_name
    if found is None:
        yield f"the rule {name!r} could not be looked up: {hand.facts.get('rule')}"
        return
    if found["hosts"] != 1:
        yield (
            f"a rule is of the whole installation: name one target system, not {found['hosts']}; which hosts it is "
            "about, its own field `hosts` says"
        )
    yield from (f"the rule {name!r} cannot be honoured: {why}" for why in found["wrong"])
    standing = found["standing"]
    if action == "create" and standing is not None and standing != found["wanted"]:
        yield f"there is another alert rule called {name!r}: update it, or choose another name"
    if action != "create" and standing is None:
        yield f"nobody added an alert rule {name!r}{found['nearest']}: `opsqueue alerts rules` lists them"


# -- the plan ---------------------------------------------------------------------------------------------


def _ack(hand: Hand) -> Plan:
    given = hand.params
    steps = tuple(
        _step(
            f"acknowledge {_title(one)}",
            "ack",
            one["incident"],
            "--for",
            f"{given.duration_s}s",
            "--comment",
            given.comment,
        )
        for one in hand.open
    )
    firing, already = len(hand.firing), len(hand.firing) - len(hand.open)
    return Plan(steps=steps, note=f"{firing} of the alerts that were meant fire, {already} of them acknowledged before")


def _resolve(hand: Hand) -> Plan:
    comment = hand.params.comment
    steps = tuple(
        _step(f"resolve {_title(one)}", "resolve", one["incident"], "--comment", comment) for one in hand.firing
    )
    return Plan(steps=steps, note=f"{len(steps)} of the alerts that were meant fire")


def _silence(hand: Hand) -> Plan:
    given, found = hand.params, hand.facts["silence"]
    if found["state"] != "absent":
        return Plan(note=f"silence {found['silence_id']} was made before")
    words = (f'host="{hand.host}"', *given.matchers, "--for", f"{given.duration_s}s", "--comment", given.comment)
    quiet = len(hand.firing)
    step = _step(f"silence the alerts of {hand.host} that fit", "silence", *words)
    return Plan(steps=(step,), note=f"{quiet} that fire now would be kept quiet for {given.duration_s} s")


def _put(hand: Hand) -> Plan:
    found, name = hand.facts["rule"], hand.params.rule_name
    if found["standing"] == found["wanted"]:
        return Plan(note=f"the rule {name!r} stands as it should")
    update = ("--update",) if hand.params.action == "update" else ()
    title = f"{hand.params.action} the rule {name}"
    step = _step(title, "add", name, "--set", _fields(hand.params.rule or {}), *update)
    return Plan(steps=(step,), note=replayed(hand))


def _delete(hand: Hand) -> Plan:
    name = hand.params.rule_name
    return Plan(steps=(_step(f"remove the rule {name}", "remove", name),), note="its alerts end")


def _look(hand: Hand) -> Plan:
    if hand.params.action == "test":
        return Plan(note=replayed(hand))
    if hand.params.action == "list":
        return Plan(note=f"{len(hand.firing)} fire, {len(hand.open)} of them without anybody who looks after them")
    return Plan(note="this only looks")


def _fields(rule: Mapping[str, Any]) -> str:
    return json.dumps(
        {key: value for key, value in rule.items() if key != "name"},
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=False,
    )


def _title(one: Mapping[str, Any]) -> str:
    part = one["labels"].get("part", "")
    return f"{one['rule']} {part}".strip()


def replayed(hand: Hand) -> str:
    """What the rule would have done with the stored numbers, in one line."""
    found = hand.known("replay")
    if found is None:
        return f"it cannot be tried over the past: {hand.facts['replay']['unknown']}" if "replay" in hand.facts else ""
    if not found["about"]:
        return f"it is not about {hand.host}, or turned off"
    said = (
        f"on {hand.host} it would have fired {found['fired']} times in {time_of(found)} ({found['readings']} readings)"
    )
    last = [f"{one['at']} {one['what']}" for one in found["transitions"][-4:]]
    told = found.get("message")  # an answer of an older version does not say
    first = f"; first message, to {', '.join(told['channels'])}: {told['title']}" if told else ""
    return f"{said}; last: {', '.join(last)}{first}" if last else said


PLANS: Mapping[str, Callable[[Hand], Plan]] = {
    "ack": _ack,
    "resolve": _resolve,
    "silence": _silence,
    "create": _put,
    "update": _put,
    "delete": _delete,
}


def plan(hand: Hand) -> Plan:
    """The commands, or what was seen."""
    return PLANS.get(hand.params.action, _look)(hand)


# -- afterwards -------------------------------------------------------------------------------------------


def verify(before: Hand, now: Hand) -> Iterator[str]:
    """Why this is not what was wanted."""
    action = before.params.action
    if action == "ack":
        left = [one for one in before.open if _fires(now, one) and not _acked(now, one)]
        yield from (f"{_title(one)} fires, and is not acknowledged" for one in left)
    elif action == "resolve":
        yield from (f"{_title(one)} fires still" for one in before.firing if _fires(now, one))
    elif action == "silence" and (now.known("silence") or {}).get("state") not in _STOOD:
        yield "the silence does not stand"
    elif action in {"create", "update", "delete"}:
        yield from _rule_problems(before, now.known("rule"))


def _rule_problems(before: Hand, found: Mapping[str, Any] | None) -> Iterator[str]:
    wanted = before.facts["rule"]["wanted"]
    if found is None:
        yield "it is not known how the rule stands"
    elif found["standing"] != wanted:
        yield "the rule stands still" if wanted is None else "the rule does not stand as it was asked for"


def _fires(now: Hand, one: Mapping[str, Any]) -> bool:
    found = now.incident(one["incident"])
    return found is not None and found["state"] == "firing"


def _acked(now: Hand, one: Mapping[str, Any]) -> str:
    found = now.incident(one["incident"])
    return str(found["acknowledged_by"] or "") if found else ""


def rollback(before: Hand, now: Hand) -> Plan:
    """The way back from what was done."""
    action = before.params.action
    if action == "ack":
        mine = [one for one in before.open if _acked(now, one) == before.by]
        return Plan(steps=tuple(_step(f"take back {_title(one)}", "ack", one["incident"], "--end") for one in mine))
    if action == "silence" and (now.known("silence") or {}).get("state") in {"pending", "active"}:
        return Plan(steps=(_step("end the silence", "silence", "--end", now.facts["silence"]["silence_id"]),))
    if action in {"create", "update", "delete"}:
        return _rule_back(before, now)
    why = "what was resolved fires again by itself where its condition holds" if action == "resolve" else "nothing"
    return Plan(note=why)


def _rule_back(before: Hand, now: Hand) -> Plan:
    was, name = before.facts["rule"], before.params.rule_name
    stands = (now.known("rule") or was)["standing"]
    if stands == was["standing"] or stands != was["wanted"]:  # nothing was done, or it is somebody else's by now
        return Plan(note="the rule is not as this operation left it")
    if was["standing"] is None:
        return Plan(steps=(_step(f"remove the rule {name}", "remove", name),))
    return Plan(steps=(_step("the rule of before", "add", name, "--set", _fields(was["standing"]), "--update"),))


def restored(before: Hand, now: Hand) -> Iterator[str]:
    """What of it is still there."""
    action = before.params.action
    if action == "ack":
        mine = [one for one in before.open if _acked(now, one) == before.by]
        yield from (f"{_title(one)} is acknowledged still" for one in mine)
    elif action == "silence" and (now.known("silence") or {}).get("state") in {"pending", "active"}:
        yield "the silence stands still"
    elif action in {"create", "update", "delete"}:
        found = now.known("rule")
        if found is None or found["standing"] != before.facts["rule"]["standing"]:
            yield "the rule is not as it was"
