from __future__ import annotations

import os
import shutil
import signal
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opsqueue.connectors.lanes import divided
from opsqueue.connectors.script import answers, compose, seconds_of, split
from opsqueue.model.fact import Fact, Probe, Script, why_unknown
from opsqueue.model.plan import Result

MARK = "0123456789abcdef"


def _script(name: str, text: str, *args: str, timeout: int = 20) -> Fact:
    return Fact(name=name, ask=Script(text=text, args=args, timeout=timeout))


def _sh(text: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["/bin/sh", "-s"], input=text, capture_output=True, text=True, check=False, timeout=20)


def _asked(*facts: Fact) -> dict[str, Result]:
    done = _sh(compose(facts, MARK))
    return split(done.stdout, MARK, facts, done.stderr)


def test_each_script_has_its_own_output_errors_and_exit_code():
    found = _asked(
        _script("one", "echo a; echo b >&2; exit 3"),
        Fact(name="other", ask=Probe(kind="tcp", options={})),
        _script("two", "printf 'no newline'"),
        _script("none", ":"),
    )
    assert {name: (one.exit_code, one.stdout, one.stderr) for name, one in found.items()} == {
        "one": (3, "a\n", "b\n"),
        "two": (0, "no newline", ""),
        "none": (0, "", ""),
    }


def test_one_script_cannot_disturb_the_next():
    found = _asked(
        _script("leaves", "exec 1>&2; cd /nowhere; mark=x; PATH=; exit 7"),
        _script("breaks", "if ("),
        _script("kills itself", "kill -9 $$"),
        _script("reads", "cat; echo end; pwd"),
    )
    assert found["leaves"].exit_code == 7
    assert found["breaks"].exit_code == 2
    assert found["kills itself"].exit_code == 137
    assert not found["kills itself"].timed_out
    assert found["reads"].stdout.splitlines()[0] == "end"


def test_scripts_that_end_with_124_by_themselves_are_not_late():
    assert _asked(_script("x", "exit 124"))["x"].exit_code == 124


@pytest.mark.parametrize(
    "value",
    ["$(touch {p})", "`touch {p}`", "'; touch {p}; '", '"; touch {p}; "', "a\nb\n@@x", "", "-n", "\\", "a b*?[]", "é✓"],
)
def test_values_are_inert(value, tmp_path):
    trap = tmp_path / "made"
    value = value.replace("{p}", str(trap))
    assert _asked(_script("x", 'printf %s "$1"', value))["x"].stdout == value
    assert not trap.exists()


@settings(max_examples=15, deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), max_size=30), max_size=4))
def test_any_arguments_arrive_as_they_are(values):
    fact = _script("x", "for one; do printf '%s|' \"$one\"; done", *values)
    done = subprocess.run(["/bin/sh", "-s"], input=compose([fact], MARK).encode(), capture_output=True, check=True)
    found = split(done.stdout.decode(), MARK, [fact])
    assert found["x"].stdout == "".join(f"{value}|" for value in values)


def test_noise_before_the_first_marker_is_ignored():
    fact = _script("x", "echo right")
    text = _sh(compose([fact], MARK)).stdout
    noise = "Welcome!\n@@begin\n\n@@0 begin 0 0 1\nwrong\n@@0 end 0 0 1\n"
    assert split(noise + text, MARK, [fact])["x"].stdout == "right\n"


def test_output_that_was_cut_off_is_unknown_and_not_short():
    facts = [_script("one", "echo 1"), _script("two", "echo 2; echo 3")]
    text = _sh(compose(facts, MARK)).stdout
    cut = text[: text.index("\n3") + 2]
    assert set(split(cut, MARK, facts)) == {"one"}
    found = answers(facts, split(cut, MARK, facts))
    assert found["one"] == "1\n"
    assert "cut off" in found["two"]["unknown"]


def test_a_missing_end_does_not_take_the_next_one_for_its_own():
    facts = [_script("one", "echo 1"), _script("two", "echo 2")]
    text = _sh(compose(facts, MARK)).stdout
    lines = [line for line in text.splitlines(keepends=True) if " end 0 " not in line]
    assert "one" not in split("".join(lines), MARK, facts)


def test_a_text_that_was_cut_off_on_its_way_runs_nothing(tmp_path):
    trap = tmp_path / "made"
    text = compose([_script("x", 'touch "$1"', str(trap)), _script("y", "echo y")], MARK)
    for end in range(text.index("ask 0"), len(text) - 2, 7):
        _sh(text[:end])
        assert not trap.exists()


def test_a_raw_answer_that_cannot_be_parsed_is_unknown():
    fact = Fact(name="x", ask=Script(text=""), parse=lambda result: int(result.stdout))
    assert "could not be read" in answers([fact], {"x": Result(exit_code=0, stdout="many")})["x"]["unknown"]
    assert answers([fact], {"x": {"unknown": "late"}})["x"] == {"unknown": "late"}


def test_sudo_is_only_for_those_who_are_not_root(tmp_path):
    fact = Fact(name="x", ask=Script(text="echo done", sudo=True))
    for user, wanted in (("0", "done\n"), ("1000", "sudo -n timeout -k 2 20 sh -c\n")):
        (tmp_path / "id").write_text(f"#!/bin/sh\necho {user}\n")
        (tmp_path / "sudo").write_text('#!/bin/sh\necho sudo "$1" "$2" "$3" "$4" "$5" "$6" "$7"\n')
        for tool in ("id", "sudo"):
            (tmp_path / tool).chmod(0o755)
        done = _sh(f"PATH={tmp_path}:$PATH\n" + compose([fact], MARK))
        assert split(done.stdout, MARK, [fact])["x"].stdout == wanted


@pytest.mark.parametrize("marker", ["", "short", "$(reboot)aaaaaaaaaaaaaaaaa", "a" * 15])
def test_a_marker_that_could_be_guessed_or_run_is_refused(marker):
    with pytest.raises(ValueError, match="at least 16"):
        compose([], marker)


def test_a_zero_byte_is_refused():
    with pytest.raises(ValueError, match="zero byte"):
        compose([_script("x", ":", "a\0b")], MARK)


def test_the_whole_limit_is_longer_than_all_parts():
    assert seconds_of([_script("a", "", timeout=10), _script("b", "", timeout=5)]) > 15


@pytest.mark.parametrize(
    ("said", "known"),
    [
        (Result(exit_code=1, stderr="sudo: a password is required\n"), False),
        (Result(exit_code=1, stderr="sudo: unable to resolve host web-1\nsudo: a password is required\n"), False),
        (Result(exit_code=0, stdout="up", stderr="sudo: unable to resolve host web-1\n"), True),
        (Result(exit_code=1, stdout="down", stderr="sudo: unable to resolve host web-1\n"), True),
    ],
)
def test_where_nobody_may_ask_as_root_it_is_said_what_helps(said, known):
    fact = Fact(name="state", ask=Script(text=":", sudo=True), parse=lambda result: result.stdout)
    (answer,) = answers([fact], {"state": said}).values()
    if known:
        assert answer == said.stdout
    else:
        assert why_unknown(answer) == (
            "it cannot be asked as root (sudo: a password is required): allow `sudo -n` there, or say sudo=false"
        )


def test_an_answer_in_which_nothing_is_found_is_unknown_and_no_fault():
    fact = Fact(name="state", ask=Script(text=":"), parse=lambda result: next(iter(result.stdout)))
    assert why_unknown(answers([fact], {"state": Result(exit_code=0)})["state"]).startswith("the answer to state")


# -- side by side -------------------------------------------------------------------------------------------

SHELLS = [name for name in ("dash", "bash", "busybox") if shutil.which(name)] or ["sh"]
_MEET = ': >"$1/$2"; i=0; while [ ! -e "$1/$3" ]; do i=$((i+1)); [ $i -gt 600 ] && exit 9; sleep 0.05; done'
"""Ends with 0 when the other one runs at the same time."""
_ALONE = 'mkdir "$1/busy" || exit 9; sleep 0.05; rmdir "$1/busy"'
"""Ends with 9 when another one runs at the same time."""


@pytest.fixture(params=SHELLS)
def shell(request):
    return ["busybox", "sh"] if request.param == "busybox" else [request.param]


def _free(name: str, text: str, *args: object, timeout: int = 60, beside: int = 10) -> Fact:
    return Fact(name=name, ask=Script(text=text, args=tuple(map(str, args)), timeout=timeout, beside=beside))


def _asked_of(shell: list[str], *facts: Fact) -> dict[str, Result]:
    text = compose(facts, MARK).encode()
    done = subprocess.run([*shell, "-s"], input=text, capture_output=True, check=False, timeout=120)
    return split(done.stdout.decode(errors="replace"), MARK, facts, done.stderr.decode(errors="replace"))


def test_scripts_that_may_run_side_by_side_do(shell, tmp_path):
    ring = [_free(f"{n}", _MEET, tmp_path, n, (n + 1) % 4) for n in range(4)]
    assert [one.exit_code for one in _asked_of(shell, *ring).values()] == [0, 0, 0, 0]


def test_there_are_never_more_at_once_than_was_said(shell, tmp_path):
    count = 'mkdir "$1/$2"; ls "$1" | wc -l; sleep 0.05; rmdir "$1/$2"'
    found = _asked_of(shell, *(_free(f"{n}", count, tmp_path, n, beside=3) for n in range(8)))
    assert len(found) == 8
    assert max(int(one.stdout) for one in found.values()) <= 3


def test_what_runs_alone_has_none_of_the_others_beside_it(shell, tmp_path):
    row = [_script(f"row {n}", _ALONE, str(tmp_path)) for n in range(2)]
    lanes = [_free(f"free {n}", 'test -e "$1/busy" && exit 9; sleep 0.05; test ! -e "$1/busy"', tmp_path) for n in "ab"]
    found = _asked_of(shell, lanes[0], *row, lanes[1])
    assert {name: one.exit_code for name, one in found.items()} == {"free a": 0, "row 0": 0, "row 1": 0, "free b": 0}


def test_side_by_side_nothing_of_one_is_taken_for_anothers(shell):
    facts = [
        _free("both", "echo a; echo b >&2; exit 3"),
        _free("no newline", "printf 'x\n\n'; printf y >&2"),
        _free("nothing", ":"),
        _free("much", "i=0; while [ $i -lt 4000 ]; do echo 'rather a long line of text'; i=$((i+1)); done", beside=3),
        _free("strange", "printf 'a\\000\\377\nb'; printf '\\000' >&2"),
        _free("kills itself", "kill -9 $$"),
        _free("reads", "cat; echo end"),
        _free("breaks", "if ("),
    ]
    found = _asked_of(shell, *facts)
    said = {name: (one.exit_code, one.stdout, one.stderr) for name, one in found.items()}
    assert said["both"] == (3, "a\n", "b\n")
    assert said["no newline"] == (0, "x\n\n", "y")
    assert said["nothing"] == (0, "", "")
    assert said["much"] == (0, "rather a long line of text\n" * 4000, "")
    assert said["strange"][0] == 0
    assert said["strange"][1].replace("\0", "") == "a\ufffd\nb"
    assert said["kills itself"][:2] == (137, "")
    assert said["reads"] == (0, "end\n", "")
    assert said["breaks"][0] == 2


def test_each_has_its_own_time_limit_whoever_is_beside_it(shell):
    found = _asked_of(
        shell, _free("late", "echo begun; sleep 60", timeout=1), *(_free(n, "echo well") for n in ("one", "two"))
    )
    assert (found["late"].timed_out, found["late"].exit_code, found["late"].stdout) == (True, None, "begun\n")
    assert [found[name].stdout for name in ("one", "two")] == ["well\n", "well\n"]


def test_a_process_that_keeps_the_output_open_holds_up_nobody(shell):
    leave = "setsid sleep 600 & echo $!; echo problem >&2"
    found = _asked_of(shell, _free("leaves", leave), _free("other", "echo well"))
    left = int(found["leaves"].stdout)
    os.kill(left, 0)  # it is still there: this is not about its end
    os.kill(left, signal.SIGKILL)
    assert (found["leaves"].stderr, found["other"].stdout) == ("problem\n", "well\n")


def test_the_lines_between_the_answers_are_not_to_be_seen_in_ps(shell):
    facts = [_free("looks", f'mark={MARK[:-1]}; ps -A -ww -o args= | grep -c "${{mark}}[{MARK[-1]}]"'), _free("o", ":")]
    assert _asked_of(shell, *facts)["looks"].stdout == "0\n"


def test_a_text_with_lanes_that_was_cut_off_on_its_way_runs_nothing(tmp_path):
    trap = tmp_path / "made"
    text = compose([_free("x", 'touch "$1"', trap), _free("y", "echo y")], MARK)
    for end in range(text.index("lane_0"), len(text) - 2, 7):
        _sh(text[:end])
        assert not trap.exists()


@given(st.lists(st.tuples(st.integers(1, 60), st.integers(1, 12)), max_size=30))
def test_every_script_is_divided_to_one_place_and_the_limit_covers_the_longest(given_):
    scripts = [Script(text=":", timeout=timeout, beside=beside) for timeout, beside in given_]
    division = divided(scripts)
    everyone = [*division.row, *(one for lane in division.lanes for one in lane)]
    assert sorted(number for number, _script in everyone) == list(range(len(scripts)))
    assert all(scripts[number] is script for number, script in everyone)
    assert all(len(division.lanes) <= script.beside for lane in division.lanes for _number, script in lane)
    assert all(lane for lane in division.lanes)
    longest = max((sum(script.timeout for _number, script in lane) for lane in division.lanes), default=0)
    assert division.seconds >= sum(script.timeout for _number, script in division.row) + longest
