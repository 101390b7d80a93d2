"""Log lines: one line per event whatever a host says, found by grep, read by programs."""

from __future__ import annotations

import json
import logging

import pytest

from opsqueue.errors import InvalidConfig
from opsqueue.telemetry import configure, iso, printable

_LOG = logging.getLogger("opsqueue.test_telemetry")
_METRICS = logging.getLogger("opsqueue.metrics")


@pytest.fixture
def logs(tmp_path):
    """The log files, by the form they are to have; the loggers are put back afterwards."""

    def begin(form):
        configure(tmp_path, form=form)
        return tmp_path / "operations.log", tmp_path / "system-metrics.log"

    loggers = {name: logging.getLogger(name) for name in ("opsqueue", "opsqueue.metrics")}
    before = {name: (one.handlers, one.propagate, one.level) for name, one in loggers.items()}
    yield begin
    for name, one in loggers.items():
        for handler in one.handlers:
            handler.close()
        one.handlers, one.propagate = before[name][:2]
        one.setLevel(before[name][2])


def test_an_instant_is_written_in_utc():
    assert iso(1_800_000_000.25) == "2027-01-15T08:00:00.250Z"
    assert iso(None) is None


def test_control_characters_are_made_visible():
    assert printable("a\nb\x1b[31m\x7f\x9b") == "a\\x0ab\\x1b[31m\\x7f\\x9b"
    assert printable("Zürich 🚀") == "Zürich 🚀"


HOSTILE = "said\n2027-01-15T08:00:00Z ERROR forged\r\x1b[2J\x00end"


@pytest.mark.parametrize("form", ["plain", "json"])
def test_whatever_a_host_says_it_stays_one_line(logs, form):
    operations, _ = logs(form)
    _LOG.warning("answer: %s", HOSTILE, extra={"operation_id": "op-1", "fields": {"output": HOSTILE, "n": 5}})
    text = operations.read_text()
    assert len(text.splitlines()) == 1
    assert not any(sign in text.rstrip("\n") for sign in "\n\r\x1b\x00")


@pytest.mark.parametrize(
    ("form", "sign"), [("json", "\x9b"), ("json", "\x85"), ("json", "\u2028"), ("plain", "\u2028")]
)
def test_no_sign_of_another_alphabet_ends_a_line_or_steers_a_terminal(logs, form, sign):
    operations, _ = logs(form)
    _LOG.warning("answer: a%sb", sign)
    assert sign not in operations.read_text()


def test_plain_lines_are_found_by_grep(logs):
    operations, _ = logs("plain")
    _LOG.info("execute succeeded", extra={"operation_id": "op-1", "stage": "execute", "host": "h1"})
    _LOG.warning("FAILED execute failed", extra={"operation_id": "op-2"})
    _LOG.error("a fault")
    lines = operations.read_text().splitlines()
    assert [line for line in lines if "operation_id=op-1" in line] == [lines[0]]
    assert [line for line in lines if "ERROR" in line or "FAILED" in line] == lines[1:]
    assert "stage=execute host=h1" in lines[0]


def test_json_lines_hold_everything(logs):
    operations, _ = logs("json")
    _LOG.warning("it said %s", "Zürich", extra={"operation_id": "op-1", "fields": {"n": 5, "odd": {1}}})
    line = json.loads(operations.read_text())
    assert (line["level"], line["message"], line["operation_id"], line["n"]) == ("WARNING", "it said Zürich", "op-1", 5)
    assert line["at"].endswith("Z")


@pytest.mark.parametrize("form", ["plain", "json"])
def test_a_fault_is_one_line_with_its_trace(logs, form):
    operations, _ = logs(form)
    try:
        int(HOSTILE)
    except ValueError:
        _LOG.exception("ERROR in stage execute", extra={"operation_id": "op-1"})
    (line,) = operations.read_text().splitlines()
    assert all(word in line for word in ("ERROR", "ValueError", "test_telemetry.py", "op-1"))


def test_metrics_have_a_file_of_their_own(logs):
    operations, metrics = logs("plain")
    _METRICS.info("metrics", extra={"operation_id": "op-1", "host": "h1", "fields": {"cpu_usage": 12.5}})
    assert "cpu_usage=12.5" in metrics.read_text()
    assert operations.read_text() == ""


def test_a_rotated_file_loses_no_line(logs):
    operations, _ = logs("plain")
    _LOG.info("before")
    operations.rename(operations.with_name("operations.log-20270101"))
    _LOG.info("after")
    assert "after" in operations.read_text()
    assert "before" not in operations.read_text()


def test_configuring_twice_does_not_double_the_lines(logs):
    logs("plain")
    operations, _ = logs("plain")
    _LOG.info("once")
    assert operations.read_text().count("once") == 1


def test_logs_that_cannot_be_written_are_a_fault_of_the_configuration(tmp_path):
    (tmp_path / "file").write_text("no directory")
    with pytest.raises(InvalidConfig, match="the logs cannot be written"):
        configure(tmp_path / "file" / "logs")
