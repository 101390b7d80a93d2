"""Versions are compared as dpkg and PEP 440 do, ranges as OSV says, scores as CVSS reckons."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.version import Version

from opsqueue.facts.on_host.advisories_host import affected, debian, pep440, python
from opsqueue.model.names import Severity
from opsqueue.operations.security import scores

ORDERED = (
    "1.0~~", "1.0~~a", "1.0~", "1.0~rc1", "1.0~rc2", "1.0", "1.0-1~bpo12+1", "1.0-1", "1.0-1+b1", "1.0-1+deb12u1",
    "1.0-1+deb12u10", "1.0a", "1.0+git1", "1.0.1", "1.1", "1.9", "1.10", "2:0.1",
)  # fmt: skip


def test_debian_versions_have_their_order() -> None:
    for left, one in enumerate(ORDERED):
        for right, two in enumerate(ORDERED):
            assert debian(one, two) == (left > right) - (left < right), (one, two)


def test_a_digit_is_what_dpkg_takes_for_one() -> None:
    """Any end will do: other digits had none."""
    assert debian("1.0\u00b2", "1.0") == 1
    assert debian("1.0", "1.\u0661") == -1


RELEASES = st.lists(st.integers(0, 12), min_size=1, max_size=4).map(lambda parts: ".".join(map(str, parts)))
PYTHONS = st.builds(
    "{}{}{}{}{}{}".format,
    st.sampled_from(["", "", "1!"]),
    RELEASES,
    st.sampled_from(["", "", "a1", ".beta2", "rc", "-c3", "_pre4"]),
    st.sampled_from(["", "", ".post1", "-2", "rev3"]),
    st.sampled_from(["", "", ".dev1", "dev"]),
    st.sampled_from(["", "", "+local.1", "+2.x"]),
)


@settings(max_examples=500, deadline=None)
@given(PYTHONS, PYTHONS)
def test_python_versions_are_compared_as_packaging_does(one: str, two: str) -> None:
    left, right = Version(one), Version(two)
    assert python(one, two) == (left > right) - (left < right)


@pytest.mark.parametrize("text", ["", "abc", "1.0-", "1..0", "1.0+", "latest"])
def test_what_is_no_python_version_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"PEP 440"):
        pep440(text)


def _ranges(*events: dict[str, str]) -> list[dict[str, object]]:
    return [{"type": "ECOSYSTEM", "events": list(events)}]


TABLE = [
    ("1.0", _ranges({"introduced": "0"}), (True, "")),
    ("1.0", _ranges({"introduced": "0"}, {"fixed": "1.1"}), (True, "1.1")),
    ("1.1", _ranges({"introduced": "0"}, {"fixed": "1.1"}), (False, "")),
    ("1.1", _ranges({"introduced": "0"}, {"last_affected": "1.1"}), (True, "")),
    ("1.2", _ranges({"introduced": "0"}, {"last_affected": "1.1"}), (False, "")),
    ("0.9", _ranges({"introduced": "1.0"}, {"fixed": "1.1"}), (False, "")),
    # Events need not stand in order, and a hole may come back.
    ("2.1", _ranges({"fixed": "2.2"}, {"introduced": "2.0"}, {"fixed": "1.1"}, {"introduced": "0"}), (True, "2.2")),
    ("1.5", _ranges({"introduced": "0"}, {"fixed": "1.1"}, {"introduced": "2.0"}, {"fixed": "2.2"}), (False, "")),
    ("1.0", [*_ranges({"introduced": "3"}), *_ranges({"introduced": "0"}, {"fixed": "1.0.1"})], (True, "1.0.1")),
    ("1.0", [], (False, "")),
]


@pytest.mark.parametrize(("version", "ranges", "wanted"), TABLE)
def test_a_version_lies_in_a_range_as_osv_says(version: str, ranges: list[dict[str, object]], wanted: object) -> None:
    assert affected(version, ranges, python) == wanted
    assert affected(version, ranges, debian) == wanted


def test_a_backported_fix_is_seen_by_the_revision() -> None:
    ranges = _ranges({"introduced": "0"}, {"fixed": "5.2.15-2+deb12u1"})
    assert affected("5.2.15-2+b13", ranges, debian) == (True, "5.2.15-2+deb12u1")
    assert affected("5.2.15-2+deb12u2", ranges, debian) == (False, "")


SCORES = [
    ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H", 9.8),
    ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:C/C:H/I:H/A:H", 10.0),
    ("CVSS:3.0/AV:N/AC:L/PR:L/UI:N/S:C/C:L/I:L/A:N", 6.4),
    ("CVSS:3.1/AV:N/AC:L/PR:N/UI:R/S:C/C:L/I:L/A:N", 6.1),
    ("CVSS:3.1/AV:L/AC:L/PR:L/UI:N/S:U/C:H/I:H/A:H", 7.8),
    ("CVSS:3.1/AV:N/AC:H/PR:N/UI:N/S:U/C:H/I:N/A:N", 5.9),
    ("CVSS:3.1/AV:P/AC:H/PR:H/UI:R/S:U/C:L/I:N/A:N", 1.6),
    ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:N", 0.0),
    ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:H/E:P/RL:O", 7.5),
    ("CVSS:3.1/AV:N", None),
    ("CVSS:3.1/AV:X/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H", None),
    ("CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N", 9.3),
    ("CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:H/SI:H/SA:H", 10.0),
    ("CVSS:4.0/AV:N/AC:L", None),
    ("AV:N/AC:L/Au:N/C:P/I:P/A:P", 7.5),
    ("AV:L/AC:H/Au:N/C:C/I:C/A:C", 6.2),
    ("AV:N", None),
    ("CVSS:9.0/AV:N", None),
    ("\udcff\0", None),
    ("CVSS:3.1/" + "AV:N/" * 100_000, None),
    ("", None),
]


@pytest.mark.parametrize(("vector", "score"), SCORES)
def test_the_base_score_of_a_vector(vector: str, score: float | None) -> None:
    assert scores.base_score(vector) == score


def test_an_old_score_counts_only_where_there_is_no_newer_one() -> None:
    old, new = "AV:N/AC:L/Au:N/C:C/I:C/A:C", "CVSS:3.1/AV:N/AC:L/PR:N/UI:R/S:C/C:L/I:L/A:N"
    assert scores.highest([old, new]) == 6.1
    assert scores.highest([new, "CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N"]) == 9.3
    assert scores.highest([old, "rubbish"]) == 10.0
    assert scores.highest([]) is None


@pytest.mark.parametrize(
    ("score", "word", "wanted"),
    [
        (9.0, "", Severity.CRITICAL),
        (8.9, "critical", Severity.WARNING),
        (4.0, "", Severity.WARNING),
        (3.9, "", Severity.INFO),
        (None, "critical", Severity.CRITICAL),
        (None, "Low", Severity.INFO),
        (None, "unimportant", Severity.INFO),
        (None, "", Severity.WARNING),
    ],
)
def test_severity_is_that_of_the_score_and_else_of_the_word(score: float | None, word: str, wanted: Severity) -> None:
    assert scores.severity(score, word) is wanted
