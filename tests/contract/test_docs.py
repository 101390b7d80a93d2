"""The documentation says what the code says: settings, gates, types, errors, windows, links, examples."""

from __future__ import annotations

import re
import subprocess
import tomllib
from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import get_args
from zoneinfo import ZoneInfo

import pytest
import yaml
from pydantic import BaseModel

from opsqueue import errors, settings_alerts, settings_channels, settings_parts
from opsqueue.beat_schedule import built_in_names
from opsqueue.cli import schema
from opsqueue.kpi.definitions import DEFINITIONS
from opsqueue.model.alert_rule import AlertRule, RemediationPolicy, Route
from opsqueue.model.deployment import DeploymentEvent, DeploymentState, Rollback
from opsqueue.model.kind import OperationKind
from opsqueue.model.request import OperationConfig, strict_json
from opsqueue.model.window import parse_window
from opsqueue.operations import OWN
from opsqueue.operations.health.checks import AnyCheck
from opsqueue.settings import Settings, load

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
PARTS = {
    "alert_thresholds": settings_parts.Thresholds,
    "alerts": settings_alerts.AlertSettings,
    "hosts": settings_parts.HostSettings,
    "ssh": settings_parts.SshSettings,
    "rollout": settings_parts.RolloutSettings,
    "maintenance_windows": settings_parts.WindowSettings,
    "notification_rules": settings_channels.ChannelRules,
    "verification": settings_parts.CoordinatorSettings,
    "schedule": settings_parts.ScheduleSettings,
    "worker": settings_parts.WorkerSettings,
    "logging": settings_parts.LoggingSettings,
    "flower": settings_parts.FlowerSettings,
    "kpi": settings_parts.KpiSettings,
    "deployments": settings_parts.DeploymentSettings,
}


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def anchor(heading: str) -> str:
    """As GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def section(page: str, heading: str) -> str:
    found = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", text(page), re.MULTILINE | re.DOTALL)
    assert found, f"{page} has no heading {heading!r}"
    return found[1]


def rows(table: str) -> dict[str, list[str]]:
    """The cells of each row by each word that its first cell has in backticks."""
    found = {}
    for line in table.splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for name in re.findall(r"`([^`]+)`", cells[0]) if cells else ():
            found[name] = cells
    return found


def unfenced(page: Path) -> str:
    return re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


# -- settings -----------------------------------------------------------------------------------------------


def test_every_setting_has_its_row_and_no_row_is_left_over() -> None:
    assert sorted(rows(section("docs/configuration.md", "All settings"))) == sorted(Settings.model_fields)


@pytest.mark.parametrize("name", PARTS)
def test_every_key_of_a_part_has_its_row(name: str) -> None:
    assert sorted(rows(section("docs/configuration.md", name))) == sorted(PARTS[name].model_fields)


def _simple_defaults(model: type[BaseModel]) -> Iterator[tuple[str, str]]:
    for name, field in model.model_fields.items():
        if isinstance(field.default, bool | int | float):
            yield name, str(field.default).lower() if isinstance(field.default, bool) else f"{field.default:g}"


@pytest.mark.parametrize(("heading", "model"), [("All settings", Settings), *PARTS.items()])
def test_defaults_are_those_of_the_model(heading: str, model: type[BaseModel]) -> None:
    said = rows(section("docs/configuration.md", heading))
    for name, default in _simple_defaults(model):
        assert said[name][1] == default, name


@pytest.mark.parametrize(
    ("heading", "model"), [("Rules", AlertRule), ("Who is told", Route), ("Repairs", RemediationPolicy)]
)
def test_the_fields_of_alerts_have_their_rows(heading: str, model: type[BaseModel]) -> None:
    said = set(rows(section("docs/alerts.md", heading))) - {
        "alerts.routes",
        "remediation" if model is not AlertRule else "",
    }
    assert said == set(model.model_fields)


def test_the_fields_of_a_request_have_their_rows() -> None:
    assert list(rows(section("docs/python.md", "OperationConfig")))[:1] == ["name"]
    assert set(OperationConfig.model_fields) <= set(rows(section("docs/python.md", "OperationConfig")))


# -- gates --------------------------------------------------------------------------------------------------


def test_every_gate_file_has_a_heading() -> None:
    gates = {path.stem for path in (ROOT / "opsqueue/gates").glob("*.py")} - {"__init__", "evidence"}
    assert set(re.findall(r"^## (\w+)$", text("docs/gates.md"), re.MULTILINE)) == gates


@pytest.mark.parametrize(
    ("day", "spec", "hours"),
    [
        ((2026, 3, 29), "02:00-04:00", [1]),
        ((2026, 3, 29), "02:00-03:00", []),
        ((2026, 3, 29), "01:00-05:00", [3]),
        ((2026, 10, 25), "02:00-04:00", [3]),
        ((2026, 10, 25), "02:15-02:45", [0.5, 0.5]),
        ((2026, 10, 25), "01:00-05:00", [5]),
    ],
)
def test_the_table_about_changes_of_the_clock_is_true(day: tuple[int, int, int], spec: str, hours: list[float]) -> None:
    zone = ZoneInfo("Europe/Berlin")
    begin = datetime(*day, tzinfo=zone)
    window = parse_window("x", spec, timezone="Europe/Berlin")
    that_day = [
        one.seconds / 3600
        for one in window.occurrences(begin.timestamp(), 4)
        if datetime.fromtimestamp(one.opens, zone).date() == begin.date()
    ]
    assert that_day == hours
    assert f"`{spec}`" in section("docs/gates.md", "maintenance_window")


def test_the_windows_that_are_shown_can_be_read() -> None:
    shown = re.findall(r"`((?:[A-Z][\w,-]* )*\d\d:\d\d-\d\d:\d\d)`", section("docs/gates.md", "maintenance_window"))
    assert len(shown) > 5
    for spec in shown:
        parse_window("x", spec)


# -- operation types ----------------------------------------------------------------------------------------


def _page(kind: OperationKind) -> str:
    return text(f"docs/operations/{kind.name}.md")


@pytest.mark.parametrize("kind", OWN, ids=lambda kind: kind.name)
def test_every_parameter_stands_on_the_page_of_its_type(kind: OperationKind) -> None:
    names = {field["name"] for field in schema.fields(kind.params)} | {"kind"} - {"kind"}
    told = set(rows(_page(kind)))
    missing = {name for name in names if name not in told and name.removeprefix("checks.") not in told | {"kind"}}
    assert missing == set()


def test_every_kind_of_check_has_a_heading_with_its_parameters() -> None:
    page = text("docs/operations/health_check.md")
    common = set(rows(page.partition("### kind")[0]))
    for model in get_args(get_args(AnyCheck)[0]):
        kind = get_args(model.model_fields["kind"].annotation)[0]
        found = re.search(rf"^### kind `{kind}`\n(.*?)(?=^##)", page, re.MULTILINE | re.DOTALL)
        assert found, f"there is no heading for checks of the kind {kind}"
        own = set(rows(found[1]))
        assert set(model.model_fields) - {"kind"} <= own | common, kind
        assert own <= set(model.model_fields), kind


def _expected(kind: OperationKind, what: str) -> set[str]:
    """What the golden cases of a type expect: codes of findings, or metrics without the part after the colon."""
    found: set[str] = set()
    for path in (ROOT / "tests/operations" / kind.name).glob("*.toml"):
        expect = tomllib.loads(path.read_text(encoding="utf-8"))["expect"]
        if what == "findings":
            found |= {finding.split()[1] for finding in expect.get("findings", ())}
        else:
            found |= {name.partition(":")[0] for name, value in expect.get("metrics", {}).items() if value != "absent"}
    return found


@pytest.mark.parametrize("kind", OWN, ids=lambda kind: kind.name)
@pytest.mark.parametrize("what", ["findings", "metrics"])
def test_every_finding_and_metric_of_the_golden_cases_stands_on_the_page(kind: OperationKind, what: str) -> None:
    told = {name.partition(":")[0] for name in rows(section(f"docs/operations/{kind.name}.md", what.capitalize()))}
    expected = _expected(kind, what)
    assert expected
    assert expected - told == set()


@pytest.mark.parametrize("kind", OWN, ids=lambda kind: kind.name)
def test_no_finding_is_told_that_the_code_does_not_have(kind: OperationKind) -> None:
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "opsqueue/operations").rglob("*.py"))
    for name in rows(section(f"docs/operations/{kind.name}.md", "Findings")):
        assert f'"{name}"' in code, name


@pytest.mark.parametrize("kind", OWN, ids=lambda kind: kind.name)
def test_every_page_has_the_same_parts(kind: OperationKind) -> None:
    for heading in (
        "What it asks of a host",
        "Parameters",
        "Metrics",
        "Findings",
        "Dry run",
        "Rollback",
        "After a crash",
    ):
        assert section(f"docs/operations/{kind.name}.md", heading).strip()


def test_the_readme_names_every_type() -> None:
    for kind in OWN:
        assert f"docs/operations/{kind.name}.md" in text("README.md")


# -- errors -------------------------------------------------------------------------------------------------


def test_every_error_has_its_row_with_code_and_exit_status() -> None:
    said = {
        name: (cells[1].strip("`"), int(cells[2]))
        for name, cells in rows(section("docs/python.md", "Methods")).items()
        if hasattr(errors, name)
    }
    classes = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, errors.OpsqueueError)]
    assert said == {one.__name__: (one.code, one.exit_code) for one in classes}


def test_every_exit_status_of_an_error_stands_in_the_table_of_the_command_line() -> None:
    told = {int(number) for number in re.findall(r"^\| (\d+) \|", section("docs/cli.md", "Exit status"), re.MULTILINE)}
    classes = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, errors.OpsqueueError)]
    assert {one.exit_code for one in classes} <= told


def test_every_key_figure_has_its_row_with_the_definition_that_is_printed() -> None:
    said = rows(section("docs/kpi.md", "Figures"))
    assert [[f"`{one.name}`", one.unit, one.meaning, one.sample] for one in DEFINITIONS] == [
        said.get(one.name) for one in DEFINITIONS
    ]


# -- deployments --------------------------------------------------------------------------------------------


def test_every_field_of_an_event_has_its_row() -> None:
    assert list(rows(section("docs/deployments.md", "The event"))) == list(DeploymentEvent.model_fields)


def test_every_key_of_a_rollback_has_its_row() -> None:
    assert list(rows(section("docs/deployments.md", "Configuration"))) == list(Rollback.model_fields)


def test_every_state_of_a_deployment_has_its_row_and_says_whether_it_is_over() -> None:
    said = {
        name: cells[2].startswith("over")
        for name, cells in rows(section("docs/deployments.md", "What follows")).items()
    }
    assert said == {state.value: state.over for state in DeploymentState}


# -- links, words, fences -----------------------------------------------------------------------------------


def _anchors(page: Path) -> set[str]:
    return {anchor(heading) for heading in re.findall(r"^#+ (.+)$", unfenced(page), re.MULTILINE)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_resolves(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", unfenced(page)):
        if re.match(r"[a-z]+:", target):
            continue
        where, _, mark = target.partition("#")
        path = (page.parent / where).resolve() if where else page
        assert path.exists(), target
        assert not mark or mark in _anchors(path), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_fence_is_closed_and_says_its_language(page: Path) -> None:
    fences = re.findall(r"^```(.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(fences) % 2 == 0
    assert all(opening and not closing for opening, closing in list(pairwise(fences))[::2])


def test_examples_in_json_and_toml_can_be_read() -> None:
    for page in PAGES:
        for language, body in re.findall(
            r"^```(json|toml)\b[^\n]*\n(.*?)^```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL
        ):
            strict_json(body) if language == "json" else tomllib.loads(body)


# -- deploy -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["opsqueue.example.json", "opsqueue.example.toml"])
def test_the_example_configurations_are_accepted(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPSQUEUE_CONFIG", raising=False)
    found = load(str(ROOT / "deploy" / name))
    assert found.hosts
    assert len(found.windows()) > 1


def test_the_configuration_page_shows_the_example_file() -> None:
    assert text("deploy/opsqueue.example.json") in text("docs/configuration.md")


def test_compose_publishes_nothing_but_flower_on_loopback() -> None:
    services = yaml.safe_load(text("docker-compose.yml"))["services"]
    assert set(services) >= {"redis", "postgres", "worker", "beat", "flower"}
    assert {name: one["ports"] for name, one in services.items() if "ports" in one} == {
        "flower": ["127.0.0.1:5555:5555"]
    }
    for name in ("redis", "postgres", "worker", "flower"):
        assert services[name]["healthcheck"]["test"]


def test_the_environment_of_compose_is_one_that_settings_know() -> None:
    names = yaml.safe_load(text("docker-compose.yml"))["x-opsqueue"]["environment"]
    for name in names:
        setting, _, key = name.removeprefix("OPSQUEUE_").lower().partition("__")
        assert setting in Settings.model_fields, name
        assert not key or key in PARTS[setting].model_fields, name


def test_the_image_runs_as_nobody_special() -> None:
    lines = text("deploy/Dockerfile").splitlines()
    assert [line for line in lines if line.startswith("FROM")] == [
        "FROM python:3.11-slim AS build",
        "FROM python:3.11-slim",
    ]
    assert "USER opsqueue" in lines
    assert lines.index("USER opsqueue") < lines.index('ENTRYPOINT ["opsqueue"]')


def test_the_acl_gives_each_user_a_line_and_no_password_of_ours() -> None:
    lines = text("deploy/redis.acl").splitlines()
    assert [line.split()[1] for line in lines] == ["default", "admin", "opsqueue", "producer", "flower"]
    assert all("CHANGE-ME" in line for line in lines[1:])


@pytest.mark.service
@pytest.mark.parametrize("part", ["worker", "beat", "flower", "alerts"])
def test_systemd_understands_the_units(part: str, tmp_path: Path) -> None:
    unit = tmp_path / f"opsqueue-{part}.service"
    unit.write_text(text(f"deploy/{unit.name}").replace("/opt/opsqueue/bin/opsqueue", "/bin/true"))
    found = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stderr) == (0, "")


@pytest.mark.parametrize("part", ["worker", "beat", "flower", "alerts"])
def test_a_unit_begins_again_whatever_its_status_was(part: str) -> None:
    """Of 11 too, as often as it takes: its tries last longer than systemd's limit for starts looks back."""
    lines = text(f"deploy/opsqueue-{part}.service").splitlines()
    assert {"Restart=always", "RestartSec=2"} <= set(lines)
    assert not [line for line in lines if line.startswith(("RestartPrevent", "SuccessExit", "StartLimit"))]


def test_every_built_in_entry_of_the_schedule_is_listed() -> None:
    listed = re.findall(r"^- `([a-z-]+)`,", section("docs/configuration.md", "schedule"), re.MULTILINE)
    assert sorted(listed) == sorted(built_in_names(Settings()))


def test_the_short_ids_of_the_examples_mean_one_operation() -> None:
    """Whoever follows one page after the other has all of these in one record."""
    given = re.findall(r"--operation-id ([0-9a-f]{8}-[0-9a-f-]{27})", "".join(page.read_text() for page in PAGES))
    assert len(given) > 1
    assert len({one[:4] for one in given}) == len(set(given))
