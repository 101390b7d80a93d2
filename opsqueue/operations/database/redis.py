"""Redis: a snapshot through replication, loaded into a scratch server and compared.

Keys come and go while the snapshot is made. So the keys are counted before and after it, and what was the same both
times must be the same in the copy; keys that end by themselves are only compared with what the file holds.
"""

from __future__ import annotations

from collections.abc import Iterator

from opsqueue.facts.databases import Database
from opsqueue.model.plan import Step
from opsqueue.operations.database.hand import Hand

_KEYSPACE = "sed -n 's/^\\(db[0-9]*\\):keys=\\([0-9]*\\),expires=\\([0-9]*\\).*/keys \\1\\t\\2\\t\\3/p'"
_COUNT = f'said=$("$@" info keyspace) && printf "%s\\n" "$said" | {_KEYSPACE} >"$FILE"'
# Keys with an end may have come to it: of those, any number may be missing.
_SAME = (
    "FILENAME == ARGV[1] { keys[$1] = $2; ends[$1] = $3; next } "
    "FILENAME == ARGV[2] { calm[$1] = $2 == keys[$1] && $3 == ends[$1]; next } { copy[$1] = $2 } "
    "END { for (db in keys) if (calm[db] && (copy[db] > keys[db] || copy[db] < keys[db] - ends[db])) "
    '{ print db ": " copy[db] + 0 " of " keys[db] " keys are in the copy"; bad = 1 } exit bad }'
)
# A server of its own on a socket in the backup's directory, that saves nothing and ends with this command.
_LOAD = f"""\
cd "$1" && cp -- "$2" scratch.rdb || exit 1
"$4/redis-server" --port 0 --unixsocket scratch.sock --save '' --appendonly no --dbfilename scratch.rdb --dir . \\
  --daemonize no --loglevel warning >scratch.log 2>&1 &
ask() {{ redis-cli -s scratch.sock "$@" 2>&1; }}
trap 'kill "$!" 2>/dev/null; wait' EXIT
until said=$(ask ping) && [ "$said" = PONG ]; do
  kill -0 "$!" 2>/dev/null || {{ cat scratch.log >&2; exit 1; }}
  sleep 0.2
done
said=$(ask info keyspace) && printf '%s\\n' "$said" | {_KEYSPACE} >"$3" || exit 1
ask shutdown nosave
wait; trap - EXIT
rm -f -- scratch.rdb scratch.sock scratch.log
"""


def artefact(_database: Database) -> str:
    """The name of its file in a backup: it can be loaded as it is."""
    return "dump.rdb"


def dump(hand: Hand, database: Database, directory: str) -> Iterator[Step]:
    """Take a snapshot, which never blocks the server, and count the keys before and after it."""
    yield _count(hand, "count the keys", f"{directory}/{database.name}.source")
    argv = ("redis-cli", *hand.client, "--rdb", f"{directory}/{artefact(database)}")
    yield hand.step("take a snapshot of all keys", *argv, login=True)
    yield _count(hand, "count the keys again", f"{directory}/{database.name}.later")


def beside(_hand: Hand, _directory: str) -> Iterator[Step]:
    """Nothing else is kept by a Redis that a snapshot would not hold, but its configuration file."""
    return iter(())


def restore(hand: Hand, database: Database, _position: int, _number: int, directory: str) -> Iterator[Step]:
    """Check the file, load it into a scratch server, and count the keys there."""
    file, loader = f"{directory}/{artefact(database)}", hand.server.props["loader"]
    yield hand.step("check the snapshot", f"{loader}/redis-check-rdb", file)
    yield hand.step(
        "load it into a scratch server and count the keys there",
        *("sh", "-c", _LOAD, "sh", directory, file, f"{directory}/{database.name}.restored", loader),
    )


def _count(hand: Hand, title: str, file: str) -> Step:
    argv = ("sh", "-c", _COUNT, "sh", "redis-cli", *hand.client)
    return hand.step(title, *argv, env={"FILE": file}, login=True)


def files(hand: Hand) -> tuple[str, ...]:
    """All artefacts of a backup."""
    return tuple(artefact(one) for one in hand.server.databases)


def compare(hand: Hand, database: Database, directory: str) -> Step:
    """What was the same before and after the snapshot is the same in the copy."""
    names = (f"{directory}/{database.name}.{one}" for one in ("source", "later", "restored"))
    return hand.step("compare the copy with its source", "awk", "-F", "\t", _SAME, *names)
