"""Output that was cut off, output that is none, and names that try to be more than a name."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from procfs_said import FIRST, parsed, said

from opsqueue.connectors.procfs import reading_of
from opsqueue.facts.system import SUBJECTS, system_metrics
from opsqueue.model.plan import Result

WHOLE = said()
FULL = parsed(WHOLE, sample_gap_s=2.0)


def _unknown(part):
    return set(part) == {"unknown"}


def _same_or_unknown(found, full):
    """Whether all that is told is what the whole answer tells."""
    if _unknown(found) or found == full:
        return True
    if "mounts" in found:
        rows = {row["mount"]: row for row in full["mounts"]}
        return all(row == rows[row["mount"]] or "unknown" in row for row in found["mounts"])
    if "top_memory" in found:
        return json.dumps(found).replace('"amy"', '"1000"').replace('"root"', '"0"') == json.dumps(full).replace(
            '"amy"', '"1000"'
        ).replace('"root"', '"0"')
    return False


@pytest.mark.parametrize("late", [True, False])
def test_wherever_it_is_cut_off_no_number_is_a_wrong_one(late):
    for length in range(0, len(WHOLE), 7):
        result = Result(exit_code=None if late else 0, stdout=WHOLE[:length], timed_out=late, seconds=30.0)
        found = reading_of(result, {"sample_gap_s": 2.0})
        wrong = [name for name in SUBJECTS if not _same_or_unknown(found[name], FULL[name])]
        assert not wrong, f"{wrong} after {WHOLE[:length][-60:]!r}"


def test_what_was_told_before_it_was_cut_off_is_kept():
    found = reading_of(Result(exit_code=None, stdout=WHOLE[: WHOLE.index("@stat")], timed_out=True, seconds=30.0), {})
    assert [name for name in SUBJECTS if _unknown(found[name])] == []
    assert {row["unknown"] for row in found["disk"]["mounts"]} == {
        "no answer within 3 s: it was given up after 30 s",
    }  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_strange_output_never_raises_and_is_always_json(data):
    lines = WHOLE.split("\n")
    for _ in range(data.draw(st.integers(1, 6))):
        number = data.draw(st.integers(0, len(lines) - 1))
        word = data.draw(
            st.sampled_from(["", "nan", "1e999", "-1", "9" * 400, "\x00", "a:b", "0", "max 0", ")", "\t", "é"])
        )
        label, colon, content = lines[number].partition(":")
        words = content.split(" ")
        words[data.draw(st.integers(0, len(words) - 1))] = word
        lines[number] = label + colon + " ".join(words)
    found = parsed("\n".join(lines), sample_gap_s=2.0, between=(1.0, 2.0))
    assert set(found) == set(SUBJECTS)
    json.dumps(found, allow_nan=False).encode()
    system_metrics({"system": found})


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=300), st.text(max_size=50))
def test_no_output_at_all_like_ours_never_raises(text, errors):
    found = reading_of(Result(exit_code=0, stdout=text, stderr=errors), {})
    assert set(found) == set(SUBJECTS)


EVIL = st.one_of(
    st.sampled_from(
        [
            "@end:1",
            "\x0b@stat:1 1 1 1 1 1 /",
            "\x1c/proc/loadavg:9 9 9",
            "\u2028@ok:",
            ") Z 1",
            "(",
            "a\\nPid:\\t1",
            "\r",
        ]
    ),
    st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=15),
)


@settings(max_examples=200, deadline=None)
@given(EVIL)
def test_a_name_cannot_be_more_than_the_name_of_its_process(name):
    # grep puts the path before every line, also before those that only a name makes.
    text = WHOLE.replace("1 (systemd)", "1 ({})".format(name.replace("\n", "\n1/stat:")))
    found = parsed(text, sample_gap_s=2.0)
    (row,) = found["processes"]["top_cpu"]
    assert row == FULL["processes"]["top_cpu"][0] | {"name": name[:15]}
    for subject in SUBJECTS:
        assert subject == "processes" or found[subject] == FULL[subject]
    assert (found["processes"]["count"], found["processes"]["zombies"]) == (4, 1)


@settings(max_examples=200, deadline=None)
@given(EVIL)
def test_the_path_of_a_mount_cannot_be_more_than_a_path(name):
    escaped = name
    for plain, octal in (("\\", "134"), (" ", "040"), ("\t", "011"), ("\n", "012")):
        escaped = escaped.replace(plain, f"\\{octal}")
    mounts = f"{FIRST['/proc/self/mounts']}\n/dev/sdz1 /evil{escaped} ext4 rw 0 0"
    found = parsed(said(first={"/proc/self/mounts": mounts}), sample_gap_s=2.0)
    rows = {row["mount"]: row for row in found["disk"]["mounts"]}
    assert "unknown" in rows.pop(f"/evil{name}")
    assert rows == {row["mount"]: row for row in FULL["disk"]["mounts"]}
    for subject in SUBJECTS:
        assert subject == "disk" or found[subject] == FULL[subject]


def test_of_several_samples_none_is_taken_for_another_wherever_they_are_cut_off():
    moments = [{"@between": f"100.{tenth}0"} for tenth in (4, 8)]
    whole, options = said(between=moments), {"sample_gap_s": 0.4, "samples": 3}
    full = parsed(whole, **options)
    assert not any(map(_unknown, full.values()))
    for end in range(len(whole)):
        found = parsed(whole[:end], **options)
        for name in ("cpu", "network", "io", "processes"):
            assert _same_or_unknown(found[name], full[name]), (end, name)
