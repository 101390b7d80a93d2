"""What is sent to a host for a reading."""

from __future__ import annotations

from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsqueue.connectors.procfs import reading_script
from opsqueue.connectors.procfs.script import _same, _wider
from opsqueue.facts.system import SUBJECTS

PATTERNS = st.text(alphabet="/ab.*?[]!^-\\ \n", max_size=8)
PATHS = st.text(alphabet="/ab.[]!^-\\ \n", max_size=8)


def _args(**options):
    return reading_script(options).args


def test_the_text_is_always_the_same_and_options_are_arguments():
    evil = "$(reboot)`reboot`'\";reboot"
    script = reading_script({"mounts_exclude": [evil], "subjects": ["cpu", evil], "sample_gap_s": 0.5})
    assert script.text == reading_script({}).text
    assert "reboot" not in script.text
    assert script.args == (" cpu ", "0.5", "3", "", evil, " tmpfs devtmpfs overlay squashfs ", "5", "0")
    assert not script.sudo


def test_the_arguments_by_default():
    subjects, gap, patience, include, exclude, _types, top, more = _args()
    assert set(subjects.split()) == set(SUBJECTS)
    assert (gap, patience, include, top, more) == ("1", "3", "", "5", "0")
    assert exclude.split("\n") == ["/run*", "/dev*", "/sys*", "/proc*", "/var/lib/docker/*"]


@pytest.mark.parametrize(
    ("options", "gap"),
    [
        ({"sample_gap_s": 0}, "0"),
        ({"sample_gap_s": 10}, "10"),
        ({"sample_gap_s": 0.01}, "0.01"),
        ({"subjects": ["memory", "load"]}, "0"),
        ({"subjects": ["processes"], "top_processes": 0}, "0"),
        ({"subjects": ["processes"]}, "1"),
        ({"subjects": ["processes", "cpu"], "top_processes": 0}, "1"),
    ],
)
def test_it_waits_only_where_something_is_a_difference(options, gap):
    assert _args(**options)[1] == gap


@pytest.mark.parametrize(("seconds", "patience"), [(0.0, "1"), (0.1, "1"), (3.0, "3"), (3.2, "4")])
def test_whole_seconds_for_a_mount_because_not_every_timeout_reads_others(seconds, patience):
    assert _args(mount_timeout_s=seconds)[2] == patience


@given(st.lists(PATTERNS, max_size=4), PATHS)
def test_patterns_for_the_shell_touch_all_that_is_wanted_and_leave_out_nothing_else(patterns, path):
    wider, same = _wider(patterns), _same(patterns)
    assert not set("[]\\ \n") & set("".join(wider + same))
    if any(fnmatchcase(path, pattern) for pattern in patterns):
        assert any(fnmatchcase(path, pattern) for pattern in wider)
    if any(fnmatchcase(path, pattern) for pattern in same):
        assert any(fnmatchcase(path, pattern) for pattern in patterns)


def test_options_that_there_are_not_are_refused():
    with pytest.raises(TypeError):
        reading_script({"colour": "red"})
    with pytest.raises(ValueError, match="sample_gap_s"):
        reading_script({"sample_gap_s": float("inf")})
