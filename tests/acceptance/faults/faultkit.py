"""Installed into the workers of the fault stories: an operation type whose commands leave a trace, and holds.

A hold is a file. A worker that comes by says so in another file and waits there until the hold is gone, so that a
test can kill or stop it exactly there. Nothing else of the worker is changed: record, broker, hosts are the real ones.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from kombu.transport import redis as kombu_redis

from opsqueue.connectors.local import LocalShell
from opsqueue.model.fact import Fact, Script
from opsqueue.model.kind import Metric, OperationKind, Params
from opsqueue.model.names import Risk, Sort
from opsqueue.model.plan import NOTHING, Command, Plan, Step
from opsqueue.pipeline import advance, assemble, target
from opsqueue.pipeline.move import Move

_PLACE = Path(os.environ["FAULTKIT"])
_LONGEST_HOLD = 60.0

# "$1" is the place of everything, "$2" the host's file, "$3" the number to write, "$4" the word for the tally. The
# command writes nothing to stdout: nobody may be there any more to read it.
_TALLY = """\
operation=${OPSQUEUE_MARK%/*}
echo "$OPSQUEUE_MARK $4 $$ $(date +%s.%N)" >> "$1/tally"
hold="$1/hold/$operation.command-$4"
if [ -e "$hold" ]; then
    echo $$ > "$1/at/$operation.command-$4"
    while [ -e "$hold" ]; do sleep 0.02; done
fi
echo "$3" > "$2.new$$" && mv "$2.new$$" "$2"
"""


class TallyParams(Params):
    """Bring the number in a file of the host to `steps`, by as many commands; or one further each time."""

    steps: int = 2
    key: str = "value"
    home: str = ""
    one_more: bool = False
    breaks: bool = False
    """The last command leaves a number that is not the wanted one."""


def _file(params: TallyParams) -> str:
    return f"{params.home}/{params.key}"


def _facts(params: TallyParams) -> tuple[Fact, ...]:
    ask = Script(text='cat "$1" 2>/dev/null || echo 0', args=(_file(params),))
    return (Fact(name="value", ask=ask, parse=lambda result: int(result.stdout)),)


def _wanted(params: TallyParams, before) -> int:
    return before["value"] + 1 if params.one_more else params.steps


def _command(params: TallyParams, word: str, number: int) -> Step:
    argv = ("sh", "-c", _TALLY, "tally", str(_PLACE), _file(params), str(number), word)
    return Step(title=f"step {word}", command=Command(argv=argv, timeout=60))


def _plan(params: TallyParams, facts) -> Plan:
    last = _wanted(params, facts)
    numbers = range(facts["value"] + 1, last + 1)
    if not numbers:
        return Plan(note="the number is there")
    steps = [_command(params, str(n), n + 100 if params.breaks and n == last else n) for n in numbers]
    return Plan(steps=tuple(steps))


def _verify(params: TallyParams, before, after) -> tuple[str, ...]:
    wanted = _wanted(params, before)
    return () if after["value"] == wanted else (f"the number is {after['value']}, not {wanted}",)


def _rollback(params: TallyParams, before, after) -> Plan:
    return NOTHING if before["value"] == after["value"] else Plan(steps=(_command(params, "back", before["value"]),))


def _restored(_params: TallyParams, before, after) -> tuple[str, ...]:
    return () if before["value"] == after["value"] else (f"the number is {after['value']}, it was {before['value']}",)


TALLY = OperationKind(
    name="tally_change",
    summary="Count up a number in a file, one command for each step",
    sort=Sort.CHANGING,
    params=TallyParams,
    facts=_facts,
    plan=_plan,
    verify=_verify,
    rollback=_rollback,
    restored=_restored,
    measure=lambda params, before, after: (Metric(name="value", value=after["value"], unit="count"),),
    risk=lambda params: Risk.REVERSIBLE,
)


def point(operation_id: str, name: str) -> None:
    """Wait here as long as the test holds this operation at this point."""
    hold = _PLACE / "hold" / f"{operation_id}.{name}"
    if not hold.exists():
        return
    (_PLACE / "at" / f"{operation_id}.{name}").write_text(str(os.getpid()))
    until = time.monotonic() + _LONGEST_HOLD
    while hold.exists() and time.monotonic() < until:
        time.sleep(0.01)


def _held_stage(stage, work):
    def held(world, operation, known=None):
        point(operation.id, f"{stage}.taken")
        move = work(world, operation, known)
        if isinstance(move, Move):
            point(operation.id, f"{stage}.decided")
            return move
        return lambda tx: _decided(tx, move)

    def _decided(tx, move):
        decided = move(tx)
        point(decided.operation.id, f"{stage}.decided")
        return decided

    return held


def _word(step) -> str:
    return step.command.argv[-1]


def _held_send(send):
    def held(job, stands, step):
        point(job.operation.id, f"before-{_word(step)}")
        if _word(step) == "2":
            point(job.operation.id, f"on-{job.host.name}")
        return send(job, stands, step)

    return held


def _held_write(write):
    def held(job, stands, *lines):
        done = write(job, stands, *lines)
        if lines and lines[0].kind == "step":
            point(job.operation.id, f"written-{stands.steps[-1]['title'].removeprefix('step ')}")
        return done

    return held


def _held_run(run):
    def held(shell, command, mark="", **more):
        operation_id = mark.partition("/")[0]
        point(operation_id, f"unsent-{command.argv[-1]}")
        result = run(shell, command, mark, **more)
        point(operation_id, f"ended-{command.argv[-1]}")
        return result

    return held


def _held_tell(tell):
    def held(settings, channel, message, event_id):
        event = event_id.partition(":")[0]
        point(event, f"{channel.partition('#')[0]}-unsent")
        receipt = tell(settings, channel, message, event_id)
        point(event, f"{channel.partition('#')[0]}-told")
        return receipt

    return held


def _thrice(put):
    def often(channel, queue, message, **options):
        for _ in range(3 if (_PLACE / "thrice").exists() else 1):
            put(channel, queue, message, **options)

    return often


def install() -> None:
    """Put the points where the worker comes by."""
    for stage, work in list(advance._STAGES.items()):
        advance._STAGES[stage] = _held_stage(stage, work)
    target._send = _held_send(target._send)
    target.Job.write = _held_write(target.Job.write)
    assemble.tell = _held_tell(assemble.tell)
    LocalShell.run = _held_run(LocalShell.run)
    kombu_redis.Channel._put = _thrice(kombu_redis.Channel._put)


install()
