"""Stories: a handed-in clock, a host that is a dictionary, a real SQLite record."""

from __future__ import annotations

import math
import shutil
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from opsqueue.errors import HostNotTrusted, HostUnreachable, SentTooLate
from opsqueue.model.fact import CUT_OFF, Fact, Script, unknown
from opsqueue.model.host import Host
from opsqueue.model.inventory import Inventory
from opsqueue.model.kind import Analysis, Finding, Metric, OperationKind, Params
from opsqueue.model.names import WORKED, Risk, Severity, Sort, Stage
from opsqueue.model.plan import NOTHING, Command, Plan, Result, Step
from opsqueue.model.request import parse_request
from opsqueue.model.sample import SeriesWanted
from opsqueue.notify.receipt import Receipt
from opsqueue.pipeline.advance import advance
from opsqueue.pipeline.shard import run_shard
from opsqueue.pipeline.submit import submit
from opsqueue.pipeline.views import whole
from opsqueue.pipeline.world import World
from opsqueue.settings import Settings
from opsqueue.store import holds, operations
from opsqueue.store.engine import Store
from opsqueue.store.upgrade import upgrade


class Crash(BaseException):
    """The worker is gone: nothing after this line happens."""


class SetParams(Params):
    """Bring `value` to `to` by `steps` commands."""

    to: int = 1
    steps: int = 1


@dataclass
class Machine:
    """What a host is, for a story: a number, a tally of the commands that were sent, and its faults."""

    value: int = 0
    tally: list[str] = field(default_factory=list)
    allowed: list[float] = field(default_factory=list)
    """How many seconds each of them might still be sent."""
    reachable: bool = True
    trusted: bool = True
    """Whether it shows the key that is pinned."""
    breaks: set[str] = field(default_factory=set)
    """Commands that end with exit code 1 and change nothing."""
    crash_before: str = ""
    crash_after: str = ""
    lost: set[str] = field(default_factory=set)
    """Commands in the middle of which the way to the host is lost."""
    too_late: list[Callable] = field(default_factory=list)
    """What happens elsewhere while a command takes so long to be sent that it must not be any more, once for each."""
    wrong: bool = False
    """Commands seem to work, the value is not as wanted."""
    running: set[str] = field(default_factory=set)
    asked: int = 0
    during: dict[str, Callable] = field(default_factory=dict)
    """What happens elsewhere while a command runs here, once for each command."""
    cut: set[int] = field(default_factory=set)
    """The questions, by their number, whose answer is cut off."""
    while_asked: dict[int, Callable] = field(default_factory=dict)
    """What happens elsewhere while the host is asked for the n-th time."""


@dataclass
class FakeShell:
    machine: Machine

    def greet(self):
        if not self.machine.reachable:
            raise HostUnreachable("the host is down")
        if not self.machine.trusted:
            raise HostNotTrusted("no key is pinned: `opsqueue hosts trust`")

    def ask(self, facts):
        self.greet()
        self.machine.asked += 1
        self.machine.while_asked.pop(self.machine.asked, lambda: None)()
        if self.machine.asked in self.machine.cut:
            return {fact.name: unknown(CUT_OFF) for fact in facts}
        return {fact.name: {"value": self.machine.value} if fact.name == "value" else {} for fact in facts}

    def run(self, command, mark="", *, not_after=math.inf):
        word = " ".join(command.argv)
        if self.machine.crash_before == word:
            self.machine.crash_before = ""
            raise Crash
        if self.machine.too_late:
            self.machine.too_late.pop(0)()
            raise SentTooLate("it was to be sent earlier")
        self.machine.allowed.append(not_after - time.monotonic())
        self.machine.tally.append(word)
        self.machine.during.pop(word, lambda: None)()
        if word in self.machine.lost:
            self.machine.lost.discard(word)
            self.machine.running.add(word)
            return Result(exit_code=None, stderr="the connection was lost in the middle of the command")
        if word in self.machine.breaks:
            return Result(exit_code=1, stderr="it broke")
        self.machine.value = -1 if self.machine.wrong and "back" not in word else int(command.argv[-1])
        if self.machine.crash_after == word:
            self.machine.crash_after = ""
            raise Crash
        return Result(exit_code=0, stdout="done")

    def busy(self, mark):
        return bool(self.machine.running)

    def close(self):
        pass


def _set(params: SetParams, facts) -> Plan:
    found = facts["value"]["value"]
    if found == params.to:
        return Plan(note=f"it is {params.to} already")
    numbers = range(params.to - params.steps + 1, params.to + 1)
    return Plan(steps=tuple(Step(title=f"set {n}", command=Command(argv=("set", str(n)))) for n in numbers))


def _back(params, before, after) -> Plan:
    if before["value"] == after["value"]:
        return NOTHING
    return Plan(steps=(Step(title="back", command=Command(argv=("back", str(before["value"]["value"])))),))


_FACTS = (Fact(name="value", ask=Script(text="cat value")),)

CHANGING = OperationKind(
    name="set_value",
    summary="a changing type",
    sort=Sort.CHANGING,
    params=SetParams,
    facts=lambda params: _FACTS,
    objections=lambda params, facts: ("the value is cursed",) if facts["value"]["value"] == 13 else (),
    plan=_set,
    verify=lambda params, before, after: (
        () if after["value"]["value"] == params.to else (f"the value is {after['value']['value']}",)
    ),
    rollback=_back,
    restored=lambda params, before, after: () if before["value"] == after["value"] else ("it is not as it was",),
    risk=lambda params: Risk.REVERSIBLE,
)
REDO = replace(CHANGING, name="redo_value", redo=True)


class FreeText(Params):
    """Whatever somebody writes."""

    any: object = None


FREE_TEXT = OperationKind(
    name="free_text", summary="takes anything", sort=Sort.LOOKING, params=FreeText, facts=lambda params: _FACTS
)
LOOKING = OperationKind(
    name="look_value",
    summary="a looking type",
    sort=Sort.LOOKING,
    params=SetParams,
    facts=lambda params: _FACTS,
    verify=lambda params, before, after: () if after["value"]["value"] + 1 else ("it is -1",),
    measure=lambda params, before, after: (Metric(name="value", value=after["value"]["value"], unit="count"),),
    analyse=lambda params, seen: Analysis(
        findings=(Finding(severity=Severity.WARNING, code="seen", host=seen.host, message="it was seen"),), score=80
    ),
)

#: Whose analysis tells what it was shown of the host's past.
LOOKING_BACK = replace(
    LOOKING,
    name="look_back",
    series=lambda params: (SeriesWanted(name="day", metrics=("val*",), ago=86_400, step=3600),),
    compares=True,
    analyse=lambda params, seen: Analysis(
        metrics=(Metric(name="looks", value=1.0 + len(seen.earlier_findings or ()), unit="count"),),
        findings=(
            Finding(
                severity=Severity.INFO,
                code="shown",
                message="",
                evidence={
                    "points": [(p.low, p.mean, p.high, p.count) for p in seen.series["day"].get("value", ())],
                    "before": seen.earlier_findings and [one["code"] for one in seen.earlier_findings],
                    "hosts": seen.hosts,
                    "occasions": asdict(seen.occasions(seen.at - 3600)),
                },
            ),
        ),
    ),
)


@dataclass
class Clock:
    at: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.at


@dataclass
class Dying:
    """A record whose worker is gone at its n-th write: just before that is kept, or just after."""

    store: Store
    at: int
    kept: bool = False
    writes: int = 0

    @contextmanager
    def begin(self, *, lasting=True):
        self.writes += 1
        gone = self.writes == self.at
        with self.store.begin(lasting=lasting) as tx:
            yield tx
            if gone and not self.kept:
                raise Crash
        if gone:
            raise Crash

    def __getattr__(self, name):
        return getattr(self.store, name)


class Forgetful:
    """A record that loses, before its n-th write, all that it was not told to keep; then the worker is gone as well,
    or, when only the database crashed, `meanwhile` happens and the worker goes on.
    """

    def __init__(self, store: Store, at: int, meanwhile: Callable | None = None) -> None:
        self.store, self.at, self.meanwhile, self.writes = store, at, meanwhile, 0
        self._file = store.url.removeprefix("sqlite:///")
        self._keep()

    def _keep(self):
        _copy(self._file, f"{self._file}.kept")

    @contextmanager
    def begin(self, *, lasting=True):
        self.writes += 1
        if self.writes == self.at:
            _copy(f"{self._file}.kept", self._file)
            if self.meanwhile is None:
                raise Crash
            self.meanwhile()
        with self.store.begin(lasting=lasting) as tx:
            yield tx
        if lasting:
            self._keep()

    def __getattr__(self, name):
        return getattr(self.store, name)


def _copy(source, target):
    with closing(sqlite3.connect(source)) as one, closing(sqlite3.connect(target)) as other:
        one.backup(other)


_MADE: dict[str, Settings] = {}
"""Settings that stories asked for so far: frozen, and making some costs more than working a stage."""


@dataclass
class Story:
    """One record, one clock, some hosts; `drive` works what is due until nothing is, as workers would."""

    store: Store
    clock: Clock
    machines: dict[str, Machine]
    settings: dict
    nudges: list = field(default_factory=list)
    told: list = field(default_factory=list)
    receipts: dict = field(default_factory=dict)
    coordinators: tuple = ()
    own_workers: set = field(default_factory=set)
    """Hosts that have a worker of their own; nobody else reaches them."""
    connector: str = "local"
    """How the other hosts are reached."""
    shards: list = field(default_factory=list)
    """Messages for shards that nobody has taken yet: `(operation, number, queue)`."""
    away: set = field(default_factory=set)
    """Queues that nobody takes from."""

    def world(self, worker: str = "worker-1", **settings) -> World:
        chosen = self._chosen({**self.settings, **settings})
        return World(
            store=self.store,
            settings=chosen,
            kinds={kind.name: kind for kind in (CHANGING, REDO, LOOKING, LOOKING_BACK, FREE_TEXT)},
            connect=lambda host: self._connect(host, worker),
            tell=self._tell,
            dispatch=lambda operation: self.nudges.append((operation.id, operation.stage)),
            now=self.clock,
            coordinators=self.coordinators,
            worker=worker,
            own_host=worker.removeprefix("host.") if worker.startswith("host.") else "",
            dispatch_shard=lambda operation, shard: self.shards.append((operation.id, shard.number, shard.queue)),
            directory=lambda: Inventory({name: self._host(name) for name in self.machines}),
            windows=chosen.windows(),
        )

    def _host(self, name):
        return Host(name=name, connector="worker" if name in self.own_workers else self.connector)

    def _connect(self, host, worker):
        if host.name in self.own_workers and worker != f"host.{host.name}":
            raise AssertionError(f"{worker} has no way to {host.name}")
        return FakeShell(self.machines[host.name])

    def work_shards(self, *, but=(), **settings):
        """What workers do that get the messages for shards; those on the queues in `but` are away."""
        messages, self.shards = self.shards, []
        for operation_id, number, queue in messages:
            if queue in but:
                continue
            worker = queue if queue.startswith("host.") else f"other-{number}"
            try:
                run_shard(self.world(worker, **settings), operation_id, number)
            except Crash:
                continue

    def _chosen(self, given):
        key = repr((sorted(self.machines), given))
        if key not in _MADE:
            _MADE[key] = Settings(hosts={name: {"connector": "local"} for name in self.machines}, **given)
        return _MADE[key]

    def _tell(self, channel, message, event_id):
        self.told.append((channel, event_id, message.title))
        return self.receipts.get(channel, Receipt(status="accepted", error="", permanent=False))

    def ask(self, type="set_value", systems=("h1",), parameters=None, **more):
        request = parse_request(
            {"name": "story", "type": type, "target_systems": list(systems), "parameters": parameters or {}, **more}
        )
        return submit(self.world(), request).id

    def step(self, operation_id, *, go_on=False, **settings):
        """Work the stage where the operation rests, once, if it is due."""
        return advance(self.world(**settings), operation_id, self.raw(operation_id).stage, go_on=go_on)

    def drive(self, operation_id, steps=60, **settings):
        """Work whatever is due, going forward in time to when it is due, until it is closed or waits for somebody."""
        for _ in range(steps):
            now = self.raw(operation_id)
            due = now.due_at
            if now.stage is Stage.CLOSED or due is None or due > self.clock.at + 600:
                break
            self.clock.at = max(self.clock.at, due)
            try:
                self.step(operation_id, **settings)
                self.work_shards(but=self.away, **settings)
            except Crash:
                continue
        return self.show(operation_id)

    def dying(self, at, *, kept=False):
        """From now on, the worker that makes the n-th write dies; 0: only count."""
        self.store = Dying(self.store, at, kept)
        return self.store

    def forgetting(self, at, meanwhile=None):
        """From now on the record waits for the disk only where it is told to, and before the n-th write it crashes."""
        self.store = Forgetful(self.store, at, meanwhile)
        return self.store

    def crash(self):
        """The worker that comes here is gone."""
        raise Crash

    def raw(self, operation_id):
        """The operation as it stands in the record."""
        with self.store.read() as connection:
            return operations.get(connection, operation_id)

    def show(self, operation_id):
        return whole(self.store, operation_id, self.clock.at)

    def check(self, operation_id, host="h1"):
        """What must hold of any operation at rest, whatever happened to its workers."""
        shown, tally = self.show(operation_id), self.machines[host].tally
        assert list(dict.fromkeys(stage["stage"] for stage in shown["stages"])) == [stage.value for stage in WORKED]
        assert len(tally) == len(set(tally)), tally
        assert shown["outcome"] in {"succeeded", "partial", "rolled_back", "failed", "unknown", "unchanged"}
        if shown["stage"] != "closed":
            assert shown["outcome"] == "unknown"
            assert shown["waits_for"], "it stays open and does not say for what"
        with self.store.read() as connection:
            assert not holds.running(connection, "nobody")
            assert not holds.lock_holders(connection, [host], "nobody")
        return shown

    def results(self, operation_id):
        return [(stage["stage"], stage["result"]) for stage in self.show(operation_id)["stages"]]


@pytest.fixture(scope="session")
def migrated(tmp_path_factory):
    """A database with all tables; each story gets a copy, because migrating costs more than a story."""
    path = tmp_path_factory.mktemp("migrated") / "empty.db"
    store = Store(f"sqlite:///{path}")
    upgrade(store)
    store.close()
    return path


@pytest.fixture(scope="session")
def one_store(tmp_path_factory):
    """The same for all stories, so that each statement is compiled once; its file is another each time."""
    return Store(f"sqlite:///{tmp_path_factory.mktemp('record') / 'story.db'}")


@pytest.fixture
def story(migrated, one_store):
    path = Path(one_store.url.removeprefix("sqlite:///"))
    shutil.copy(migrated, path)
    yield Story(one_store, Clock(), {"h1": Machine(), "h2": Machine(), "h3": Machine()}, {"state_dir": path.parent})
    one_store.close()
    for left in path.parent.glob("story.db*"):
        left.unlink()


@pytest.fixture(scope="session")
def stories():
    """The nouns of the stories, for a record that several tests read."""
    return SimpleNamespace(Clock=Clock, Machine=Machine, Story=Story)


@pytest.fixture
def line(empty, story):
    """The command line with the record of the story."""
    empty.set(database_url=story.store.url)
    return empty
