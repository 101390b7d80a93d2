"""Silences and inhibitions beside the words of Alertmanager."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsqueue.alerts import matching
from opsqueue.errors import Conflict, InvalidRequest
from opsqueue.model.alert import Alert, AlertState, Silence
from opsqueue.model.alert_rule import InhibitRule
from opsqueue.model.matcher import Matcher, all_match, parse_matcher, parse_matchers
from opsqueue.model.names import Severity

AT = 1_800_000_000.0


def a_silence(*sets, start=0, end=3600, now=0, by="ann", comment="disk is replaced"):
    return matching.new_silence(
        [parse_matchers(list(one)) for one in sets],
        starts_at=AT + start,
        ends_at=AT + end,
        by=by,
        comment=comment,
        now=AT + now,
    )


@pytest.mark.parametrize(
    ("text", "host", "wanted"),
    [
        ('host="h1"', "h1", True),
        ("host=h1", "h1", True),
        ('host!="h1"', "h1", False),
        ('host!="h1"', "", True),
        ('host=~"h[0-9]"', "h1", True),
        ('host=~"h"', "h1", False),  # the whole value must fit
        ('host=~"h1|web"', "h1", True),
        ('host!~"h.*"', "h1", False),
        ('host=""', "", True),
        (r'host="a\"b"', 'a"b', True),
    ],
)
def test_matchers(text, host, wanted):
    labels = {"host": host} if host else {}
    assert parse_matcher(text).matches(labels) is wanted
    assert parse_matcher(str(parse_matcher(text))) == parse_matcher(text)


@pytest.mark.parametrize("text", ["host", 'host=="h1"', 'ho st="x"', 'host=~"("', 'host="a" x', 5, None, "x" * 600])
def test_no_matcher(text):
    with pytest.raises(ValueError, match=r"matcher|expression"):
        parse_matcher(text)


def test_a_pattern_that_would_hang_does_not():
    assert parse_matcher('host=~"(a+)+b"').matches({"host": "a" * 50_000}) is False


def test_a_set_needs_all_and_one_set_is_enough(firing):
    one = a_silence(['host="h1"', 'rule="cpu"'], ['host="h2"'])
    assert matching.silences_it(one, firing(host="h1"), AT)
    assert not matching.silences_it(one, firing(host="h1", rule="disk"), AT)
    assert matching.silences_it(one, firing(host="h2", rule="disk"), AT)


def test_the_severity_is_a_label_too(firing):
    one = a_silence(['severity="info"'])
    assert matching.silences_it(one, firing(severity="info"), AT)
    assert not matching.silences_it(one, firing(severity="critical"), AT)


def test_a_silence_has_a_beginning_and_an_end(firing):
    one = a_silence(['host="h1"'], start=60, end=120)
    assert [matching.silences_it(one, firing(), AT + at) for at in (59, 60, 119, 120)] == [False, True, True, False]
    assert [one.state(AT + at) for at in (59, 60, 120)] == ["pending", "active", "expired"]


@pytest.mark.parametrize(
    ("sets", "more", "said"),
    [
        ([], {}, "at least one matcher"),
        ([[]], {}, "at least one matcher"),
        ([['host=~".*"']], {}, "silence all"),
        ([['host!="x"']], {}, "silence all"),
        ([['host="h1"'], ['host=""']], {}, "silence all"),
        ([['host="h1"']], {"end": 0}, "after it begins"),
        ([['host="h1"']], {"now": 4000}, "over already"),
        ([['host="h1"']], {"by": " "}, "author"),
        ([['host="h1"']], {"comment": ""}, "comment"),
    ],
)
def test_what_is_no_silence(sets, more, said):
    with pytest.raises(InvalidRequest, match=said):
        a_silence(*sets, **more)


def test_the_same_once_more_is_the_same():
    assert a_silence(['host="h1"', 'rule="cpu"']).id == a_silence(['rule="cpu"', 'host="h1"'], now=5).id
    assert a_silence(['host="h1"']).id != a_silence(['host="h1"'], comment="another reason").id


def test_what_may_be_changed_about_one():
    """Alertmanager: pending may move, active may only end at another time, expired is history."""
    one = a_silence(['host="h1"'], start=600, end=1200)
    assert matching.changed(one, starts_at=AT + 700, ends_at=AT + 800, now=AT).starts_at == AT + 700
    assert matching.changed(one, starts_at=None, ends_at=AT + 3000, now=AT + 700).ends_at == AT + 3000
    with pytest.raises(Conflict, match="in force"):
        matching.changed(one, starts_at=AT + 1000, ends_at=None, now=AT + 700)
    with pytest.raises(Conflict, match="expired"):
        matching.changed(one, starts_at=None, ends_at=AT + 9000, now=AT + 1200)


def test_ending_one(firing):
    one = a_silence(['host="h1"'], start=600, end=1200)
    assert matching.expired(one, AT + 700).state(AT + 700) == "expired"
    early = matching.expired(one, AT + 100)
    assert early.state(AT + 100) == "expired"
    assert not matching.silences_it(early, firing(), AT + 650)
    with pytest.raises(Conflict, match="already"):
        matching.expired(one, AT + 1300)


@given(
    st.integers(0, 1000),
    st.integers(1, 1000),
    st.lists(st.tuples(st.integers(0, 2500), st.integers(0, 2500)), max_size=5),
)
def test_a_silence_is_in_force_in_one_stretch_and_never_longer_than_said(start, lasts, changes):
    one = Silence(
        id="s",
        matchers=((Matcher("host", "=", "h1"),),),
        starts_at=AT + start,
        ends_at=AT + start + lasts,
        created_by="ann",
        comment="c",
    )
    clock = AT
    for wait, ends in changes:
        clock += wait
        try:
            changed = matching.changed(one, starts_at=None, ends_at=AT + ends, now=clock)
        except (Conflict, InvalidRequest):
            continue
        assert one.state(clock) != "expired"
        assert changed.starts_at == one.starts_at
        one = changed
    states = [one.state(AT + second) for second in range(0, 3600, 30)]
    order = ["pending", "active", "expired"]
    assert states == sorted(states, key=order.index)


# Inhibition


def inhibitors(alert, firing, rules):
    return matching.Inhibitions(firing, rules).of(alert)


CLUSTER = InhibitRule(source=('rule="down"',), target=('severity="warning"',), equal=("zone",))


def test_a_source_that_fires_keeps_its_targets_quiet(firing):
    down, cpu = firing(rule="down", severity="critical", zone="a"), firing(zone="a")
    assert inhibitors(cpu, [down, cpu], [CLUSTER]) == [down.fingerprint]
    assert inhibitors(firing(zone="b"), [down], [CLUSTER]) == []
    assert matching.muted_by(cpu, [], matching.Inhibitions([down], [CLUSTER]), AT) == (f"inhibited:{down.fingerprint}",)


def test_a_source_that_is_over_or_only_pending_inhibits_nothing(firing):
    for state in ("inactive", "pending"):
        assert inhibitors(firing(zone="a"), [firing(rule="down", zone="a", state=state)], [CLUSTER]) == []


def test_a_label_that_is_missing_is_as_an_empty_one(firing):
    assert inhibitors(firing(), [firing(rule="down", severity="critical")], [CLUSTER])
    assert inhibitors(firing(zone=""), [firing(rule="down", severity="critical")], [CLUSTER])


def test_two_that_match_both_sides_do_not_silence_each_other(firing):
    """Alertmanager: otherwise an alert would inhibit itself, or two each other, and nobody would hear of any."""
    one, other = firing(rule="down", zone="a"), firing(rule="down", zone="a", host="h2")
    assert inhibitors(one, [one, other], [CLUSTER]) == []
    worse = replace(other, severity=Severity.CRITICAL)
    assert inhibitors(one, [worse], [CLUSTER]) == [worse.fingerprint], "it matches the source side only"


def test_rules_that_lead_in_a_circle_silence_nobody_in_it(firing):
    """Nobody would hear of any of them; what is beside the circle is kept quiet by it all the same."""
    a, b, c = (firing(rule=name, severity="critical") for name in "abc")
    led = [("a", "b"), ("b", "c"), ("c", "a"), ("a", "d")]
    rules = [InhibitRule(source=(f'rule="{one}"',), target=(f'rule="{other}"',)) for one, other in led]
    beside = firing(rule="d")
    found = matching.Inhibitions([a, b, c, beside], rules)
    assert [found.of(one) for one in (a, b, c, beside)] == [[], [], [], [a.fingerprint]]
    open_ended = matching.Inhibitions([a, b, c], [rules[0], rules[1]])
    assert [open_ended.of(one) for one in (a, b, c)] == [[], [a.fingerprint], [b.fingerprint]]


def apart_from_circles(by_name):
    """Who keeps whom quiet, without those who are kept quiet in turn by whom they keep quiet."""

    def reached(name, seen):
        for one in set(by_name.get(name, ())) - seen:
            seen.add(one)
            reached(one, seen)
        return seen

    return [[one for one in found if name not in reached(one, set())] for name, found in by_name.items()]


def plainly(alert, firing, rules):
    """The words of Alertmanager, each alert held against each: what the index must say too."""
    found, labels = [], alert.all_labels()
    for rule in rules:
        both = all_match(rule.source, labels)
        for source in firing if all_match(rule.target, labels) else ():
            theirs = source.all_labels()
            fits = source.firing and all_match(rule.source, theirs) and not (both and all_match(rule.target, theirs))
            if fits and all(labels.get(name, "") == theirs.get(name, "") for name in rule.equal):
                found.append(source.fingerprint)
                break
    return list(dict.fromkeys(found))


VALUES = st.sampled_from(["", "a", "b"])
SIDES = st.lists(
    st.sampled_from(['zone="a"', 'zone!="a"', 'rack=~"a|b"', 'rack=""', 'severity="critical"', 'severity!="info"']),
    min_size=1,
    max_size=2,
).map(tuple)
RULES = st.lists(
    st.builds(
        InhibitRule, source=SIDES, target=SIDES, equal=st.lists(st.sampled_from(["zone", "rack", "none"]), max_size=2)
    ),
    max_size=3,
)
SOME = st.lists(
    st.tuples(VALUES, VALUES, st.sampled_from(list(Severity)), st.sampled_from(["firing", "firing", "pending"])),
    max_size=8,
)


@given(SOME, RULES)
def test_looked_up_it_is_as_each_held_against_each(some, rules):
    alerts = [
        an_alert(number, {"zone": zone, "rack": rack}, severity, state)
        for number, (zone, rack, severity, state) in enumerate(some)
    ]
    found = matching.Inhibitions(alerts, rules)
    expected = {alert.fingerprint: plainly(alert, alerts, rules) for alert in alerts}
    assert [found.of(alert) for alert in alerts] == apart_from_circles(expected)


def an_alert(number, labels, severity, state):
    named = {"rule": "cpu", "host": f"h{number}", **{name: value for name, value in labels.items() if value}}
    return Alert(fingerprint=f"f{number}", rule="cpu", labels=named, severity=severity, state=AlertState(state))


def test_each_alert_costs_one_look_a_rule(monkeypatch):
    """Counted, not timed: as many matchers are asked for each alert, however many fire."""
    asked = []
    monkeypatch.setattr(matching, "all_match", lambda *given: asked.append(1) or all_match(*given))

    def cost(number):
        asked.clear()
        alerts = [an_alert(n, {"zone": str(n)}, Severity.WARNING, "firing") for n in range(number)]
        found = matching.Inhibitions(alerts, [InhibitRule(source=('rule="cpu"',), target=('host="h0"',))])
        for alert in alerts:
            found.of(alert)
        return len(asked)

    assert cost(400) <= 41 * cost(10)
