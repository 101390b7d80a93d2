"""Tuning: recommendations with their reasons; on request what needs no restart is set, and led back if it did not take.

The old values stand in the facts before. PostgreSQL keeps what is set (`ALTER SYSTEM`), and a copy of its file lies on
the host first, for a server that does not answer any more. MySQL and Redis forget it with their next start.
"""

from __future__ import annotations

from collections.abc import Iterator

from opsqueue.facts.databases import Server
from opsqueue.model.fact import Fact, Facts
from opsqueue.model.kind import Finding, Metric
from opsqueue.model.names import Severity
from opsqueue.model.plan import Plan, Step
from opsqueue.operations.database.hand import Hand
from opsqueue.operations.database.tuning_rules import Advice, advices, same, settings

_RELOAD = """\
when() { psql -XAtqw -c 'select pg_conf_load_time()'; }
bad=$(psql -XAtqw -c 'select count(*) from pg_file_settings f where error is not null and not exists
  (select from pg_settings s where s.name = f.name and s.pending_restart)')
was=$(when) && psql -XAtqw -v ON_ERROR_STOP=1 -c 'select pg_reload_conf()' >&2 || exit 1
[ "$bad" = 0 ] || { echo 'its files of settings have an error, so it may keep its old values' >&2; exit 0; }
for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do [ "$(when)" = "$was" ] || exit 0; sleep 0.2; done
"""
# Only the very file that was found before this run goes back.
_BACK = '[ -f "$1" ] || exit 0; [ "$(cksum <"$1")" = "$3" ] && cp -p -- "$1" "$2.new" && mv -T -- "$2.new" "$2"'


def after(_hand: Hand) -> Fact | None:
    """Nothing more is asked than before."""
    return None


def objections(hand: Hand) -> Iterator[str]:
    """Why it cannot be said what would be better."""
    if not settings(hand.server):
        yield f"the settings of this {hand.server.engine} could not be read; it may need a superuser"
    if hand.params.apply and hand.server.engine == "postgresql":
        if hand.server.props.get("superuser") != "true":
            yield "alter system needs a superuser of PostgreSQL; leave out apply, or give another user"
        yield from (f"its files of settings have an error, mend it first: {row}" for row in _bad(hand.server))


def _bad(server: Server) -> list[str]:
    return [" ".join(row[1:]).strip() for row in server.detail if row[0] == "bad"]


def chosen(hand: Hand) -> list[Advice]:
    """What is set, where that was asked for."""
    return [one for one in advices(hand) if one.how == "live"] if hand.params.apply else []


def _row(server: Server, kind: str, name: str = "") -> str:
    rows = [row for row in server.detail if row[0] == kind and (not name or row[1] == name)]
    return rows[-1][-1] if rows else ""


def plan(hand: Hand) -> Plan:
    """Set one value after the other; without `apply` nothing is sent, and the advice stands in the findings."""
    found, wanted = advices(hand), chosen(hand)
    if not wanted:
        why = "nothing of it can be set without a restart" if hand.params.apply else "apply is not asked for"
        return Plan(note=f"{len(found)} recommendations; {why}" if found else "nothing to recommend")
    steps = (*_keep(hand), *(_set(hand, one.name, one.want) for one in wanted), *_reload(hand))
    told = ", ".join(f"{one.name} {one.shown(one.now)} to {one.shown(one.want)}" for one in wanted)
    return Plan(steps=steps, note=f"{len(wanted)} of {len(found)} need no restart: {told}")


def _kept(hand: Hand) -> str:
    return f"{hand.base}/tuning/postgresql.auto.conf"


def _auto(hand: Hand) -> str:
    return f"{_row(hand.server, 'place', 'data_directory')}/postgresql.auto.conf"


def _keep(hand: Hand) -> Iterator[Step]:
    if hand.server.engine == "postgresql":
        yield from hand.directories()
        yield hand.step("make the place of old settings", "mkdir", "-p", "-m", "0700", "--", f"{hand.base}/tuning")
        yield hand.step("keep the old settings", "cp", "-p", "--", _auto(hand), _kept(hand))


def _set(hand: Hand, name: str, value: str) -> Step:
    title, engine = f"set {name} to {value}", hand.server.engine
    if engine == "postgresql":
        return _alter(hand, title, f"alter system set {name} = '{value.replace(chr(39), chr(39) * 2)}'")
    if engine == "mysql":
        client = (hand.server.props["client"], *hand.client, "-e", f"set global {name} = {value}")
        return hand.step(title, *client, login=True)
    if engine == "redis":
        return hand.step(title, "redis-cli", *hand.client, "-e", "config", "set", name, value, login=True)
    wait = f".timeout {hand.params.lock_timeout_ms}"
    return hand.step(title, "sqlite3", "-batch", "-bail", "-cmd", wait, hand.params.path, f"pragma {name} = {value}")


def _alter(hand: Hand, title: str, sql: str) -> Step:
    return hand.step(title, "psql", "-X", "-w", "-v", "ON_ERROR_STOP=1", "-d", "postgres", "-c", sql, login=True)


def _reload(hand: Hand) -> Iterator[Step]:
    if hand.server.engine == "postgresql":
        env = {"PGDATABASE": "postgres"}
        yield hand.step("let the server read its settings", "sh", "-c", _RELOAD, env=env, login=True)


# -- afterwards -------------------------------------------------------------------------------------------


def verify(hand: Hand, _found: Facts, now: Server | None) -> Iterator[str]:
    """What did not take."""
    if now is None:
        yield "the server does not answer after its settings were changed"
        return
    there = settings(now)
    for one in chosen(hand):
        value = there[one.name].value if one.name in there else "not there"
        if not same(value, one.want):
            yield f"{one.name} did not take: wanted {one.shown(one.want)}, found {one.shown(value)}"
    yield from (f"its files of settings have an error: {row}" for row in _bad(now) if row not in _bad(hand.server))


def rollback(hand: Hand, _found: Facts, now: Server | None) -> Plan:
    """The old values; of a PostgreSQL that does not answer, its old file."""
    if now is None:
        return _back_unasked(hand)
    moved = [one for one in chosen(hand) if _moved(hand, one, now)]
    if not moved:
        return Plan(note="every setting has its old value")
    return Plan(steps=(*(_unset(hand, one) for one in moved), *_reload(hand)), note="back to the old values")


def _moved(hand: Hand, one: Advice, now: Server) -> bool:
    if hand.server.engine == "postgresql" and _row(now, "own", one.name) != _row(hand.server, "own", one.name):
        return True
    there = settings(now)
    return one.name in there and not same(there[one.name].value, one.now)


def _unset(hand: Hand, one: Advice) -> Step:
    if hand.server.engine != "postgresql":
        return _set(hand, one.name, one.now)
    if old := _row(hand.server, "own", one.name):
        return _set(hand, one.name, old.replace("''", "'"))
    return _alter(hand, f"forget {one.name} again", f"alter system reset {one.name}")


def _back_unasked(hand: Hand) -> Plan:
    if hand.server.engine != "postgresql":
        return Plan(note="the server does not answer; it forgets what was set when it starts again")
    told = (_kept(hand), _auto(hand), _row(hand.server, "place", "auto_sum"))
    step = hand.step("put its old file of settings back", "sh", "-c", _BACK, "sh", *told)
    return Plan(steps=(step,), note="the server does not answer: its file of settings is put back")


def restored(hand: Hand, _found: Facts, now: Server | None) -> Iterator[str]:
    """What has another value than before."""
    if now is None:
        yield "the server does not answer: its old file of settings was put back; look at its log, and start it"
        return
    for one in chosen(hand):
        if _moved(hand, one, now):
            yield f"{one.name} has not its old value {one.shown(one.now)}"


def measure(hand: Hand, _found: Facts, now: Server | None) -> Iterator[Metric]:
    """How much is recommended, and how much was set."""
    there = settings(now)
    took = [one for one in chosen(hand) if one.name in there and same(there[one.name].value, one.want)]
    yield Metric(name="recommendations", value=float(len(advices(hand))), unit="count")
    yield Metric(name="settings_changed", value=float(len(took)), unit="count")


def findings(hand: Hand, _found: Facts, now: Server | None) -> Iterator[Finding]:
    """Every recommendation that is not set, with its reason and its numbers; what was set and lasts until a restart."""
    there = settings(now)
    for one in advices(hand):
        if one in chosen(hand) and one.name in there and same(there[one.name].value, one.want):
            yield from _lasts(hand, one)
            continue
        want = f" should be {one.shown(one.want)}" if one.want else ""
        yield Finding(
            severity=Severity.INFO,
            code="tuning_restart" if one.how == "restart" else "tuning_advice",
            message=f"{one.name}: {one.shown(one.now)}{want}: {one.why}",
            advice=_ADVICE[one.how],
            evidence={"setting": one.name, "now": one.now, "want": one.want, **one.evidence},
        )
    yield from _watched(hand)


_ADVICE = {
    "live": "Ask for tuning with apply; it needs no restart.",
    "restart": "Set it in the server's configuration; it counts after the next restart.",
    "person": "Decide it yourself; it is never set by opsqueue.",
}


def _lasts(hand: Hand, one: Advice) -> Iterator[Finding]:
    if hand.server.engine in {"mysql", "redis"}:
        text = f"{one.name} was {one.shown(one.now)} and is {one.shown(one.want)} until the server starts again"
        advice = f"Write {one.name} into the server's configuration file to keep it."
        yield Finding(severity=Severity.INFO, code="tuning_until_restart", message=text, advice=advice)


_WATCHED = {
    "database_wraparound": (
        "{1} transactions old: {0} nears the wrap-around",
        "Vacuum it (vacuum freeze), and see what hinders.",
    ),
    "database_slot": (
        "the slot {0} is not used and keeps {1} bytes of WAL",
        "Bring its consumer back, or drop the slot.",
    ),
    "database_idle": (
        "the connection {0} has been idle in a transaction for {1} s",
        "End it, and mend what left it open.",
    ),
    "database_sequence": ("the sequence {0} has used {1} % of its numbers", "Make it, and its column, bigint in time."),
}


def _watched(hand: Hand) -> Iterator[Finding]:
    """What is no setting, and brings a PostgreSQL down one day."""
    for row in hand.server.detail:
        code = f"database_{row[1]}" if len(row) > 3 else ""  # noqa: PLR2004
        if row[0] == "watch" and code in _WATCHED:
            text, advice = _WATCHED[code]
            message = f"PostgreSQL: {text.format(row[2], row[3])}"
            yield Finding(severity=Severity.WARNING, code=code, message=message, advice=advice)
