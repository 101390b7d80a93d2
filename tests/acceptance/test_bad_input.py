"""What cannot be done is said in one clear message with the right exit status, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import shutil
import socket
import stat
from pathlib import Path
from uuid import uuid4

import pytest
from place import CHANGE, Place, closed_now, free_port, with_service

pytestmark = [pytest.mark.service, pytest.mark.xdist_group("bad_input")]

HEALTH = ("--name", "n", "--type", "health_check", "--systems", "web-server-1")
RESTART = ("--name", "n", "--type", "service_restart", "--systems", "web-server-1")
ID = str(uuid4())

# What is asked for: the exit status, and a part of the message.
ROWS = {
    "no name": (("--type", "health_check", "--systems", "web-server-1"), 2, "--name"),
    "no systems": (("--name", "n", "--type", "health_check", "--systems"), 2, "--systems"),
    "an empty name": (("--name", "", *HEALTH[2:]), 2, "name"),
    "a name of two lines": (("--name", "a\nb", *HEALTH[2:]), 2, "name"),
    "an unknown parameter": ((*HEALTH, "--parameters", '{"bogus": 1}'), 2, "bogus"),
    "a missing parameter": (RESTART, 2, "service_name"),
    "a service that is an option": ((*RESTART, "--parameters", '{"service_name": "-x"}'), 2, "service_name"),
    "a service that is a command": ((*RESTART, "--parameters", '{"service_name": "x; rm -rf /"}'), 2, "service_name"),
    "a number too large": ((*RESTART, "--parameters", '{"service_name": "a", "settle_seconds": 601}'), 2, "settle"),
    "half an object": ((*HEALTH, "--parameters", '{"a":'), 2, "is not JSON"),
    "no JSON at all": ((*HEALTH, "--parameters", "service_name=nginx"), 2, "is not JSON"),
    "a list": ((*HEALTH, "--parameters", "[1]"), 2, "is a list"),
    "a key twice": ((*HEALTH, "--parameters", '{"a": 1, "a": 2}'), 2, "twice"),
    "no number": ((*HEALTH, "--parameters", '{"a": NaN}'), 2, "NaN"),
    "30 levels": ((*HEALTH, "--parameters", '{"a":' * 30 + "1" + "}" * 30), 2, "levels deep"),
    "100000 levels": ((*HEALTH, "--parameters", "[" * 100_000), 2, "is not JSON"),
    "a secret": ((*HEALTH, "--parameters", '{"password": "hunter2"}'), 2, "plain text"),
    "a missing file": ((*HEALTH, "--parameters", "@/no/such/file"), 2, "@/no/such/file cannot be read"),
    "a directory": ((*HEALTH, "--parameters", "@/"), 2, "@/ cannot be read"),
    "a negative timeout": ((*HEALTH, "--timeout", "-5"), 2, "--timeout"),
    "a negative timeout again": ((*HEALTH, "--timeout=-5"), 2, "a whole number from 1 to 604800"),
    "no timeout": ((*HEALTH, "--timeout", "0"), 2, "a whole number from 1"),
    "too many retries": ((*HEALTH, "--retry-count", "21"), 2, "a whole number from 0 to 20"),
    "a negative wait": ((*HEALTH, "--wait-timeout", "0"), 2, "--wait-timeout"),
    "an unknown priority": ((*HEALTH, "--priority", "urgent"), 2, "critical, high, normal, low"),
    "a bad id": ((*HEALTH, "--operation-id", "7"), 2, "wanted a UUID"),
    "no window": ((*HEALTH, "--window", "whenever"), 2, "neither a configured window"),
    "an unknown channel": ((*HEALTH, "--notify", "pager"), 2, "'pager'"),
    "to wait and not to wait": ((*HEALTH, "--wait", "--no-wait"), 2, "--no-wait"),
    "an unknown option": ((*HEALTH, "--pritority", "high"), 2, "did you mean '--priority'?"),
    "an unknown type": (("--name", "n", "--type", "health", "--systems", "web-server-1"), 10, "health_check"),
    "an unknown host": (("--name", "n", "--type", "health_check", "--systems", "web-server-7"), 10, "web-server-7"),
    "one unknown of two": ((*HEALTH, "elsewhere"), 10, "'elsewhere'"),
    "a host that is an option": ((*HEALTH[:4], "--systems", "-oProxyCommand=x"), 2, "--systems"),
    "a host that is an option again": ((*HEALTH[:4], "--systems=-oProxyCommand=x"), 10, "'-oProxyCommand=x'"),
    "control characters in a host": ((*HEALTH[:4], "--systems", "web\x1b[2J\x07"), 2, "target_systems"),
    "an empty host": ((*HEALTH[:4], "--systems", ""), 2, "target_systems"),
}  # fmt: skip
OTHERS = {
    "an unknown command": (("exceute",), 2, "did you mean 'execute'?"),
    "show nothing": (("show", ID), 10, ID),
    "why nothing": (("why", "abcdef"), 10, "abcdef"),
    "logs of nothing": (("logs", ID), 10, ID),
    "cancel nothing": (("cancel", ID, "--yes"), 10, ID),
    "retry nothing": (("retry", ID, "--yes"), 10, ID),
    "status of nothing": (("status", ID), 10, ID),
    "plan with bad parameters": (("plan", *HEALTH, "--parameters", "{"), 2, "is not JSON"),
    "plan for an unknown host": (("plan", *HEALTH[:4], "--systems", "h9"), 10, "'h9'"),
    "history since nonsense": (("history", "--since", "yesterday"), 2, "'yesterday'"),
    "history of an unknown status": (("history", "--status", "fine"), 2, "'fine'"),
    "an unknown type told of": (("types", "nonsense"), 10, "'nonsense'"),
    "monitor of an unknown host": (("monitor", "--systems", "h9"), 10, "'h9'"),
    "a freeze without an end": (("freeze", "add", "--scope", "all", "--reason", "x"), 2, "--for"),
}
CONFIGS = {
    "a key that is none": ({"max_concurent_operations": 3}, 2, "did you mean 'max_concurrent_operations'?"),
    "a key of later": ({"approvals": {}}, 2, "cannot be honoured"),
    "a number out of bounds": ({"monitoring_interval": 0}, 2, "monitoring_interval"),
    "a threshold that is none": ({"alert_thresholds": {"cpu": 3}}, 2, "cpu"),
    "a window that is none": ({"maintenance_windows": {"daily": "25:00-26:00"}}, 2, "daily"),
    "a zone that is none": ({"timezone": "Mars/Base"}, 2, "Mars/Base"),
    "a secret": ({"broker_url": "redis://:hunter2@127.0.0.1/0"}, 2, "broker_url"),
    "a host reached in no known way": ({"hosts": {"h": {"connector": "telnet"}}}, 2, "connector"),
    "a database of no known kind": ({"database_url": "mongo://x/y"}, 2, "database_url"),
}


@pytest.fixture(scope="module")
def calm():
    """A place where nothing ever runs; asked at the end whether anything was left there."""
    place = Place()
    yield place
    try:
        assert place.nothing_recorded()
    finally:
        place.end()


def refused(place, done, code, fragment):
    """One message, on stderr, and nothing else anywhere."""
    assert (done.code, done.out) == (code, ""), done.err
    (message,) = done.err.splitlines()
    assert message.startswith("error: ")
    assert fragment in message
    assert "Traceback" not in message
    assert len(message) < 700
    assert message.isprintable()
    assert "hunter2" not in message
    assert place.processes() == []


@pytest.mark.parametrize("which", ROWS)
def test_a_request_that_cannot_be_honoured(calm, which):
    words, code, fragment = ROWS[which]
    refused(calm, calm.ops("execute", *words), code, fragment)


@pytest.mark.parametrize("which", OTHERS)
def test_a_question_that_has_no_answer(calm, which):
    words, code, fragment = OTHERS[which]
    refused(calm, calm.ops(*words), code, fragment)


@pytest.mark.parametrize("which", CONFIGS)
def test_a_configuration_that_cannot_be_honoured(calm, which):
    changed, code, fragment = CONFIGS[which]
    config = calm.directory / "bad.json"
    config.write_text(json.dumps({**calm.settings, **changed}))
    refused(calm, calm.ops("execute", *HEALTH, "--config", str(config)), code, fragment)


@pytest.mark.parametrize(
    ("text", "fragment"), [(None, "No such file"), ("{", "cannot be read"), ("[]", "not an object")]
)
def test_a_configuration_that_is_none(calm, text, fragment):
    config = calm.directory / "none.json"
    config.unlink(missing_ok=True)
    if text is not None:
        config.write_text(text)
    refused(calm, calm.ops("execute", *HEALTH, OPSQUEUE_CONFIG=str(config)), 2, fragment)


def test_a_program_gets_the_error_as_json(calm):
    done = calm.ops("execute", *HEALTH[:4], "--systems", "h9", "--output", "json")
    assert (done.code, done.out) == (10, "")
    people, program = done.err.splitlines()
    error = json.loads(program)
    assert (set(error), error["code"]) == ({"code", "message", "details"}, "not_found")
    assert error["message"] in people


# Runs a command for which the directory "$0" can only be read; root may write whatever its mode says.
READ_ONLY = (
    *("unshare", "--mount", "sh", "-c"),
    'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"',
)

# -- what stands behind it is not there ---------------------------------------------------------------------


def test_a_stopped_redis(make_place):
    place = make_place(broker_url=f"redis://127.0.0.1:{free_port()}/0")
    assert place.ops("db", "upgrade").code == 0
    done = place.ops("execute", *HEALTH, "--wait")
    refused(place, done, 11, "cannot be reached")
    assert done.seconds < 20
    assert place.nothing_recorded()


def test_a_redis_that_says_nothing(make_place):
    with socket.create_server(("127.0.0.1", 0)) as server:
        place = make_place(broker_url=f"redis://127.0.0.1:{server.getsockname()[1]}/0")
        assert place.ops("db", "upgrade").code == 0
        done = place.ops("execute", *HEALTH, "--wait")
        refused(place, done, 11, "cannot be reached")
        assert done.seconds < 30
    assert place.nothing_recorded()


def test_a_database_in_a_directory_that_is_a_file(make_place):
    file = Path(make_place().directory) / "file"
    file.write_text("")
    place = make_place(database_url=f"sqlite:///{file}/opsqueue.db")
    refused(place, place.ops("execute", *HEALTH, "--wait"), 12, str(file))


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("unshare") is None, reason="needs root and unshare")
def test_a_read_only_database(make_place):
    place = make_place()
    assert place.ops("db", "upgrade").code == 0
    place.prefix = (*READ_ONLY, str(place.state))
    done = place.ops("execute", *HEALTH, "--wait")
    refused(place, done, 12, "cannot be written")
    assert done.seconds < 20
    place.prefix = ()
    assert place.nothing_recorded()


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("unshare") is None, reason="needs root and unshare")
def test_a_read_only_database_beside_the_state_directory(make_place):
    records = make_place().directory / "records"
    records.mkdir()
    place = make_place(database_url=f"sqlite:///{records}/opsqueue.db")
    assert place.ops("db", "upgrade").code == 0
    place.prefix = (*READ_ONLY, str(records))
    refused(place, place.ops("execute", *HEALTH, "--wait"), 12, "the database cannot be used")
    place.prefix = ()
    assert place.nothing_recorded()


def test_a_database_that_is_none(make_place):
    place = make_place()
    place.state.mkdir()
    (place.state / "opsqueue.db").write_text("this is no database, and longer than a header of SQLite" * 20)
    refused(place, place.ops("history"), 12, "not a database")
    refused(place, place.ops("execute", *HEALTH, "--wait"), 12, "not a database")


# -- a closed window ----------------------------------------------------------------------------------------


@pytest.fixture
def serviced(make_place):
    """Make a place with a service, whose window is closed."""
    return lambda **settings: with_service(make_place(maintenance_windows={"nightly": closed_now()}, **settings))


def test_a_closed_window_that_refuses(serviced):
    place = serviced(window_policy="reject")
    done = place.ops("execute", *CHANGE, "--wait", "--output", "json")
    assert done.code == 4, done.err
    (verdict,) = [verdict for verdict in done.json["verdicts"] if verdict["verdict"] == "deny"]
    assert verdict["gate"] == "maintenance_window"
    assert "nightly" in verdict["why"]
    assert done.json["targets"][0]["steps"] == []
    assert place.ops("plan", *CHANGE).code == 4


def test_a_closed_window_that_is_waited_for(serviced):
    place = serviced()
    done = place.ops("execute", *CHANGE, "--wait-timeout", "1")
    assert done.code == 5, done.err
    operation_id = done.out.splitlines()[0]
    assert "it goes on" in done.err
    (waiting,) = place.ops("status", "--output", "json").json["operations"]
    assert (waiting["operation_id"], waiting["status"]) == (operation_id, "waiting")
    assert place.show(operation_id)["targets"][0]["steps"] == []


def test_the_record_is_nobody_elses_business(place):
    assert place.ops("db", "upgrade").code == 0
    assert stat.S_IMODE(place.state.stat().st_mode) == 0o700
