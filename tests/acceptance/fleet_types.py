"""Installed as a package of its own into the workers of some stories: a type whose hosts tally what they are sent."""

from __future__ import annotations

from opsqueue.model.fact import Fact, Script
from opsqueue.model.kind import OperationKind, Params
from opsqueue.model.names import Risk, Sort
from opsqueue.model.plan import Command, Plan, Step

# "$1" is the folder of the host, "$2" what it is to become. While a file `hold` is there the command goes on. It
# prints nothing: nobody may be there any more to read it.
_BECOME = """\
echo "$OPSQUEUE_MARK $2" >>"$1/tally"
while [ -e "$1/hold" ]; do sleep 0.05; done
echo "$2" >"$1/state"
"""


class Become(Params):
    """What a host is to become."""

    home: str
    """The folder of the host; each host has its own, by `parameters` in the inventory."""
    state: str = "new"


def _facts(params: Become) -> tuple[Fact, ...]:
    ask = Script(text='cat "$1"', args=(f"{params.home}/state",))
    return (Fact(name="state", ask=ask, parse=lambda result: result.stdout.strip()),)


def _step(params: Become, state: str) -> Plan:
    argv = ("sh", "-c", _BECOME, "become", params.home, state)
    return Plan(steps=(Step(title=f"become {state}", command=Command(argv=argv, timeout=60)),))


def _plan(params: Become, facts) -> Plan:
    return Plan(note="it is so already") if facts["state"] == params.state else _step(params, params.state)


def _verify(params: Become, before, after) -> tuple[str, ...]:
    return () if after["state"] == params.state else (f"it is {after['state']}, not {params.state}",)


def _rollback(params: Become, before, after) -> Plan:
    return Plan() if before["state"] == after["state"] else _step(params, before["state"])


def _restored(params: Become, before, after) -> tuple[str, ...]:
    return () if after["state"] == before["state"] else (f"it is {after['state']}, it was {before['state']}",)


BECOME = OperationKind(
    name="become",
    summary="Write a word into a file of the host",
    sort=Sort.CHANGING,
    params=Become,
    facts=_facts,
    plan=_plan,
    verify=_verify,
    rollback=_rollback,
    restored=_restored,
    risk=lambda _params: Risk.REVERSIBLE,
)
