"""A name in the settings that means nothing is refused, for it would protect nothing."""

from __future__ import annotations

import pytest

from opsqueue.errors import InvalidConfig
from opsqueue.operations import catalogue
from opsqueue.pipeline.honoured import honoured
from opsqueue.settings import Settings

HOSTS = {"web-1": {"connector": "local"}}


def window(**scope):
    return {"maintenance_windows": {"nightly": {"spec": "02:00-04:00", **scope}}}


def entry(**given):
    return {"schedule": {"mine": {"type": "health_check", **given}}}


GOOD = {
    "nothing": {},
    "a window for a host": window(hosts=["web-1"]),
    "a window for a type by its short name": window(types=["backup"]),
    "a limit": {"max_concurrent_by_type": {"service_restart": 1}},
    "a cron": entry(cron="30 2 * * mon-fri"),
    "Sunday as 7": entry(cron="0 0 * * 7"),
    "a built-in entry turned off": {"schedule": {"backup": False}},
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
    "a cron that is none": (entry(cron="bogus"), "5 fields"),
    "a cron with seconds": (entry(cron="* * * * * *"), "5 fields"),
    "a cron that never comes": (entry(cron="0 0 31 2 *"), "never comes"),
    "a cron beyond the clock": (entry(cron="60 * * * *"), "cannot be read"),
    "an unknown entry turned off": ({"schedule": {"backups": False}}, "did you mean 'backup'"),
}


@pytest.mark.parametrize("given", GOOD.values(), ids=GOOD)
def test_what_can_be_done_is_accepted(given):
    honoured(Settings(**{"hosts": HOSTS, **given}), catalogue())


@pytest.mark.parametrize(("given", "said"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_done_is_refused_with_the_nearest_word(given, said):
    with pytest.raises(InvalidConfig) as raised:
        honoured(Settings(**{"hosts": HOSTS, **given}), catalogue())
    assert said in raised.value.message


@pytest.mark.parametrize("scope", [{"hosts": ["web-2"]}, {"groups": ["web"]}])
def test_a_window_that_would_cover_nothing_is_refused(scope):
    with pytest.raises(ValueError, match=r"maintenance_windows\.nightly"):
        Settings(hosts=HOSTS, **window(**scope))
