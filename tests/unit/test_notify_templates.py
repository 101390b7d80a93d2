"""Templates of messages: what they may use, what they cost at most, and what is sent where one is no good."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from opsqueue.model.names import Severity
from opsqueue.notify.jinja import FILTERS, MOST_RESULT, MOST_ROUNDS, Wrong, problem, rendered
from opsqueue.notify.message import Message
from opsqueue.notify.templates import NAMES, data, in_own_words, problems
from opsqueue.settings_channels import ChannelRules

DATA = {
    "title": "t",
    "alerts": [{"rule": "cpu", "labels": {"host": "h1", "items": "i"}, "value": 91.5}, {"rule": "<b>", "labels": {}}],
    "many": list(range(200)),
    "none": None,
    "text": "a <b> & 'c'",
}
OPERATION = Message(
    title="[opsqueue] restart: failed",
    body="restart: failed\nMore: opsqueue show op-1",
    severity=Severity.CRITICAL,
    payload={
        "event": "operation.finished",
        "operation_id": "op-1",
        "name": "restart\n\x1b[31mred",
        "hosts": {"h1": "failed"},
    },
    short="short",
    at=1_772_971_200.0,
)


@pytest.mark.parametrize(
    ("source", "given"),
    [
        ("{{ title }}", "t"),
        (
            "{% for one in alerts %}{{ loop.index }} {{ one.rule }}{% if not loop.last %}, {% endif %}{% endfor %}",
            "1 cpu, 2 <b>",
        ),
        ("{{ alerts[0].labels.host }} {{ alerts[0]['labels']['items'] }} {{ alerts[0].labels.items }}", "h1 i i"),
        ("{{ alerts | map(attribute='rule') | join(', ') }}", "cpu, <b>"),
        ("{{ alerts | join(', ', 'rule') }}", "cpu, <b>"),
        ("{% for key, value in alerts[0].labels | dictsort %}{{ key }}={{ value }};{% endfor %}", "host=h1;items=i;"),
        ("{{ alerts[0].value | round(0) | int * 2 }} {{ 7 % 4 }}", "184 3"),
        ("{% set x = 'a' ~ title %}{{ x + x | upper }}", "atAT"),
        ("{{ 1 ~ ('-' ~ (2 ~ none)) ~ (text | truncate(5, true, '')) }}{{ none | map('upper') | join }}", "1-2a <b>"),
        ("{{ alerts | selectattr('rule', 'in', ['cpu', 'x']) | map(attribute='value') | join }}", "91.5"),
        ("{% if alerts[1].labels.host is defined %}x{% endif %}{{ alerts[1].labels.host | default('?') }}", "?"),
        ("{{ none }}|{{ alerts[0:1] | length }}|{{ text | replace('<b>', 'B') }}", "|1|a B & 'c'"),
        ("{% for n in many if n > 197 %}{{ n }} {% else %}no{% endfor %}", "198 199 "),
        ("a\n  {% if title %}\nb\n  {% endif %}\nc", "a\nb\nc"),
    ],
)
def test_what_templates_do(source, given):
    assert problem(source) == ""
    assert rendered(source, DATA) == given


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("a\n{{ title.__class__ }}", "line 2: .*no attribute '__class__'"),
        ("{{ ''.__class__.__mro__ }}", "no attribute '__class__'"),
        ("{{ title['__class__'] }}", "no element|no attribute|has no"),
        ("{{ alerts | map(attribute='__class__') | first }}", "no attribute"),
        ("{{ title.upper() }}", "line 1: a template may not use a call"),
        ("{{ title.upper }}", "no attribute 'upper'"),
        ("\n\n{% for a in range(9) %}{% endfor %}", "line 3: a template may not use a call"),
        ("{% include 'x' %}", "include"),
        ("{% import 'x' as y %}", "import"),
        ("{% extends 'x' %}", "extends"),
        ("{% macro x() %}{% endmacro %}", "a macro"),
        ("{% block x %}{% endblock %}", "a block"),
        ("{{ 2 ** 9 }}", r"\*\*"),
        ("{{ 'a' * 9 }}", "for numbers only"),
        ("{{ '%9d' % 1 }}", "for numbers only"),
        ("{{ 1000000 * 1000000 * 1000000 }}", "too large"),
        ("{{ title | center(9) }}", "filter 'center'"),
        ("{{ title | pprint }}", "there are: abs"),
        ("{{ [title, title] }}", "list of anything"),
        ("{{ {'a': 1} }}", "dictionary"),
        ("{% for x in alerts recursive %}{% endfor %}", "recursive"),
        ("{{ alerts }}", "cannot be printed"),
        ("{{ alerts[0] }}", "a mapping cannot be printed"),
        ("{{ alerts | map(attribute='labels') | join }}", "cannot be printed"),
        ("{{ nothing }}", "line 1: 'nothing' is undefined"),
        ("{{ nothing | map('upper') | join }}", "line 1: 'nothing' is undefined"),
        ("{{ 'a' ~ alerts }}", "a list cannot be printed"),
        ("{% for x in nothing %}{% endfor %}", "'nothing' is undefined"),
        ("{{ none.x }}", "None.* has no attribute 'x'"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("a\nb {{ title", "line 2: .*end of print statement"),
        ("{% if %}", "line 1: "),
        ("{% endfor %}", "line 1: .*endfor"),
        ("{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}", "[Rr]ecursion|nested"),
        ("{% for a in many %}" * 25 + "{% endfor %}" * 25, "nested"),
    ],
)
def test_what_they_do_not(source, why):
    with pytest.raises(Wrong, match=why):
        rendered(source, DATA)


@pytest.mark.parametrize(
    "source",
    [
        "{% for a in many %}{% for b in many %}{% for c in many %}{% endfor %}{% endfor %}{% endfor %}",
        "{% for a in many %}{% for b in many if b > 999 %}{% for c in many %}{% endfor %}{% endfor %}{% endfor %}",
        "{{ (many + many + many + many)" + " | map('abs')" * 30 + " | join }}",
        "{% for a in many %}{{ many | select('even') | map('abs') | join }}{% endfor %}",
    ],
)
def test_loops_without_output_end(source):
    with pytest.raises(Wrong, match=f"more than {MOST_ROUNDS} rounds"):
        rendered(source, DATA)


@pytest.mark.parametrize(
    "source",
    [
        "{% for a in many %}{% for b in many %}{{ text }}{% endfor %}{% endfor %}",
        "{% set x = text %}" + "{% set x = x ~ x %}" * 100 + "{{ x }}",
        "{% set x = text %}" + "{% set x = x + x %}" * 100 + "{{ x }}",
        "{% set x = many %}" + "{% set x = x + x %}" * 100 + "{{ x | length }}",
        "{{ text" + " | replace('a', 'aaaaaaaaaa')" * 100 + " }}",
        "{{ text" + " | join('xxxxxxxxxx')" * 100 + " }}",
        "{{ (text" + " ~ text" * 3000 + ") | length }}",
        "{{ text" + " | replace('', 'aaaaaaaaaa')" * 100 + " }}",
    ],
)
def test_what_grows_ends(source):
    with pytest.raises(Wrong, match=f"more than {MOST_RESULT} characters"):
        rendered(source, DATA)


def test_in_html_every_value_is_escaped_and_the_template_is_not():
    hostile = {"x": "<script>alert(1)</script>", "y": ["<b>", "&"]}
    assert rendered(
        "<i>{{ x }}</i> {{ y | join('<br>') }} {{ x ~ '<u>' }} {{ x | upper | replace('A', '<') }}", hostile, html=True
    ) == (
        "<i>&lt;script&gt;alert(1)&lt;/script&gt;</i> &lt;b&gt;&lt;br&gt;&amp; "
        "&lt;script&gt;alert(1)&lt;/script&gt;&lt;u&gt; "
        "&lt;SCRIPT&gt;&lt;LERT(1)&lt;/SCRIPT&gt;"
    )
    with pytest.raises(Wrong, match="filter 'safe'"):
        rendered("{{ x | safe }}", hostile, html=True)


def test_the_documentation_lists_the_filters():
    page = (Path(__file__).parents[2] / "docs" / "notifications.md").read_text(encoding="utf-8")
    line = next(line for line in page.splitlines() if "these filters: " in line)
    assert set(re.findall(r"`(\w+)`", line.partition("these filters: ")[2])) == FILTERS


def rules(**given):
    return ChannelRules(**given)


def test_the_data_of_a_message_is_plain_and_on_one_line():
    seen = data(OPERATION, rules(timezone="Europe/Berlin"), "email#ops@company.com")
    assert seen["operation"]["name"] == "restart\\n\\x1b[31mred"
    assert (seen["alerts"], seen["event"], seen["severity"]) == ([], "operation.finished", "critical")
    assert seen["time"] == "2026-03-08T13:00:00+01:00 Europe/Berlin"
    assert data(OPERATION, rules(), "log")["time"] == "2026-03-08T12:00:00Z"


def test_a_message_in_own_words():
    own = rules(
        title_template="{{ operation.name }}:\n{{ severity }}",
        body_template="{{ operation.hosts | items | join(' ', 0) }}\n{{ body }}",
    )
    said, why = in_own_words(OPERATION, own, "slack")
    assert why == ""
    assert said.title == "restart\\n\\x1b[31mred: critical"
    assert said.body == f"h1\n{OPERATION.body}"
    assert said.short == "h1 restart: failed More: opsqueue show op-1"
    assert said.payload is OPERATION.payload, "what programs get is no template"
    html, why = in_own_words(
        OPERATION, rules(body_template="<p>{{ operation.name }}</p>", template_format="html"), "email"
    )
    assert (html.html, html.body, why) == ("<p>restart\\n\\x1b[31mred</p>", OPERATION.body, "")


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"body_template": "{{ nothing }}"}, "sent without its template: line 1: 'nothing' is undefined"),
        ({"title_template": "{{ alerts[0].rule }}", "body_template": "good"}, "sent without its template: line 1: "),
        (
            {"title_template": "good", "body_template": " {# nothing #}\n"},
            "sent without its template: it gives nothing",
        ),
        ({"body_template": "{{ oh no"}, "sent without its template: line 1: "),
        (
            {"body_template": "file:/nowhere/mail.j2"},
            "sent without its template: /nowhere/mail.j2 cannot be read: No such",
        ),
    ],
)
def test_a_template_that_is_no_good_leaves_the_message_as_it_was(given, why):
    said, found = in_own_words(OPERATION, rules(**given), "slack")
    assert said == OPERATION
    assert found.startswith(why)


def test_a_file_that_cannot_even_be_looked_at_loses_no_message():
    for file in (f"/{'x' * 300}", "/nul\0/mail.j2"):
        said, why = in_own_words(OPERATION, rules(body_template=f"file:{file}"), "slack")
        assert said == OPERATION
        assert "cannot be read" in why


def test_half_of_a_pair_that_a_template_spells_can_be_sent():
    said, why = in_own_words(OPERATION, rules(title_template="{{ 't\\ud800' }}", body_template="{{ 'b\\udfff' }}"), "x")
    assert (said.title, said.body, said.short, why) == ("t?", "b?", "b?", "")


def test_a_template_in_a_file_counts_as_it_is_now(tmp_path):
    file = tmp_path / "mail.j2"
    given = {"email": rules(body_template=f"file:{file}")}
    for content, said, why in (
        (b"one {{ title }}", f"one {OPERATION.title}", ""),
        (b"two", "two", ""),
        (b"{% oh %}", OPERATION.body, "line 1: "),
        (b"\xff", OPERATION.body, "UTF-8"),
        (b"x" * 10_001, OPERATION.body, "more than 10000 characters"),
    ):
        file.write_bytes(content)
        found, noted = in_own_words(OPERATION, given["email"], "email")
        assert (found.body, why in noted, bool(noted)) == (said, True, bool(why))
        wrong = list(problems(given))
        assert bool(wrong) == bool(why)
        assert all(one.startswith("notification_rules.email.body_template: ") and why in one for one in wrong)
    file.unlink()
    os.mkfifo(file)
    assert "is no file" in in_own_words(OPERATION, given["email"], "email")[1]


def test_the_names_that_a_template_may_use_are_those_that_it_gets():
    assert set(data(OPERATION, rules(body_template="x"), "email")) == NAMES


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("{{ titel }}", "line 1: there is no 'titel'; did you mean 'title'?"),
        ("{{ title }}\n{% if zzzz %}x{% endif %}", "line 2: there is no 'zzzz'; there are: ack_url, alerts, body, "),
        ("{% for one in alrts %}{{ one.name }}{% endfor %}", "line 1: there is no 'alrts'; did you mean 'alerts'?"),
        ("{{ title | replace('a', bdy) }}", "line 1: there is no 'bdy'; did you mean 'body'?"),
    ],
)
def test_a_name_that_no_message_has_is_a_problem(source, why):
    for key in ("title_template", "body_template"):
        (found,) = problems({"email": rules(**{key: source})})
        assert found.startswith(f"notification_rules.email.{key}: {why}")
    assert "is undefined" in in_own_words(OPERATION, rules(body_template=source), "email")[1]


@pytest.mark.parametrize(
    "source",
    [
        "{{ titel | default('-') }}{% if mail is defined %}{{ mail }}{% endif %}{{ x | d }}",
        "{% for one in alerts %}{{ loop.index }}{{ one.name }}{% endfor %}{% set n = 1 %}{{ n }}",
        "{% for key, value in message | dictsort %}{{ key }}{{ none }}{% endfor %}{{ operation.nmae }}",
    ],
)
def test_what_a_template_names_itself_or_asks_for_first_is_none(source):
    assert list(problems({"email": rules(body_template=source)})) == []


@pytest.mark.parametrize("text", ["file:mail.j2", "file:", "", "x" * 10_001])
def test_what_is_no_template_of_the_settings(text):
    with pytest.raises(ValidationError, match="body_template"):
        rules(body_template=text)


def test_a_test_is_marked_as_one_whatever_the_template_says():
    test = Message(
        title="[opsqueue] TEST", body="b", severity=Severity.INFO, payload={"event": "test", "test": True}, short="s"
    )
    said, _ = in_own_words(test, rules(title_template="fire", body_template="fire in {{ recipient }}"), "sms")
    assert (said.title, said.body, said.short) == ("TEST: fire", "TEST: fire in sms", "TEST: fire in sms")
    kept, _ = in_own_words(test, rules(body_template="fire"), "sms")
    assert (kept.title, kept.short) == ("[opsqueue] TEST", "TEST: fire")
