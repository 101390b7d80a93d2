"""SQLite: a copy through its own backup interface, within one read transaction with the counts."""

from __future__ import annotations

from collections.abc import Iterator

from opsqueue.facts.databases import Database
from opsqueue.model.plan import Step
from opsqueue.operations.database.hand import Hand

_TABLES = (
    "select 'select ' || quote('table ' || name) || ', count(*), 0 from \"' || replace(name, '\"', '\"\"') || '\";' "
    "from sqlite_schema where type = 'table' and name not like 'sqlite\\_%' escape '\\' "
    "and sql not like 'create virtual table%' order by name"
)
_OBJECTS = "select 'objects ' || type, count(*), 0 from sqlite_schema group by type order by type"
_SHELL = ("sqlite3", "-batch", "-bail", "-cmd", ".timeout 60000", "-separator", "\t")


def artefact(database: Database) -> str:
    """The name of its file in a backup: it can be opened as it is."""
    return f"{database.name}.sqlite"


def dump(hand: Hand, database: Database, directory: str) -> Iterator[Step]:
    """Copy the file as one reader sees it, what stands in its `-wal` included, and count what that reader sees."""
    file = f"{directory}/{artefact(database)}"
    yield hand.step(
        f"copy {database.name} and count what is in it",
        *_SHELL,
        hand.params.path,
        "begin",
        *_counts(hand, f"{directory}/{database.name}.source", f"{directory}/questions"),
        f".backup '{file}'",
        "commit",
    )


def beside(_hand: Hand, _directory: str) -> Iterator[Step]:
    """Nothing belongs to it but its file."""
    return iter(())


def restore(hand: Hand, database: Database, _position: int, _number: int, directory: str) -> Iterator[Step]:
    """Open a copy of the copy, check it, count, and remove it."""
    copy = f"{directory}/scratch.sqlite"
    yield hand.step("make a scratch copy of the backup", "cp", "--", f"{directory}/{artefact(database)}", copy)
    yield hand.step(
        "open it, check it and count what is in it",
        *_SHELL,
        copy,
        *_counts(hand, f"{directory}/{database.name}.restored", f"{directory}/questions"),
        f".output '{directory}/integrity'",
        "pragma integrity_check",
    )
    yield hand.step("see that it is whole", "grep", "-qx", "ok", f"{directory}/integrity")
    rest = (copy, f"{copy}-wal", f"{copy}-shm", f"{directory}/questions", f"{directory}/integrity")
    yield hand.step("remove the scratch copy", "rm", "-f", "--", *rest)


def _counts(hand: Hand, file: str, questions: str) -> tuple[str, ...]:
    content = (".sha3sum",) if hand.params.compare == "content" else ()
    ask = (f".output '{questions}'", _TABLES, f".output '{file}'", f".read '{questions}'", _OBJECTS, *content)
    return (*ask, ".output stdout")


def files(hand: Hand) -> tuple[str, ...]:
    """All artefacts of a backup."""
    return tuple(artefact(one) for one in hand.server.databases)


def compare(hand: Hand, database: Database, directory: str) -> Step:
    """The counts of the copy are those of the very snapshot that was dumped."""
    names = (f"{directory}/{database.name}.{one}" for one in ("source", "restored"))
    return hand.step("compare the copy with its source", "diff", *names)
