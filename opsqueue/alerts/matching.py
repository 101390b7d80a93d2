"""Silences and inhibitions: an alert that is muted is recorded, and nobody is told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from opsqueue.alerts.fingerprint import silence_id
from opsqueue.errors import Conflict, InvalidRequest
from opsqueue.model.alert import Alert, Silence
from opsqueue.model.alert_rule import InhibitRule
from opsqueue.model.matcher import Matcher, all_match

BY_WINDOW = "window:"
"""How it begins what an open maintenance window keeps quiet; that is no reason to leave it unmended."""


def muted_by(alert: Alert, silences: Iterable[Silence], inhibitions: Inhibitions, now: float) -> tuple[str, ...]:
    """What keeps this alert quiet now: `silence:ID`, `inhibited:FINGERPRINT`; nothing is told while there is any."""
    quiet = [f"silence:{one.id}" for one in silences if silences_it(one, alert, now)]
    return (*quiet, *(f"inhibited:{source}" for source in inhibitions.of(alert)))


def silences_it(silence: Silence, alert: Alert, now: float) -> bool:
    """Whether it is active and one of its sets matches."""
    labels = alert.all_labels()
    return silence.state(now) == "active" and any(all_match(one, labels) for one in silence.matchers)


class Inhibitions:
    """Inhibition over all that fires, looked up by the `equal` labels, so that each alert costs one look a rule."""

    def __init__(self, firing: Iterable[Alert], rules: Iterable[InhibitRule]) -> None:
        sources = [(source, source.all_labels()) for source in firing if source.firing]
        self._rules = [(rule, _by_labels(rule, sources)) for rule in rules]
        self._labels = {source.fingerprint: labels for source, labels in sources}
        self._behind: dict[str, set[str]] = {}

    def of(self, alert: Alert) -> list[str]:
        """The fingerprints of the firing alerts because of which this one is not told, one for each rule at most.

        Who is kept quiet by this one, directly or through others, does not keep it quiet: nobody would hear of any.
        """
        found = self._named(alert.all_labels()) if self._rules else []
        return [one for one in found if alert.fingerprint not in self._all_behind(one)]

    def _named(self, labels: Mapping[str, str]) -> list[str]:
        found = (_inhibitor(labels, rule, sources) for rule, sources in self._rules)
        return list(dict.fromkeys(one for one in found if one))

    def _all_behind(self, source: str) -> set[str]:
        """All because of which a source is not told itself, directly or through others."""
        if source not in self._behind:
            found, left = set[str](), [source]
            while left:
                new = [one for one in self._named(self._labels[left.pop()]) if one not in found]
                found.update(new)
                left.extend(new)
            self._behind[source] = found
        return self._behind[source]


_Sources = dict[tuple[str, ...], tuple[str, str]]
"""By the values of the `equal` labels: the first source, and the first that is no target too; empty: none."""


def _by_labels(rule: InhibitRule, sources: Iterable[tuple[Alert, Mapping[str, str]]]) -> _Sources:
    found: _Sources = {}
    for source, labels in sources:
        if all_match(rule.source, labels):
            first, plain = found.get(_equal(rule, labels), ("", ""))
            if not plain and not all_match(rule.target, labels):
                plain = source.fingerprint
            found[_equal(rule, labels)] = (first or source.fingerprint, plain)
    return found


def _inhibitor(labels: Mapping[str, str], rule: InhibitRule, sources: _Sources) -> str:
    if not sources or not all_match(rule.target, labels):
        return ""
    first, plain = sources.get(_equal(rule, labels), ("", ""))
    # Two alerts that match both sides would silence each other, and nobody would be told of either.
    return plain if all_match(rule.source, labels) else first


def _equal(rule: InhibitRule, labels: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(labels.get(name, "") for name in rule.equal)


def new_silence(
    matchers: Sequence[Sequence[Matcher]], *, starts_at: float, ends_at: float, by: str, comment: str, now: float
) -> Silence:
    """A silence that may be; InvalidRequest says what is wrong. The same once more has the same id."""
    sets = tuple(tuple(sorted(one, key=str)) for one in matchers)
    _check(sets, starts_at, ends_at, by, comment)
    if ends_at <= now:
        raise InvalidRequest("the silence would be over already: let it end later")
    text = "|".join(",".join(map(str, one)) for one in sorted(sets, key=str))
    name = silence_id(f"{text}|{starts_at!r}|{ends_at!r}|{by}|{comment}")
    return Silence(
        id=name,
        matchers=sets,
        starts_at=starts_at,
        ends_at=ends_at,
        created_by=by,
        comment=comment,
        created_at=now,
        updated_at=now,
    )


def changed(silence: Silence, *, starts_at: float | None, ends_at: float | None, now: float) -> Silence:
    """The silence at another time: one that waits may be moved, of one in force only the end; Conflict otherwise."""
    state = silence.state(now)
    if state == "expired":
        raise Conflict(f"silence {silence.id} has expired and is history: make a new one")
    if state == "active" and starts_at not in {None, silence.starts_at}:
        raise Conflict(f"silence {silence.id} is in force: only its end may be changed")
    begin = silence.starts_at if starts_at is None else starts_at
    finish = silence.ends_at if ends_at is None else max(ends_at, now)
    _check(silence.matchers, begin, finish, silence.created_by, silence.comment, may_be_over=state == "active")
    return replace(silence, starts_at=begin, ends_at=finish, updated_at=now)


def expired(silence: Silence, now: float) -> Silence:
    """The silence, ended now; one that had not begun never was in force."""
    state = silence.state(now)
    if state == "expired":
        raise Conflict(f"silence {silence.id} has expired already")
    start = min(silence.starts_at, now)
    return replace(silence, starts_at=start, ends_at=now, updated_at=now)


def _check(
    sets: Sequence[Sequence[Matcher]], starts: float, ends: float, by: str, comment: str, *, may_be_over: bool = False
) -> None:
    if not sets or not all(sets):
        raise InvalidRequest('a silence needs at least one matcher, such as host="web-1"')
    if any(all(matcher.matches({}) for matcher in one) for one in sets):
        raise InvalidRequest("a silence needs a matcher that does not match the empty text, or it would silence all")
    if ends < starts or (ends == starts and not may_be_over):
        raise InvalidRequest("a silence must end after it begins")
    if not by.strip() or not comment.strip():
        raise InvalidRequest("a silence needs an author and a comment that says why")
