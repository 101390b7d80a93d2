"""One configuration, from a file and the environment: what is accepted is enforced, all else is refused by name."""

from __future__ import annotations

import json
import os

import pytest

from opsqueue.connectors.inventory.directory import read_inventory
from opsqueue.errors import InvalidConfig
from opsqueue.settings import load

MISSION = {
    "monitoring_interval": 60,
    "max_concurrent_operations": 5,
    "default_timeout": 300,
    "log_retention_days": 30,
    "backup_retention_days": 90,
    "alert_thresholds": {"cpu_usage": 80, "memory_usage": 85, "disk_usage": 90, "response_time": 5000},
    "notification_channels": {
        "email": "admin@company.com",
        "slack": "#ops-alerts",
        "webhook": "http://localhost:8000/alerts",
    },
    "maintenance_windows": {
        "daily": "02:00-04:00",
        "weekly": "Sunday 01:00-05:00",
        "monthly": "First Sunday 00:00-06:00",
    },
}


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path):
    """No setting of the machine: an empty working directory and environment."""
    for name in list(os.environ):
        if name.startswith("OPSQUEUE_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def given(tmp_path):
    def write(data, name="opsqueue.json"):
        path = tmp_path / name
        path.write_text(data if isinstance(data, str) else json.dumps(data))
        return load(str(path))

    return write


def refused(given, data, name="opsqueue.json"):
    with pytest.raises(InvalidConfig) as raised:
        given(data, name)
    return raised.value.message


def test_the_keys_of_the_mission_are_accepted_as_they_are(given):
    settings = given(MISSION)
    assert settings.max_concurrent_operations == 5
    assert settings.alert_thresholds.model_dump() == MISSION["alert_thresholds"]
    assert settings.notification_channels == MISSION["notification_channels"]
    assert [window.name for window in settings.windows()] == ["daily", "weekly", "monthly"]
    assert list(read_inventory(settings)) == ["localhost"]
    assert settings.database.startswith("sqlite:///")


def test_without_a_file_there_are_defaults(tmp_path):
    settings = load()
    assert (settings.default_timeout, settings.monitoring_interval) == (300, 60)
    assert settings.state_dir == tmp_path / "state" / "opsqueue"
    assert settings.log_dir == settings.state_dir / "logs"


def test_toml_is_as_good_as_json(given):
    settings = given('timezone = "Europe/Berlin"\n[maintenance_windows]\ndaily = "02:00-04:00"\n', "opsqueue.toml")
    assert settings.windows()[0].timezone == "Europe/Berlin"


def test_the_file_in_the_working_directory_is_found_and_another_can_be_named(tmp_path, monkeypatch):
    (tmp_path / "opsqueue.json").write_text('{"default_timeout": 7}')
    (tmp_path / "other.json").write_text('{"default_timeout": 8}')
    assert load().default_timeout == 7
    monkeypatch.setenv("OPSQUEUE_CONFIG", "other.json")
    assert load().default_timeout == 8
    assert load("opsqueue.json").default_timeout == 7


def test_the_environment_goes_before_the_file(given, monkeypatch):
    monkeypatch.setenv("OPSQUEUE_DEFAULT_TIMEOUT", "9")
    monkeypatch.setenv("OPSQUEUE_WORKER__PROCESSES", "3")
    monkeypatch.setenv("OPSQUEUE_MAINTENANCE_WINDOWS", '{"daily": "03:00-04:00"}')
    settings = given(MISSION)
    assert (settings.default_timeout, settings.worker.processes) == (9, 3)
    assert settings.monitoring_interval == 60


@pytest.mark.parametrize(
    ("key", "near"),
    [("max_concurent_operations", "max_concurrent_operations"), ("timezon", "timezone"), ("host", "hosts")],
)
def test_an_unknown_key_is_refused_with_the_nearest_known_one(given, key, near):
    said = refused(given, {key: 1})
    assert repr(key) in said
    assert f"did you mean {near!r}?" in said


def test_an_unknown_word_in_the_environment_is_refused(monkeypatch):
    monkeypatch.setenv("OPSQUEUE_DEFAULT_TIMEOUTS", "9")
    with pytest.raises(InvalidConfig, match="OPSQUEUE_DEFAULT_TIMEOUT'"):
        load()


@pytest.mark.parametrize("key", ["approvals", "roles"])
def test_what_cannot_be_honoured_yet_is_refused(given, key):
    assert "cannot be honoured" in refused(given, {key: {}})


@pytest.mark.parametrize(
    "data",
    [
        {"broker_url": "redis://:hunter2@host:6379/0"},
        {"database_url": "postgresql+psycopg://ann:hunter2@host/db"},
        {"notification_urls": {"slack": "slack://hunter2/B/C"}},
    ],
)
def test_a_secret_in_plain_text_is_refused_and_not_repeated(given, data):
    said = refused(given, data)
    assert "$secret" in said
    assert "hunter2" not in said


def test_a_secret_by_reference_is_read_when_it_is_needed(given, monkeypatch):
    settings = given({"database_url": {"$secret": "env:OQ_TEST_URL"}})
    with pytest.raises(InvalidConfig, match="OQ_TEST_URL"):
        _ = settings.database
    monkeypatch.setenv("OQ_TEST_URL", "postgresql+psycopg://ann:hunter2@host/db")
    assert settings.database.endswith("hunter2@host/db")
    assert "hunter2" not in repr(settings)


@pytest.mark.parametrize(
    ("data", "word"),
    [
        ({"timezone": "Mars/Olympus"}, "Mars/Olympus"),
        ({"timezone": "../../etc/passwd"}, "time zone"),
        ({"maintenance_windows": {"daily": "2-4"}}, "02:00-04:00"),
        ({"maintenance_windows": {"w": {"spec": "02:00-04:00", "timezone": "Nowhere"}}}, "Nowhere"),
        ({"maintenance_windows": {"w": {"spec": "02:00-04:00", "colour": "red"}}}, "colour"),
        ({"maintenance_windows": {f"w{n}": "02:00-04:00" for n in range(101)}}, "at most 100"),
        ({"hosts": {"a": {"windows": ["02:00-04:00"] * 101}}}, "at most 100"),
        ({"maintenance_windows": {"w": {"spec": "02:00-04:00", "permit": False}}}, "it does nothing"),
        ({"window_policy": "maybe"}, "window_policy"),
        ({"max_concurrent_operations": 0}, "max_concurrent_operations"),
        ({"max_concurrent_operations": "many"}, "max_concurrent_operations"),
        ({"max_concurrent_by_type": {"x": 0}}, "max_concurrent_by_type"),
        ({"alert_thresholds": {"cpu_usage": 101}}, "cpu_usage"),
        ({"alert_thresholds": {"cpu": 50}}, "alert_thresholds.cpu"),
        ({"log_retention_days": -1}, "log_retention_days"),
        ({"hosts": {"-oProxyCommand=x": {"connector": "local"}}}, "host name"),
        ({"hosts": {"a b": {"connector": "local"}}}, "host name"),
        ({"hosts": {"h1": {"connector": "telepathy"}}}, "connector"),
        ({"groups": {"a b": []}}, "group's name"),
        ({"groups": {"all": []}}, "group's name"),
        ({"hosts": {"all": {}}}, "host name"),
        ({"inventory": 5}, "inventory"),
        ({"inventory_refresh": 0}, "inventory_refresh"),
        ({"schedule": {"x": {"type": "health_check"}}}, "either every"),
        ({"schedule": {"x": {"type": "health_check", "every": 60, "cron": "* * * * *"}}}, "either every"),
        ({"verification": [{"name": "x"}]}, "either url or python"),
        ({"worker": {"lease_seconds": 0}}, "lease_seconds"),
        ({"logging": {"level": "LOUD"}}, "level"),
    ],
)
def test_what_makes_no_sense_is_refused_by_its_name(given, data, word):
    assert word in refused(given, data)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '"x"', '{"timezone": "UTC", "timezone": "UTC"}', '{"default_timeout": NaN}', "[" * 100_000],
)
def test_a_file_that_is_no_configuration_is_refused(given, text):
    assert "opsqueue.json" in refused(given, text)


def test_a_file_that_is_not_there_or_no_text_is_refused(tmp_path):
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe\x00")
    for name in ("missing.json", "bytes.json", "."):
        with pytest.raises(InvalidConfig, match="cannot be read"):
            load(name)


@pytest.mark.parametrize(
    ("given_as", "files"),
    [
        (None, ()),
        ("hosts.json", ("hosts.json",)),
        (["a.json", "/b/c.sh"], ("a.json", "/b/c.sh")),
    ],
)
def test_the_inventory_is_a_path_or_a_list_of_paths(given, given_as, files):
    settings = given({} if given_as is None else {"inventory": given_as})
    assert tuple(map(str, settings.inventory_files)) == files


@pytest.mark.parametrize(("text", "files"), [("/a/hosts.json", ("/a/hosts.json",)), ('["/a", "b"]', ("/a", "b"))])
def test_the_inventory_from_the_environment(monkeypatch, text, files):
    monkeypatch.setenv("OPSQUEUE_INVENTORY", text)
    assert tuple(map(str, load().inventory_files)) == files


def test_settings_cannot_be_changed(given):
    with pytest.raises(ValueError, match="frozen"):
        given({}).default_timeout = 5


# -- what the environment says -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        (
            "OPSQUEUE_SSH__PRT",
            "22",
            (
                "the environment cannot be accepted: OPSQUEUE_SSH__PRT: there is nothing of this name; "
                "did you mean 'OPSQUEUE_SSH__PORT'?; found '22'"
            ),
        ),
        ("OPSQUEUE_SSH", '{"prt": 22}', "OPSQUEUE_SSH: prt: there is nothing of this name; did you mean 'port'?"),
        ("OPSQUEUE_SSH__PORT", "many", "OPSQUEUE_SSH__PORT: input should be a whole number; found 'many'"),
        ("OPSQUEUE_SSH__PORT", "many", "; found 'many'"),
        (
            "OPSQUEUE_WINDOW_POLICY",
            "maybe",
            "OPSQUEUE_WINDOW_POLICY: input should be 'defer' or 'reject'; found 'maybe'",
        ),
        ("OPSQUEUE_ROLLOUT__BATCH", "0", "OPSQUEUE_ROLLOUT__BATCH: wanted a number of hosts from 1 on"),
        ("OPSQUEUE_HOSTS", "{bad", "OPSQUEUE_HOSTS cannot be read: wanted JSON"),
    ],
)
def test_what_the_environment_says_is_blamed_on_it(given, monkeypatch, name, value, says):
    monkeypatch.setenv(name, value)
    said = refused(given, MISSION)
    assert says in said
    assert "opsqueue.json" not in said


def test_what_is_wrong_in_both_places_is_told_apart(given, monkeypatch):
    monkeypatch.setenv("OPSQUEUE_SSH__PORT", "many")
    said = refused(given, {"worker": {"proceses": 1}})
    assert "opsqueue.json cannot be accepted: " in said
    assert "worker.proceses: there is nothing of this name; did you mean 'processes'?" in said
    assert "OPSQUEUE_SSH__PORT: input" in said


@pytest.mark.parametrize("name", ["OPSQUEUE_BROKER_URL", "OPSQUEUE_DATABASE_URL", "OPSQUEUE_SSH__KEY_PASSPHRASE"])
def test_a_value_that_may_be_a_secret_is_not_repeated(given, monkeypatch, name):
    monkeypatch.setenv(name, '{"hunter2": "hunter2"}')
    said = refused(given, {})
    assert name in said
    assert "'hunter2'" not in said


def test_a_gateway_that_all_have_is_told_by_its_setting(given, monkeypatch):
    monkeypatch.setenv("OPSQUEUE_SSH__GATEWAY", "nope")
    with pytest.raises(InvalidConfig, match=r"gateway of h1 \(it is that of `ssh.gateway`\) is 'nope'"):
        read_inventory(given({"hosts": {"h1": {}}}))
    with pytest.raises(InvalidConfig, match="gateway of h1 is 'own'"):
        read_inventory(given({"hosts": {"h1": {"gateway": "own"}}}))


CHANNELS = {"notification_channels": {"email": "a@b.co, c@b.co", "slack": "#ops", "webhook": "http://localhost:8000/"}}


@pytest.mark.parametrize(
    ("rules", "why"),
    [
        ({"slak": {}}, "there is no channel 'slak'; did you mean 'slack'?"),
        ({"slack": {"fallback": ["mail"]}}, "there is no channel 'mail'; did you mean 'email'?"),
        ({"slack": {"fallback": ["slack"]}}, "is the channel itself"),
        ({"slack": {"fallback": ["email", "email"]}}, "stands there twice"),
        ({"email#d@b.co": {}}, "'email' has no recipient 'd@b.co' among others (a@b.co, c@b.co)"),
        ({"slack##ops": {}}, "it has not several"),
        ({"log": {"most_per_minute": 1}}, "nothing limits the log"),
        ({"slack": {"quiet": ["25:00-07:00"]}}, "notification_rules.slack.quiet"),
        ({"slack": {"quiet": ["00:00-24:00"]}}, "never end"),
        ({"slack": {"quiet": ["00:00-12:00", "12:00-00:00"]}}, "never end"),
        ({"slack": {"quiet": ["Mon-Fri 00:00-24:00", "Sat,Sun 00:00-13:00", "Sat,Sun 12:30-24:00"]}}, "never end"),
        ({"slack": {"timezone": "Mars/Olympus"}}, "notification_rules.slack.timezone"),
        ({"slack": {"quiet_unless": "urgent"}}, "quiet_unless"),
        ({"slack": {"digest_above": 0}}, "digest_above"),
        ({"slack": {"sms_segments": 0}}, "sms_segments"),
        ({"webhook": {"signing_key": "hunter2-CANARY"}}, "signing_key"),
        ({"slack": {"quite": ["22:00-07:00"]}}, "did you mean 'quiet'?"),
    ],
)
def test_rules_of_channels_that_cannot_be_kept_are_refused(given, rules, why):
    said = refused(given, {**CHANNELS, "notification_rules": rules})
    assert why in said
    assert "CANARY" not in said


def test_rules_of_channels(given):
    rules = {"slack": {"fallback": ["email", "log"]}, "email#a@b.co": {"quiet": ["Sat,Sun 00:00-24:00", "20:00-19:59"]}}
    settings = given({**CHANNELS, "notification_rules": rules})
    assert settings.rules("slack").fallback == ("email", "log")
    assert [window.spec for window in settings.rules("email#a@b.co").windows("UTC")] == rules["email#a@b.co"]["quiet"]
    assert settings.rules("email#c@b.co").quiet == ()
