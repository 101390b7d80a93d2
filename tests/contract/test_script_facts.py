from __future__ import annotations

import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
