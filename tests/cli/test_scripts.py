"""A script within a command is shown once, whole and line by line, and nothing can pass for one."""

from __future__ import annotations

import pytest

from opsqueue.cli.output import Out
from opsqueue.cli.scripts import Scripts
from opsqueue.model.plan import Command

SCRIPT = 'set -eu\nfor it; do\n\techo "it\'s $it"\ndone\n'


def shown(capsys, *commands: Command) -> tuple[list[str], list[str]]:
    scripts = Scripts()
    lines = [scripts.without(str(command)) for command in commands]
    scripts.show(Out())
    return lines, capsys.readouterr().out.splitlines()


def test_a_script_that_is_sent_twice_is_told_once(capsys):
    other = "a\nb"
    lines, told = shown(
        capsys,
        Command(argv=("sh", "-c", SCRIPT, "sh", "one two")),
        Command(argv=("runuser", "-u", "app", "--", "sh", "-c", other)),
        Command(argv=("sh", "-c", SCRIPT)),
    )
    assert lines == ["sh -c <script 1> sh 'one two'", "runuser -u app -- sh -c <script 2>", "sh -c <script 1>"]
    assert told == [
        *("", "script 1", "  set -eu", "  for it; do", '          echo "it\'s $it"', "  done"),
        *("", "script 2", "  a", "  b"),
    ]


def test_what_is_read_from_stdin_or_the_environment_is_one_as_well(capsys):
    command = Command(argv=("psql", "-X"), stdin="begin;\ncommit;", env={"SQL": "select 1;\nselect 2;"})
    lines, told = shown(capsys, command)
    assert lines == ["SQL=<script 1> psql -X <<< <script 2>"]
    assert [line for line in told if line.startswith("  ")] == ["  select 1;", "  select 2;", "  begin;", "  commit;"]


@pytest.mark.parametrize("word", ["<script 1>", "a\n", "\n", "two  words"])
def test_what_is_none_stays_in_its_quotes(capsys, word):
    lines, told = shown(capsys, Command(argv=("echo", word)))
    assert (lines, told) == ([f"echo '{word}'".replace("\n", "\\x0a")], [])


def test_what_was_cut_in_the_middle_is_shown_as_it_is(capsys):
    scripts = Scripts()
    assert scripts.without("sh -c 'a\nb") == "sh -c 'a\\x0ab"


def test_what_could_move_the_cursor_is_seen(capsys):
    _lines, told = shown(capsys, Command(argv=("sh", "-c", "echo\r\n\x1b[2J")))
    assert told[2:] == ["  echo\\x0d", "  \\x1b[2J"]
