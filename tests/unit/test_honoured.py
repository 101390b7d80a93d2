"""A name in the settings that means nothing is refused, for it would protect nothing."""

from __future__ import annotations

import pytest

from opsqueue.connectors.inventory.directory import merged
from opsqueue.connectors.inventory.place import Place
from opsqueue.errors import InvalidConfig
from opsqueue.operations import catalogue
from opsqueue.pipeline.honoured import honoured
from opsqueue.settings import Settings

HOSTS = {"web-1": {"connector": "local"}}


TAGGED = {"hosts": {"web-1": {"connector": "local", "tags": ["x"]}, "b": {}}, "groups": {"web": ["web-1"]}}


def window(**scope):
    return {"maintenance_windows": {"nightly": {"spec": "02:00-04:00", **scope}}}


def entry(**given):
    return {"schedule": {"mine": {"type": "health_check", **given}}}


def judge(**given):
    settings = Settings(**{"hosts": HOSTS, **given})
    honoured(
        settings, catalogue(), merged(settings, [Place(where="here", hosts=settings.hosts, groups=settings.groups)])
    )


def rule(*hosts):
    return {"alerts": {"rules": [{"name": "r", "condition": "cpu_usage > 1", "hosts": hosts}]}}


def rollback(kind, **parameters):
    return {"deployments": {"shop": {"rollback": {"type": kind, "parameters": parameters}}}}


WITH_SERVICE = {"hosts": {**HOSTS, "b": {"parameters": {"service_restart": {"service_name": "nginx"}}}}}
GOOD = {
    "nothing": {},
    "a window for a host": window(hosts=["web-1"]),
    "a window for a type by its short name": window(types=["backup"]),
    "a window for a group that another place has": {**window(groups=["web"]), "groups": {"web": ["web-1"]}},
    "a schedule for a group, a tag and a pattern": {**entry(every=60, systems=["web", "tag:x", "web-*"]), **TAGGED},
    "a schedule for all but some": {**entry(every=60, systems=["!web-1"]), **TAGGED},
    "a schedule for a group in which nobody is": {**entry(every=60, systems=["none"]), "groups": {"none": []}},
    "rollout of a type": {"rollout": {"types": {"service_restart": {"batch": 2}}}},
    "a limit": {"max_concurrent_by_type": {"service_restart": 1}},
    "a cron": entry(cron="30 2 * * mon-fri"),
    "Sunday as 7": entry(cron="0 0 * * 7"),
    "a built-in entry turned off": {"schedule": {"backup": False}},
    "a schedule with parameters": entry(every=60, parameters={"checks": []}),
    "a schedule whose host says the rest": {**entry(every=60, type="service_restart", systems=["b"]), **WITH_SERVICE},
    "a rule for a host, a group, a tag and all": {**rule("web-1", "group:web", "tag:x", "all"), **TAGGED},
    "a rollback": rollback("service_restart", service_name="shop"),
    "a rollback of a version": rollback(
        "health_check",
        checks=[{"kind": "http", "name": "a", "url": "http://h/{previous_version}", "conditions": ["[STATUS] == 200"]}],
    ),
    "a rollback whose host says the rest": {**rollback("service_restart"), **WITH_SERVICE},
}
WRONG = {
    "a window for no type": (window(types=["service_restat"]), "did you mean 'service_restart'"),
    "a limit for no type": ({"max_concurrent_by_type": {"nosuch": 1}}, "max_concurrent_by_type"),
    "parameters of no type": (
        {"hosts": {"a": {"connector": "local", "parameters": {"nosuch": {}}}}},
        "hosts.a.parameters",
    ),
    "parameters that are none": (
        {"hosts": {"a": {"connector": "local", "parameters": {"service_restart": {"sude": False}}}}},
        "did you mean 'sudo'",
    ),
    "a schedule of no type": ({"schedule": {"mine": {"type": "nosuch", "every": 60}}}, "schedule.mine.type"),
    "a schedule for no host": (entry(every=60, systems=["web-9"]), "did you mean 'web-1'"),
    "a schedule that spares no host": (entry(every=60, systems=["all", "!web-9"]), "did you mean 'web-1'"),
    "rollout of no type": ({"rollout": {"types": {"restart": {}}}}, "rollout.types"),
    "a window for no host": (
        window(hosts=["web-2"]),
        "maintenance_windows.nightly.hosts: there is no host 'web-2'; did",
    ),
    "a window for no group": (window(groups=["web"]), "maintenance_windows.nightly.groups: there is no group 'web'"),
    "a cron that is none": (entry(cron="bogus"), "5 fields"),
    "a cron with seconds": (entry(cron="* * * * * *"), "5 fields"),
    "a cron that never comes": (entry(cron="0 0 31 2 *"), "never comes"),
    "a cron beyond the clock": (entry(cron="60 * * * *"), "cannot be read"),
    "a schedule with parameters that are none": (
        entry(every=60, parameters={"chekcs": []}),
        "schedule.mine.parameters cannot be accepted: chekcs: there is nothing of this name; did you mean 'checks'",
    ),
    "a schedule without what is needed": (entry(every=60, type="service_restart"), "service_name: must be given"),
    "a schedule whose other host says the rest": (
        {**entry(every=60, type="service_restart", systems=["web-1"]), **WITH_SERVICE},
        "service_name: must be given",
    ),
    "a rollback with parameters that are none": (
        rollback("system_monitoring", metricz=[]),
        "deployments.shop.rollback.parameters cannot be accepted: metricz: there is nothing of this name; did you mean",
    ),
    "a rule for no host": (rule("web-"), "alerts.rules.r.hosts: there is no host 'web-'; did you mean 'web-1'"),
    "a rule for a group that does not say so": (
        {**rule("web"), **TAGGED},
        "there is no host 'web'; it is a group: write group:web",
    ),
    "an unknown entry turned off": ({"schedule": {"backups": False}}, "did you mean 'backup'"),
}


@pytest.mark.parametrize("given", GOOD.values(), ids=GOOD)
def test_what_can_be_done_is_accepted(given):
    judge(**given)


@pytest.mark.parametrize(("given", "said"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_done_is_refused_with_the_nearest_word(given, said):
    with pytest.raises(InvalidConfig) as raised:
        judge(**given)
    assert said in raised.value.message


def test_of_much_that_is_wrong_the_first_is_told(tmp_path):
    with pytest.raises(InvalidConfig, match="and 18 more"):
        judge(**window(hosts=[f"db-{number}" for number in range(30)]))
