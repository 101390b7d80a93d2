"""The one place where an error becomes a message and a number."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from opsqueue import errors
from opsqueue.cli import catalogue
from opsqueue.cli.main import main

REQUEST = ("--name", "n", "--systems", "h1")


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        ((), 2, "a command is missing"),
        (("--confg", "x", "types"), 2, "nothing takes '--confg'; did you mean '--config'? `opsqueue --help`"),
        (("--confg=x", "types"), 2, "nothing takes '--confg'; did you mean '--config'?"),
        (("--systems", "h1", "status"), 2, "nothing takes '--systems'; options of a command stand after it."),
        (("histroy",), 2, "no command 'histroy'; did you mean 'history'? `opsqueue --help`"),
        (("zzz",), 2, "no command 'zzz'. `opsqueue --help`"),
        (("history", "--sytem", "h1"), 2, "nothing here takes '--sytem'; did you mean '--system'?"),
        (("history", "--sys", "h1"), 2, "nothing here takes '--sys'; did you mean"),
        (("history", "more"), 2, "nothing here takes 'more'. `opsqueue history --help`"),
        (("history", "--status", "succeded"), 2, "did you mean 'succeeded'? Known are: succeeded, "),
        (("history", "--limit", "0"), 2, "wanted a whole number from 1 to 100000, found '0'"),
        (("history", "--limit", "1e3"), 2, "wanted a whole number from 1 to 100000, found '1e3'"),
        (("history", "--limit", "٣"), 2, "wanted a whole number"),
        (("history", "--since", "yesterday"), 2, "a time is a date such as 2026-03-01"),
        (("history", "--since", "2026-02-30"), 2, "a time is a date such as"),
        (("history", "--since", "0h"), 2, "7d or 2w, and is more than 0; found '0h'"),
        (
            ("history", "--since", "2026-03-02", "--until", "2026-03-01"),
            2,
            "since must be earlier than until; found since 2026-03-02T00:00:00Z and until 2026-03-01T00:00:00Z",
        ),
        (("history", "--since", "1d", "--until", "2d"), 2, "since must be earlier than until"),
        (("freeze",), 2, "the following arguments are required: VERB"),
        (("freeze", "lst"), 2, "there is no 'lst'; did you mean 'list'?"),
        (("freeze", "add", "--scope", "all", "--reason", "x"), 2, "one of the arguments --for --until --open-ended"),
        (("freeze", "add", "--scope", "all", "--reason", "x", "--for", "2 hours"), 2, "a duration is written as"),
        (("freeze", "add", "--scope", "all", "--reason", "x", "--until", "2020-01-01"), 2, "has passed"),
        (("status", "--interval", "nan"), 2, "wanted a number of seconds above 0, found 'nan'"),
        (("execute", "--name", "n", "--typ", "t"), 2, "nothing here takes '--typ'; did you mean '--type'?"),
        (("execute", *REQUEST), 2, "the following arguments are required: --type"),
        (
            ("execute", *REQUEST, "--type", "health_chek"),
            10,
            "no operation type 'health_chek'; did you mean 'health_check'?",
        ),
        (("types", "alert_managment"), 10, "did you mean 'alert_management'?"),
        (
            ("execute", *REQUEST, "--type", "health_check", "--no-wait", "--fail-on", "warning"),
            2,
            "--fail-on waits for the findings, and --no-wait does not",
        ),
        (
            ("execute", *REQUEST, "--type", "service_restart", "--parameters", '{"service_nam": "x"}'),
            2,
            "service_nam: there is nothing of this name; did you mean 'service_name'?",
        ),
        (
            (
                "execute",
                *REQUEST,
                "--type",
                "service_restart",
                "--parameters",
                '{"service_name": "x", "health_check": {"htpp": "http://a.test/"}}',
            ),
            2,
            "health_check.htpp: there is nothing of this name; did you mean 'http'?",
        ),
        (
            (
                "execute",
                *REQUEST,
                "--type",
                "health_check",
                "--parameters",
                '{"checks": [{"kind": "tcp", "name": "a", "host": "h", "prot": 1}]}',
            ),
            2,
            "prot: there is nothing of this name; did you mean 'port'?",
        ),
        (
            (
                "execute",
                *REQUEST,
                "--type",
                "health_check",
                "--parameters",
                '{"checks": [{"kind": "http", "url": "http://a.test/", "headers": {"Authorization": "x"}}]}',
            ),
            2,
            "reads its secret on the host. `opsqueue types",
        ),
        (
            ("execute", *REQUEST, "--type", "system_monitoring", "--parameters", '{"metrics": []}'),
            2,
            "metrics: wanted at least 1 of them, found 0. `opsqueue types",
        ),
        (
            ("execute", *REQUEST, "--type", "system_monitoring", "--parameters", '{"metrics": ["cpus"]}'),
            2,
            "'fd' or 'clock'; did you mean 'cpu'? `opsqueue types",
        ),
        (("history", "--type", "helth_check"), 10, "no operation type 'helth_check'; did you mean 'health_check'?"),
        (("history", "--system", "h3"), 10, "there is no host, group or tag 'h3'; did you mean 'h"),
        (("execute", "--name", "n", "--type", "health_check", "--systems", "h9"), 10, "no host, group or tag 'h9'"),
        (("execute", *REQUEST, "--type", "health_check", "--priority", "hihg"), 2, "did you mean 'high'?"),
        (("execute", *REQUEST, "--type", "health_check", "--parameters", '{"a": 1'), 2, "line 1 column 8 (char 7)"),
        (("execute", *REQUEST, "--type", "health_check", "--parameters", "[1]"), 2, "--parameters is a list"),
        (("execute", *REQUEST, "--type", "health_check", "--parameters", '{"a":1,"a":2}'), 2, "a key stands twice"),
        (("execute", *REQUEST, "--type", "health_check", "--parameters", '{"a":NaN}'), 2, "NaN is no number of JSON"),
        (("execute", *REQUEST, "--type", "health_check", "--parameters", "[" * 100_000), 2, "is not JSON"),
        (("execute", *REQUEST, "--type", "health_check", "--parameters", "@/no/such/file"), 2, "cannot be read"),
        (("execute", *REQUEST, "--type", "service_restart"), 2, "service_name: must be given"),
        (("execute", *REQUEST, "--type", "health_check", "--window", "sometimes"), 2, "neither a configured window"),
        (("execute", *REQUEST, "--type", "health_check", "--notify", "pager"), 2, "no notification channel 'pager'"),
        (("execute", *REQUEST, "--type", "health_check", "--operation-id", "7"), 2, "wanted a UUID"),
        (("execute", *REQUEST, "--type", "health_check", "--timeout", "0"), 2, "wanted a whole number from 1"),
        (("execute", *REQUEST, "--type", "health_check", "--wait", "--no-wait"), 2, "not allowed with argument"),
        (
            ("execute", "--name", "a\nb", "--systems", "h1", "--type", "health_check"),
            2,
            "the request cannot be accepted",
        ),
        (("show", "abcd"), 10, "there is no record yet at"),
        (("cancel", "abcd"), 10, "there is no record yet at"),
        (("freeze", "lift", "1234"), 12, "there is no record yet at"),
        (("types", "backp"), 10, "there is no operation type 'backp'"),
        (("hosts", "show", "h3"), 10, "did you mean 'h2'?"),
        (("monitor", "--systems", "web"), 10, "there is no host, group or tag 'web'"),
        (("completion", "fish"), 2, "Known are: bash, zsh, tcsh"),
    ],
)
def test_what_is_wrong_is_said_with_its_exit_status(empty, words, status, says):
    said = empty(*words)
    assert (said.status, said.out) == (status, "")
    assert said.err.startswith("error: ")
    assert says in said.err
    assert len(said.err.splitlines()) == 1


def test_the_last_line_on_stderr_is_an_object_for_programs(empty):
    for words in (["--output", "json", "show", "abcd"], ["show", "abcd", "--output=jsonl"]):
        last = json.loads(empty(*words).err.splitlines()[-1])
        assert set(last) == {"code", "message", "details"}
        assert last["code"] == "not_found"


def test_no_words_at_all_show_the_help(capsys):
    assert main([]) == 2
    assert "usage: opsqueue" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--version"], ["--help"], ["freeze", "add", "--help"]])
def test_help_and_version_are_no_errors(words, capsys):
    assert main(words) == 0
    assert "opsqueue" in capsys.readouterr().out


def test_a_bad_configuration_is_told_with_the_nearest_key(empty):
    empty.set(monitoring_intervall=3)
    said = empty("history")
    assert (said.status, said.out) == (2, "")
    assert "did you mean 'monitoring_interval'?" in said.err


@pytest.fixture
def command(monkeypatch):
    """A command of the test's own, run by the real `main`."""

    def add(run):
        module = ModuleType("opsqueue.cli.commands.boom")
        module.options, module.run = lambda parser: None, run
        monkeypatch.setitem(sys.modules, module.__name__, module)
        boom = catalogue.Command("boom", "fails", "boom")
        monkeypatch.setattr(catalogue, "COMMANDS", (*catalogue.COMMANDS, boom))

    return add


def _raise(error):
    raise error


def test_a_fault_of_ours_is_one_line_and_a_file(empty, command, tmp_path):
    command(lambda given: _raise(RuntimeError("spoon\x1b[2J")))
    said = empty("boom")
    assert said.status == 1
    assert "a fault of ours: RuntimeError: spoon\\x1b[2J" in said.err
    (file,) = (tmp_path / "state" / "logs").glob("crash-*.txt")
    assert f"The traceback is in {file}." in said.err
    assert "RuntimeError: spoon" in file.read_text()
    assert file.stat().st_mode & 0o077 == 0


def test_a_fault_of_ours_is_told_where_no_configuration_can_be_read(command, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    command(lambda given: _raise(RuntimeError("spoon")))
    assert main(["--config", "/no/such/file.json", "--output", "json", "boom"]) == 1
    last = json.loads(capsys.readouterr().err.splitlines()[-1])
    assert last["code"] == "internal"
    assert last["details"]["traceback"].startswith(str(tmp_path))


def test_an_interrupt_is_130(empty, command):
    command(lambda given: _raise(KeyboardInterrupt()))
    assert empty("boom").status == 130


_ERRORS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.OpsqueueError)]


@pytest.mark.parametrize("kind", _ERRORS, ids=lambda kind: kind.__name__)
def test_the_number_belongs_to_the_error(kind, empty, command):
    command(lambda given: _raise(kind("it was so")))
    said = empty("boom")
    assert said.status == kind.exit_code
    assert said.err == "error: it was so\n"


def _piped(word, home, unbuffered, stdout):
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered, "XDG_STATE_HOME": str(home)}
    argv = [sys.executable, "-m", "opsqueue", word]
    return subprocess.Popen(argv, stdout=stdout, stderr=subprocess.PIPE, env=environment)


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_goes_away_is_no_noise(unbuffered, tmp_path):
    reads, writes = os.pipe()
    os.close(reads)
    with _piped("--help", tmp_path, unbuffered, writes) as process:
        os.close(writes)
        assert process.communicate()[1] == b""
        assert process.returncode == 141


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_is_no_success(unbuffered, tmp_path):
    with Path("/dev/full").open("wb") as full, _piped("--version", tmp_path, unbuffered, full) as process:
        error = process.communicate()[1]
    assert process.returncode == 1
    assert error == b"error: the result could not be written to stdout: No space left on device\n"
