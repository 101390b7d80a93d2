"""Regular expressions of our own beside Python's, and where Python's would not come to an end."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opsqueue.operations.health.patterns import Pattern

atoms = st.sampled_from(["a", "b", "c", ".", "[ab]", "[^a]", "[a-c]", r"\d", r"\W", r"[\s1]", r"\.", "[]a]", "^", "$"])
counts = st.sampled_from(["*", "+", "?", "{2}", "{1,3}", "{0,2}", "{2,}", "*?"])
patterns = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map(lambda two: f"({two[0]}|{two[1]})"),
        st.tuples(inner, counts).map(lambda two: f"(?:{two[0]}){two[1]}"),
    ),
    max_leaves=8,
)


@given(patterns, st.text("abc1 .\n]", max_size=10))
@settings(max_examples=400, deadline=None)
def test_what_python_finds_is_found(pattern: str, text: str) -> None:
    assert Pattern(pattern).found_in(text) is (re.search(pattern, text, re.MULTILINE) is not None)


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        ("(?i)hello", "say HELLO", True),
        ("(?i)[A-C]x", "bX", True),
        ("hello", "say HELLO", False),
        ("", "", True),
        (r"a\-b\{2\}", "a-b{2}", True),
        (r"\t\n", "\t\n", True),
        ("^b$", "a\nb\nc", True),
        ("x{2", "x{2", True),
        ("é+", "caféé", True),
    ],
)
def test_some_patterns(pattern: str, text: str, found: bool) -> None:
    assert Pattern(pattern).found_in(text) is found


@pytest.mark.parametrize("pattern", ["(a*)*b", "(a|a)*b", "a*a*a*a*a*b", "(a|b)*a(a|b){15}c", "(x+x+)+y"])
def test_no_pattern_takes_for_ever(pattern: str) -> None:
    """Python's own engine would still be at it when the universe ends; how long this takes is left to the machine."""
    assert not Pattern(pattern).found_in("ax" * 5000)


@given(st.text("ab()[]{}|*+?^$\\-,.1d", max_size=25))
@settings(max_examples=300, deadline=None)
def test_any_text_is_a_pattern_or_a_value_error(text: str) -> None:
    try:
        pattern = Pattern(text)
    except ValueError:
        return
    assert pattern.found_in("abab") in {True, False}
