"""PostgreSQL: dump within an exported snapshot, restore into a scratch database, count and compare."""

from __future__ import annotations

from collections.abc import Iterator

from opsqueue.facts.database_owners import OF_A_RESTORE
from opsqueue.facts.databases import Database
from opsqueue.model.plan import Step
from opsqueue.operations.database.hand import SCRATCH, Hand

# The same questions to the source, inside of the snapshot that is dumped, and to the restored copy. What belongs to an
# extension is not dumped, and is not counted; a materialized view is filled anew, and may be older in its source.
_SETTINGS = (
    "set search_path = pg_catalog; set timezone = 'UTC'; set datestyle = 'ISO, YMD'; set intervalstyle = 'iso_8601'; "
    "set extra_float_digits = 3; set bytea_output = 'hex'; set lc_monetary = 'C'; set row_security = off;"
)
_OWN = (
    "n.nspname !~ '^pg_' and n.nspname <> 'information_schema' and not exists "
    "(select from pg_depend d where d.objid = {oid} and d.classid = '{catalogue}'::regclass and d.deptype = 'e')"
)
_TABLES = (
    "select format('select %L, count(*), {content} from only %I.%I t', 'table ' || n.nspname || '.' || c.relname, "
    "n.nspname, c.relname) from pg_class c join pg_namespace n on n.oid = c.relnamespace "
    "where c.relkind = 'r' and c.relpersistence <> 't' and "
    '{classes} order by n.nspname collate "C", c.relname collate "C" \\gexec'
)
_OBJECTS = (
    "select 'objects ' || kind, count(*), '-' from ("
    "select c.relkind::text from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.relkind <> 't' and "
    "{classes} union all select 'routine' from pg_proc p join pg_namespace n on n.oid = p.pronamespace where "
    "{routines} union all select 'trigger' from pg_trigger where not tgisinternal union all "
    "select 'constraint' from pg_constraint k join pg_namespace n on n.oid = k.connamespace where {constraints} "
    "union all select 'large' from pg_largeobject_metadata) x(kind) group by kind order by 1;"
)
_OURS = {
    "{classes}": _OWN.format(oid="c.oid", catalogue="pg_class"),
    "{routines}": _OWN.format(oid="p.oid", catalogue="pg_proc"),
    "{constraints}": _OWN.format(oid="k.oid", catalogue="pg_constraint"),
}
# Never `t::text`: the owner of a table may make a cast of its rows, and would be run with our rights.
_CONTENT = {"content": "coalesce(sum(hashtextextended(row(t.*)::text, 0)), 0)", "count": "0"}

# psql ends with an error when the dump in it does; the counts come from the very snapshot that was dumped.
_DUMP = """\
set search_path = pg_catalog;
begin transaction isolation level repeatable read read only;
{guard}
select pg_export_snapshot() as snapshot \\gset
\\setenv SNAPSHOT :snapshot
\\! pg_dump --no-password --format=custom --snapshot="$SNAPSHOT" --file="$FILE" || kill $PPID
{questions}
commit;
"""

# Somebody may have written a function since verify; what this transaction does not see is not in the dump either.
_GUARD = f"""\
select count(*) > 0 as others from ({OF_A_RESTORE}) o \\gset
\\if :others
do 'begin raise ''others have functions here since it was looked: ask again, and see whose''; end';
\\endif"""  # noqa: S608  # a constant text

_PSQL = ("psql", "-X", "-A", "-t", "-q", "-w", "-F", "\t", "-v", "ON_ERROR_STOP=1")
GLOBALS = "globals.sql"


def questions(hand: Hand) -> str:
    """What is asked of the source and of the copy."""
    text = f"{_SETTINGS}\n{_TABLES}\n{_OBJECTS}"
    for name, part in (*_OURS.items(), ("{content}", _CONTENT[hand.params.compare])):
        text = text.replace(name, part)
    return text


def artefact(database: Database) -> str:
    """The name of its file in a backup."""
    return f"{database.name}.dump"


def scratch(number: int, position: int) -> str:
    """The database of a scratch restore."""
    return f"{SCRATCH}{number}_{position}"


def dump(hand: Hand, database: Database, directory: str) -> Iterator[Step]:
    """Dump one database, and count what the dump must hold."""
    env = {"PGDATABASE": database.name, "FILE": f"{directory}/{artefact(database)}"}
    yield hand.step(
        f"dump {database.name} and count what is in it",
        *_PSQL,
        "-o",
        f"{directory}/{database.name}.source",
        stdin=_DUMP.format(guard=_guard(hand), questions=questions(hand)),
        env=env,
        login=True,
    )


def _is_superuser(hand: Hand) -> bool:
    return hand.server.props.get("superuser") == "true"


def _guard(hand: Hand) -> str:
    return _GUARD if _is_superuser(hand) and not hand.params.trust_owners else ""


def beside(hand: Hand, directory: str) -> Iterator[Step]:
    """Roles and tablespaces, which belong to the server; only its superuser can read them."""
    if _is_superuser(hand):
        argv = ("pg_dumpall", "--no-password", "--globals-only", f"--file={directory}/{GLOBALS}")
        yield hand.step("dump roles and tablespaces", *argv, login=True)


def restore(hand: Hand, database: Database, position: int, number: int, directory: str) -> Iterator[Step]:
    """Restore into a scratch database, count, and drop it."""
    name = scratch(number, position)
    # Only psql's and pg_restore's own words: a subscription would hinder the drop, a publication means nothing here.
    plain = () if _is_superuser(hand) else ("--no-owner", "--no-privileges", "--no-comments")
    argv = (*_PSQL, "-d", database.name, "-c", _create(hand, database, name))
    yield hand.step(f"create the scratch database {name}", *argv, login=True)
    yield hand.step(
        f"restore {database.name} into it",
        *("pg_restore", "--no-password", "--exit-on-error", "--no-subscriptions", "--no-publications", *plain),
        f"--dbname={name}",
        f"{directory}/{artefact(database)}",
        login=True,
    )
    yield hand.step(
        "count what is in it",
        *_PSQL,
        *("-d", name, "-o", f"{directory}/{database.name}.restored"),
        stdin=f"{questions(hand)}\n",
        login=True,
    )
    yield drop(hand, name)


def _create(hand: Hand, database: Database, name: str) -> str:
    """Superusers pass a limit of connections; nobody else comes in and changes what is about to be counted."""
    encoding, collate, ctype = (f"'{one.replace(chr(39), chr(39) * 2)}'" for one in database.more[:3])
    limit = 0 if _is_superuser(hand) else -1
    locale = f"encoding {encoding} lc_collate {collate} lc_ctype {ctype}"
    return f"create database {name} template template0 {locale} connection limit {limit}"


def drop(hand: Hand, name: str) -> Step:
    """Drop a scratch database, whoever is connected to it."""
    argv = ("dropdb", "-w", "--if-exists", "--force", name)
    return hand.step(f"drop the scratch database {name}", *argv, login=True)


def files(hand: Hand) -> tuple[str, ...]:
    """All artefacts of a backup."""
    roles = (GLOBALS,) if _is_superuser(hand) else ()
    return (*(artefact(one) for one in hand.server.databases), *roles)


def compare(hand: Hand, database: Database, directory: str) -> Step:
    """The counts of the copy are those of the very snapshot that was dumped."""
    names = (f"{directory}/{database.name}.{one}" for one in ("source", "restored"))
    return hand.step("compare the copy with its source", "diff", *names)
