"""Conditions: what they accept, when they hold, and what they say when they do not."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsqueue.operations.health.conditions import failing, parse

ANSWER = {
    "ok": True,
    "status": 200,
    "address": "192.0.2.7",
    "headers": {"content-type": "text/html; charset=utf-8"},
    "phases": {"total": 250.0},
    "certificate": {"days_left": 3.0},
    "body": json.dumps({"status": "UP", "n": 3, "list": [{"id": 7}, {"id": 8}], "nothing": None, "yes": True}),
}


@pytest.mark.parametrize(
    "text",
    [
        "[STATUS] == 200",
        "[STATUS]==200",
        "200 == [STATUS]",
        "[STATUS] != 500",
        "[STATUS] < 300",
        "[STATUS] <= 200",
        "[STATUS] == any(200, 204)",
        "[STATUS] == any(204, pat(2*))",
        "[STATUS] != any(500, 503)",
        "[RESPONSE_TIME] < 300",
        "[RESPONSE_TIME] < 300ms",
        "[RESPONSE_TIME] <= 0.25s",
        '[BODY].status == "UP"',
        "[BODY].status == UP",
        "[BODY].n >= 3",
        "[BODY].list[1].id == 8",
        "[BODY].yes == true",
        "[BODY].nothing == null",
        '[BODY] == pat(*"status": "UP"*)',
        "len([BODY].list) == 2",
        "len([BODY]) > 10",
        "has([BODY].n) == true",
        "has([BODY].absent) == false",
        "[HEADERS].Content-Type == pat(text/html*)",
        r'[BODY] == re("status":\s*"UP")',
        "[BODY] != re(^DOWN)",
        "[BODY].status == re((?i)^(up|ok)$)",
        "[STATUS] == any(204, re(^2..$))",
        "[CERTIFICATE_EXPIRATION] > 48h",
        "[CERTIFICATE_EXPIRATION] <= 3d",
        "[CONNECTED] == true",
        "[IP] == 192.0.2.7",
        '[IP] != "192.0.2.8"',
    ],
)
def test_these_hold(text: str) -> None:
    assert failing(parse(text), ANSWER) is None


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("[STATUS] == 500", "found 200"),
        ("[STATUS] != 200", "found 200"),
        ("500 == [STATUS]", "found 200"),
        ("[STATUS]==500", "found 200"),
        ("[STATUS] == any(201, 204)", "found 200"),
        ("[RESPONSE_TIME] < 0.2s", "found 250ms"),
        ("[BODY].absent == 1", "found nothing there"),
        ("[BODY].absent != 1", "found nothing there"),
        ("[BODY].list[9].id == 8", "found nothing there"),
        ("[BODY].status > 3", "found UP"),
        ("[BODY].yes == 1", "found true"),
        ("[BODY].list[0] == 7", 'found {"id": 7}'),
        ("[HEADERS].x-none == a", "found nothing there"),
        ("[CERTIFICATE_EXPIRATION] > 5d", "found 3.0d"),
        ("has([BODY].status) == false", "found true"),
        ("len([BODY].list) > 2", "found 2"),
        ("[BODY].status == re(^DOWN$)", "found UP"),
        ("[IP] == pat(10.*)", "found 192.0.2.7"),
        ("[STATUS] == [BODY].status", "found 200 and UP"),
    ],
)
def test_these_fail_and_show_the_actual_value(text: str, shown: str) -> None:
    assert failing(parse(text), ANSWER) == f"{text}, {shown}"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "a condition is such as"),
        ("[STATUS]", "a condition is such as"),
        ("[STATUS] = 200", "a condition is such as"),
        ("x" * 600 + " == [STATUS]", "at most 500"),
        ("1 == 1", "looks at nothing"),
        ("[STATE] == 1", "is no place"),
        ("[status] == 200", "is no place"),
        ("[STATUS].x == 200", "has no parts"),
        ("[HEADERS] == a", "wants a name"),
        ("[STATUS] == 2s", "is a time"),
        ("[CERTIFICATE_EXPIRATION] > 48", "wants a time with its unit"),
        ("[STATUS] < pat(2*)", "goes with == and != only"),
        ("[BODY] < re(a)", "goes with == and != only"),
        ("[BODY] == re(a[)", "a [ is not closed"),
        (r"[BODY] == re((a)\1)", "means nothing here"),
        ("[BODY] == re((?=a))", "there are no groups with (?"),
        ("[BODY] == re((a{99}){99})", "it is too long"),
        ("[STATUS] == any([BODY].a, 2)", "plain values"),
        ("[BODY].a.b[x] == 1", "is no place"),
    ],
)
def test_these_are_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse(text)
    assert why in str(caught.value)


def test_without_an_answer_only_what_is_known_holds() -> None:
    refused = {"ok": False, "error": "refused", "phases": {"total": 3.0}}
    assert failing(parse("[CONNECTED] == false"), refused) is None
    assert failing(parse("[STATUS] == 200"), refused) == "[STATUS] == 200, found nothing there"


@pytest.mark.parametrize("body", ["[" * 100_000, "{", "9" * 400, "[1e999]", '{"a": ' + "9" * 5000 + "}", "\x00"])
def test_a_strange_body_is_only_a_failing_condition(body: str) -> None:
    assert "found nothing there" in str(failing(parse("[BODY].a > 1"), {"ok": True, "body": body}))


def test_huge_numbers_and_long_texts_are_compared_and_cut() -> None:
    body = '{"a": 1' + "0" * 4000 + ', "b": "' + "x" * 500 + '"}'
    assert failing(parse("[BODY].a == 1"), {"body": body}) is not None
    shown = failing(parse("[BODY].b == y"), {"body": body})
    assert shown is not None
    assert len(shown) < 130


def test_a_pattern_of_many_stars_comes_to_an_end_on_a_long_body() -> None:
    condition = parse("[BODY] == pat(" + "*a" * 30 + "*b)")
    assert failing(condition, {"body": "a" * 60_000}) is not None


@given(st.text(max_size=80), st.sampled_from(["==", "<", ""]), st.text(max_size=40))
def test_any_text_is_a_condition_or_a_value_error(left: str, sign: str, right: str) -> None:
    try:
        condition = parse(f"[BODY]{left} {sign} {right}")
    except ValueError:
        return
    result = failing(condition, ANSWER)
    assert result is None or isinstance(result, str)
