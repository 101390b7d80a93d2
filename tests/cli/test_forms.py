"""The forms of the contract, to the letter, and what they ask for."""

from __future__ import annotations

import shlex

import pytest

from opsqueue.cli.asking import request_of
from opsqueue.cli.catalogue import COMMANDS, build
from opsqueue.cli.exit_status import MEANING
from opsqueue.cli.parsing import subcommands
from opsqueue.model.request import parse_request

CONTRACT = {
    'opsqueue execute --name "daily-monitoring" --type "system_monitoring" '
    '--systems "web-server-1" "web-server-2" --priority "normal"': {
        "name": "daily-monitoring",
        "type": "system_monitoring",
        "target_systems": ["web-server-1", "web-server-2"],
        "priority": "normal",
    },
    'opsqueue execute --name "restart-nginx" --type "service_restart" --systems "web-server-1" '
    """--parameters '{"service_name": "nginx"}' --priority "high\"""": {
        "name": "restart-nginx",
        "type": "service_restart",
        "target_systems": ["web-server-1"],
        "priority": "high",
        "parameters": {"service_name": "nginx"},
    },
    'opsqueue execute --name "db-backup" --type "database_maintenance" --systems "db-server-1" '
    """--parameters '{"maintenance_type": "backup"}' --priority "critical\"""": {
        "name": "db-backup",
        "type": "database_maintenance",
        "target_systems": ["db-server-1"],
        "priority": "critical",
        "parameters": {"maintenance_type": "backup"},
    },
    'opsqueue execute --name "health-check" --type "health_check" '
    '--systems "web-server-1" "api-server-1" --priority "normal"': {
        "name": "health-check",
        "type": "health_check",
        "target_systems": ["web-server-1", "api-server-1"],
        "priority": "normal",
    },
}


@pytest.mark.parametrize("line", CONTRACT)
def test_the_missions_own_lines_ask_for_what_they_say(line):
    given = build("execute").parse_args(shlex.split(line)[1:])
    request = request_of(given)
    assert request == CONTRACT[line]
    assert parse_request(request).name == request["name"]


def test_every_option_comes_through(tmp_path):
    file = tmp_path / "p.json"
    file.write_text('{"b": 2}')
    line = (
        f"execute --name n --type t --systems a b --parameters @{file} --description d --timeout 7 --retry-count 0 "
        '--window "Sunday 01:00-05:00" --notify log email --no-rollback --priority low'
    )
    assert request_of(build("execute").parse_args(shlex.split(line))) == {
        "name": "n",
        "type": "t",
        "target_systems": ["a", "b"],
        "priority": "low",
        "parameters": {"b": 2},
        "description": "d",
        "timeout": 7,
        "retry_count": 0,
        "maintenance_window": "Sunday 01:00-05:00",
        "notification_channels": ["log", "email"],
        "rollback_enabled": False,
    }


@pytest.mark.parametrize(
    "words",
    [
        ["--output", "json", "--config", "c", "--no-color", "freeze", "list"],
        ["freeze", "--output", "json", "--config", "c", "--no-color", "list"],
        ["freeze", "list", "--output", "json", "--config", "c", "--no-color"],
    ],
)
def test_the_common_options_stand_before_or_after_the_command(words):
    given = build("freeze").parse_args(words)
    assert (given.output, given.config, given.no_color) == ("json", "c", True)


def _leaves(parser):
    inner = list(subcommands(parser))
    return [leaf for _name, child in inner for leaf in _leaves(child)] if inner else [parser]


LEAVES = _leaves(build(everything=True))


def test_every_command_of_the_catalogue_is_there():
    assert {leaf.prog.split()[1] for leaf in LEAVES} == {command.name for command in COMMANDS}
    for word in [
        "execute",
        "history",
        "status",
        "monitor",
        "plan",
        "why",
        "show",
        "logs",
        "cancel",
        "retry",
        "up",
        "worker",
        "beat",
        "flower",
        "doctor",
    ]:
        assert word in {command.name for command in COMMANDS}


@pytest.mark.parametrize("leaf", LEAVES, ids=lambda leaf: leaf.prog)
def test_help_ends_with_exit_statuses_and_examples_that_work(leaf):
    assert leaf.statuses[0] == 0
    assert set(leaf.statuses) <= set(MEANING)
    assert "EXIT STATUS: 0 done" in leaf.format_help()
    for example in leaf.examples:
        words = shlex.split(
            example.split("$(")[-1].split(" > ")[0].rstrip(')"') if "completion" in example else example
        )
        assert words[0] == "opsqueue"
        assert build(words[1]).parse_args(words[1:]).command == words[1]
