"""MySQL and MariaDB: a dump in one transaction, restored into a scratch database and compared.

Views, triggers, routines and sequences are compared one by one, with what they say; events by their names.

There is no snapshot that two sessions could share. So the source is counted before and after the dump, and what was
the same both times must be the same in the copy; what somebody changed meanwhile is told.
"""

from __future__ import annotations

from collections.abc import Iterator

from opsqueue.facts.databases import Database
from opsqueue.model.plan import Step
from opsqueue.operations.database.hand import SCRATCH, Hand

GLOBALS = "users.sql"
_CONTENT = {
    "content": "coalesce(sum(crc32(concat_ws('','', ', group_concat(concat('quote(`', "
    "replace(c.column_name, '`', '``'), '`)') order by c.ordinal_position), '))), 0)",
    "count": "0",
}
# One question for each table, written by the server itself.
_TABLES = (
    "set session group_concat_max_len = 1000000; select concat('select ', quote(concat('table ', t.table_name)), "
    "', count(*), {content} from `', replace(t.table_name, '`', '``'), '`;') from information_schema.tables t "
    "join information_schema.columns c using (table_schema, table_name) where t.table_schema = database() and "
    "t.table_type = 'BASE TABLE' group by t.table_name order by binary t.table_name; "
    "select concat('select ', quote(concat(kind, ' ', name)), ', 1, ', coalesce(crc32(text), 0), ';') from ("
    # A view names its own database, which the copy is not.
    "select 'view' kind, table_name name, replace(view_definition, concat('`', database(), '`.'), '') text "
    "from information_schema.views where table_schema = database() union all "
    "select 'trigger', trigger_name, concat_ws('|', action_timing, event_manipulation, event_object_table, "
    "action_statement) from information_schema.triggers where trigger_schema = database() union all "
    "select concat('routine ', lower(routine_type)), routine_name, concat_ws('|', dtd_identifier, is_deterministic, "
    "sql_data_access, routine_definition) from information_schema.routines where routine_schema = database() union all "
    "select 'sequence', table_name, '' from information_schema.tables where table_schema = database() and "
    "table_type = 'SEQUENCE' union all "
    "select 'event', event_name, null from information_schema.events where event_schema = database()"
    ") x order by kind, binary name"
)
# Events are not restored, since they would begin to run: their names come out of the dump.
_EVENTS = (
    r"""sed -n 's|^/[*]!50106 DROP EVENT IF EXISTS `\(.*\)` [*]/;*$|event \1\t1\t0|p' -- "$1" """
    r"""| sed 's/``/`/g' >>"$2" """
).strip()
# The client writes the questions, a second one asks them; without a question nothing is compared, which is noticed.
_COUNT = 'questions=$("$@" -e "$QUESTIONS") && printf "%s\\n" "$questions" | "$@" >"$FILE"'
_FROM_FILE = 'exec "$@" <"$FILE"'
_ENDS_WELL = 'tail -n 1 -- "$1" | grep "^-- Dump completed"'
_SAME = (
    "FILENAME == ARGV[1] { source[$0]; next } FILENAME == ARGV[2] { later[$0]; next } { copy[$0] } "
    'END { for (line in source) if (line in later && !(line in copy)) { print "not in the copy: " line; bad = 1 } '
    "exit bad }"
)
_QUIET = ("--batch", "--raw", "--skip-column-names")


def artefact(database: Database) -> str:
    """The name of its file in a backup."""
    return f"{database.name}.sql"


def scratch(number: int, position: int) -> str:
    """The database of a scratch restore."""
    return f"{SCRATCH}{number}_{position}"


def dump(hand: Hand, database: Database, directory: str) -> Iterator[Step]:
    """Dump one database, and count before and after it."""
    file = f"{directory}/{artefact(database)}"
    yield _count(hand, f"count what is in {database.name}", database.name, f"{directory}/{database.name}.source")
    yield hand.step(
        f"dump {database.name}",
        *(_dumper(hand), *hand.client, "--single-transaction", "--quick", "--routines", "--triggers", "--hex-blob"),
        *(f"--result-file={file}", database.name),
        login=True,
    )
    yield _whole(hand, file)
    if database.more[1] != "0":
        # Apart, because an event that is restored begins to run.
        only = ("--no-create-info", "--no-data", "--skip-triggers", "--events")
        events = f"{directory}/{database.name}.events.sql"
        argv = (_dumper(hand), *hand.client, *only, f"--result-file={events}", database.name)
        yield hand.step(f"dump the events of {database.name}", *argv, login=True)
        yield _whole(hand, events)
    yield _count(hand, f"count again what is in {database.name}", database.name, f"{directory}/{database.name}.later")


def _whole(hand: Hand, file: str) -> Step:
    return hand.step("see that the dump is whole", "sh", "-c", _ENDS_WELL, "sh", file)


def beside(hand: Hand, directory: str) -> Iterator[Step]:
    """The accounts and what they may; MariaDB alone can dump them."""
    if "MariaDB" in hand.server.props.get("version", ""):
        argv = (_dumper(hand), *hand.client, "--system=users", f"--result-file={directory}/{GLOBALS}")
        yield hand.step("dump the accounts", *argv, login=True)


def restore(hand: Hand, database: Database, position: int, number: int, directory: str) -> Iterator[Step]:
    """Restore into a scratch database, count, and drop it; nothing of this goes to replicas."""
    name = scratch(number, position)
    charset = f" character set {database.more[2]}"
    yield hand.step(
        f"create the scratch database {name}", *_client(hand), "-e", f"create database `{name}`{charset}", login=True
    )
    yield hand.step(
        f"restore {database.name} into it",
        # What stands behind `--` in a routine must not swallow its next line.
        *("sh", "-c", _FROM_FILE, "sh", *_client(hand), "--comments", name),
        env={"FILE": f"{directory}/{artefact(database)}"},
        login=True,
    )
    counted = f"{directory}/{database.name}.restored"
    yield _count(hand, "count what is in it", name, counted)
    if database.more[1] != "0":
        dumped = f"{directory}/{database.name}.events.sql"
        yield hand.step("count the events of the dump", "sh", "-c", _EVENTS, "sh", dumped, counted)
    yield drop(hand, name)


def drop(hand: Hand, name: str) -> Step:
    """Drop a scratch database."""
    sql = f"drop database if exists `{name}`"
    return hand.step(f"drop the scratch database {name}", *_client(hand), "-e", sql, login=True)


def _count(hand: Hand, title: str, database: str, file: str) -> Step:
    env = {"FILE": file, "QUESTIONS": _TABLES.replace("{content}", _CONTENT[hand.params.compare])}
    return hand.step(title, "sh", "-c", _COUNT, "sh", *_client(hand), *_QUIET, database, env=env, login=True)


def _client(hand: Hand) -> tuple[str, ...]:
    silent = ("--init-command=set session sql_log_bin = 0",) if hand.server.props.get("log_bin") == "1" else ()
    return (hand.server.props["client"], *hand.client, *silent)


def _dumper(hand: Hand) -> str:
    return "mariadb-dump" if "mariadb-dump" in hand.server.tools else "mysqldump"


def files(hand: Hand) -> tuple[str, ...]:
    """All artefacts of a backup."""
    dumps = tuple(artefact(one) for one in hand.server.databases)
    events = tuple(f"{one.name}.events.sql" for one in hand.server.databases if one.more[1] != "0")
    accounts = (GLOBALS,) if "MariaDB" in hand.server.props.get("version", "") else ()
    return (*dumps, *events, *accounts)


def compare(hand: Hand, database: Database, directory: str) -> Step:
    """What was the same before and after the dump is the same in the copy."""
    names = (f"{directory}/{database.name}.{one}" for one in ("source", "later", "restored"))
    return hand.step("compare the copy with its source", "awk", _SAME, *names)
