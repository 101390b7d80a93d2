"""A backup: dumped, encrypted, restored to scratch and compared, given its number, and only then older ones removed.

Everything happens in `NUMBER.partial`; the name `NUMBER` is given last. So what has a number is proven, and what was
interrupted can be told by its name.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from opsqueue.facts.database_backups import backup as backup_fact
from opsqueue.facts.databases import Server
from opsqueue.model.fact import Fact, Facts, why_unknown
from opsqueue.model.kind import Finding, Metric
from opsqueue.model.names import Severity
from opsqueue.model.plan import Plan, Step
from opsqueue.operations.database.engines import ENGINES, TOOLS, drop
from opsqueue.operations.database.hand import SCRATCH, Hand

_NUMBERED = "[0-9]" * 6
_MINUTES = 24 * 60
_ROOM = 1.2
"""How much more than the database has to be free."""
_SUMS = 'cd -- "$1" && sha256sum -- * >SHA256SUMS'
_PLAIN = 'cd -- "$1" && shift && sha256sum -- "$@" >plain.sha256'
_PROVE = 'cd -- "$1" && sha256sum --strict --quiet -c plain.sha256'
_DECRYPT = 'age --decrypt --identity "$1" -- "$2" | runuser -u "$3" -- dd "of=$4" bs=1M status=none'
_WRITE = 'printf "%s\\n" "$2" >"$1"'


def place(hand: Hand) -> str:
    """The directory of the backup that is about to be made."""
    return f"{hand.base}/{hand.server.next_number:06}"


def after(hand: Hand) -> Fact:
    """Asks how that backup stands."""
    return backup_fact(place(hand), sudo=hand.params.sudo, timeout=hand.params.timeout_seconds)


def recipients(hand: Hand) -> tuple[str, ...]:
    """The arguments that tell age for whom; none: not encrypted."""
    params = hand.params
    if params.encryption == "none":
        return ()
    if params.encrypt_to:
        return tuple(word for one in params.encrypt_to for word in ("--recipient", one))
    return ("--recipients-file", params.recipients_file) if hand.server.recipients else ()


# -- before -----------------------------------------------------------------------------------------------


def objections(hand: Hand) -> Iterator[str]:
    """Why no backup can be made, or none that could be proven."""
    server, params = hand.server, hand.params
    tools = (*TOOLS[server.engine], *(("age",) if recipients(hand) else ()))
    if missing := [name for name in tools if name not in server.tools]:
        yield f"a backup needs {', '.join(missing)} on the host; install what is missing"
    if server.engine == "mysql" and not {"mariadb-dump", "mysqldump"} & set(server.tools):
        yield "a backup needs mariadb-dump or mysqldump on the host; install the client's package"
    if params.encryption == "required" and not recipients(hand):
        yield f"encryption is required: give encrypt_to, or put public keys of age into {params.recipients_file}"
    if not sum(one.objects for one in server.databases):
        yield "there is nothing to back up: no table, no key in what was found; name databases, or another server"
    need = int(_ROOM * sum(one.size for one in server.databases))
    if server.free < need:
        yield f"{params.backup_dir} has {server.free} bytes free, and the backup may need {need}"
    yield from _about_server(hand)


def _about_server(hand: Hand) -> Iterator[str]:
    server, props = hand.server, hand.server.props
    if props.get("recovery") == "true" or props.get("read_only", "0") not in {"0", "OFF"}:
        yield "this is a standby, where nothing can be restored for proof; back up its primary"
    if server.engine == "redis":
        need, there = int(_ROOM * int(props.get("used_memory", "0"))), int(props.get("available", "0"))
        if there < need:
            yield f"the scratch restore may need {need} bytes of memory, and {there} are available on the host"
        if not props.get("loader"):
            version = props.get("redis_version", "?")
            yield f"no redis-server and redis-check-rdb of version {version} or newer are on the PATH of the host"
        if props.get("loading") == "1":
            yield "the server still loads its data; try again when it is done"


# -- the steps --------------------------------------------------------------------------------------------


def plan(hand: Hand) -> Plan:
    """All steps, in order; the first that fails stops the rest."""
    final, partial = place(hand), f"{place(hand)}.partial"
    steps = (
        *_left_over(hand),
        *hand.directories(),
        hand.step("begin the backup", "mkdir", "-m", "0700", "--", partial),
        *_dumped(hand, partial),
        *_encrypted(hand, partial),
        *_restored(hand, partial),
        *_published(hand, partial, final),
        _pruned(hand),
    )
    names = ", ".join(one.name for one in hand.server.databases)
    return Plan(steps=steps, note=f"{hand.server.engine}: {names}, to {final}")


def _left_over(hand: Hand) -> Iterator[Step]:
    for name in hand.server.scratch:
        yield drop(hand, name)
    for number in hand.server.partial:
        gone = f"{hand.base}/{number:06}.partial"
        yield hand.step("remove what an interrupted backup left", "rm", "-rf", "--", gone)


def _dumped(hand: Hand, partial: str) -> Iterator[Step]:
    engine = ENGINES[hand.server.engine]
    for database in hand.server.databases:
        yield from engine.dump(hand, database, partial)
    yield from engine.beside(hand, partial)


def _encrypted(hand: Hand, partial: str) -> Iterator[Step]:
    """Each artefact to age; with an identity on the host, what is restored next comes out of the encrypted file."""
    whom, names = recipients(hand), ENGINES[hand.server.engine].files(hand)
    if not whom:
        return
    yield hand.step("sum up what is encrypted", "sh", "-c", _PLAIN, "sh", partial, *names)
    for name in names:
        file = f"{partial}/{name}"
        yield hand.step(f"encrypt {name}", "age", "--encrypt", *whom, "--output", f"{file}.age", file)
        if hand.params.identity_file:
            yield hand.step(f"remove the plain {name}", "rm", "--", file)
            yield _decrypted(hand, file)
    if hand.params.identity_file:
        yield hand.step("see that decrypting gives the same", "sh", "-c", _PROVE, "sh", partial)


def _decrypted(hand: Hand, file: str) -> Step:
    title, identity = "decrypt it again for proof", hand.params.identity_file
    if hand.becomes:
        # The identity is root's own, and root writes no file where somebody else could put a link.
        return hand.as_root(title, "sh", "-c", _DECRYPT, "sh", identity, f"{file}.age", hand.server.owner, file)
    return hand.step(title, "age", "--decrypt", "--identity", identity, "--output", file, f"{file}.age")


def _restored(hand: Hand, partial: str) -> Iterator[Step]:
    engine, number = ENGINES[hand.server.engine], hand.server.next_number
    for position, database in enumerate(hand.server.databases):
        yield from engine.restore(hand, database, position, number, partial)
        yield engine.compare(hand, database, partial)


def _published(hand: Hand, partial: str, final: str) -> Iterator[Step]:
    if recipients(hand):
        plain = [f"{partial}/{name}" for name in ENGINES[hand.server.engine].files(hand)]
        yield hand.step("remove what is not encrypted", "rm", "-f", "--", *plain)
    yield hand.step("say what it is", "sh", "-c", _WRITE, "sh", f"{partial}/manifest.json", _manifest(hand))
    yield hand.step("sum up the backup", "sh", "-c", _SUMS, "sh", partial)
    yield hand.step("write it to the disk", "find", partial, "-exec", "sync", "{}", "+")
    yield hand.step("give it its name", "mv", "-T", "--", partial, final)
    yield hand.step("write its name to the disk", "sync", hand.base)


def _manifest(hand: Hand) -> str:
    server = hand.server
    told = {
        "made_by": "opsqueue database_maintenance",
        "engine": server.engine,
        "version": server.props.get("version") or server.props.get("redis_version", ""),
        "databases": [one.name for one in server.databases],
        "number": server.next_number,
        "encrypted": bool(recipients(hand)),
        "compared": "count" if server.engine == "redis" else hand.params.compare,
    }
    return json.dumps(told, sort_keys=True)


def _pruned(hand: Hand) -> Step:
    """Whatever is too old, save the newest; by a rule and not by names, so that the plan is the same tomorrow."""
    newest = (*hand.server.complete, hand.server.next_number)[-hand.params.backup_keep :]
    kept = [word for number in newest for word in ("!", "-name", f"{number:06}")]
    old = ("-mmin", f"+{hand.params.backup_retention_days * _MINUTES}")
    only = ("-mindepth", "1", "-maxdepth", "1", "-type", "d", "-name", _NUMBERED)
    days, most = hand.params.backup_retention_days, hand.params.backup_keep
    title = f"remove backups older than {days} days, but never the newest {most}"
    return hand.step(title, "find", hand.base, *only, *kept, *old, "-exec", "rm", "-rf", "--", "{}", "+")


# -- afterwards -------------------------------------------------------------------------------------------


def _answer(found: Facts) -> Mapping[str, Any] | None:
    answer = found.get("backup")
    return None if not answer or why_unknown(answer) is not None else answer


def verify(hand: Hand, found: Facts, now: Server | None) -> Iterator[str]:
    """Why there is no proven backup under its name."""
    final, answer = place(hand), _answer(found)
    if answer is None:
        yield f"how {final} stands is not known: {why_unknown(found.get('backup')) or 'nobody was asked'}"
        return
    if answer["state"] != "complete":
        begun = ", only what was begun of it" if answer["state"] == "partial" else ""
        yield f"there is no backup {final}{begun}"
    elif answer["sums"] != "good":
        yield f"the backup {final} is not what was written: {answer['sums_problem'] or 'its sums are missing'}"
    elif not answer["restored"]:
        yield f"the scratch restore of {final} compared nothing"
    yield from (f"the scratch database {name} is still there" for name in _ours(hand, now))


def _ours(hand: Hand, now: Server | None) -> tuple[str, ...]:
    mine = f"{SCRATCH}{hand.server.next_number}_"
    return tuple(name for name in (now.scratch if now else ()) if name.startswith(mine))


def _is_proven(answer: Mapping[str, Any]) -> bool:
    return bool(answer["state"] == "complete" and answer["sums"] == "good" and answer["restored"])


def rollback(hand: Hand, found: Facts, now: Server | None) -> Plan:
    """Remove what was begun; a backup that is proven stays, whatever failed behind it; older ones are not touched."""
    final, answer = place(hand), _answer(found)
    if answer is None:
        return Plan(note="how the backup stands is not known; nothing is sent blindly")
    steps = [drop(hand, name) for name in _ours(hand, now)]
    if answer["state"] == "partial":
        steps.append(hand.step("remove what was begun", "rm", "-rf", "--", f"{final}.partial"))
    elif answer["state"] == "complete" and not _is_proven(answer):
        steps.append(hand.step("remove what is not proven", "rm", "-rf", "--", final))
    if steps:
        return Plan(steps=tuple(steps), note="back to the backups that were there")
    proven = answer["state"] == "complete"
    return Plan(note="the new backup is proven and stays" if proven else "nothing was begun")


def restored(hand: Hand, found: Facts, now: Server | None) -> Iterator[str]:
    """What of the failed backup is still there."""
    answer = _answer(found)
    if answer is None or now is None:
        yield f"what is left of {place(hand)} is not known; look there, and for databases called {SCRATCH}…"
        return
    if answer["state"] != "absent" and not _is_proven(answer):
        yield f"{place(hand)} is still there, {answer['state']}: look at it and remove it"
    yield from (f"the scratch database {name} is still there: drop it" for name in _ours(hand, now))


# -- what it came to --------------------------------------------------------------------------------------


def measure(hand: Hand, found: Facts, now: Server | None) -> Iterator[Metric]:
    """Sizes, what was compared, how many backups there are, and how old the one before was."""
    answer, server = _answer(found), hand.server
    yield Metric(name="database_bytes", value=float(sum(one.size for one in server.databases)), unit="bytes")
    if answer and answer["state"] == "complete":
        rows = [int(counts[0]) for counts in answer["restored"].values()]
        yield Metric(name="backup_bytes", value=float(sum(answer["files"].values())), unit="bytes")
        yield Metric(name="tables_compared", value=float(len(rows)), unit="count")
        yield Metric(name="rows_compared", value=float(sum(rows)), unit="count")
    if now:
        yield Metric(name="backups_kept", value=float(len(now.complete)), unit="count")
    if server.complete:
        age = server.ages[f"{server.complete[-1]:06}"]
        yield Metric(name="previous_backup_age", value=float(age), unit="s")


def findings(hand: Hand, found: Facts, _now: Server | None) -> Iterator[Finding]:
    """What about this backup should not stay as it is."""
    answer = _answer(found)
    if answer is None or answer["state"] != "complete":
        return
    if not recipients(hand):
        severity = Severity.INFO if hand.params.encryption == "none" else Severity.WARNING
        advice = f"Put the public key of age-keygen into {hand.params.recipients_file}, and keep the key elsewhere."
        yield _finding(hand, severity, "not_encrypted", "is not encrypted", advice)
    elif not hand.params.identity_file:
        text = "was restored before it was encrypted: nobody decrypted it again"
        advice = "Give identity_file where the key may lie on the host, or restore one elsewhere now and then."
        yield _finding(hand, Severity.INFO, "encryption_unproven", text, advice)
    if moved := [name for name, counts in answer["later"].items() if answer["source"].get(name) != counts]:
        text = f"was made while these changed, so their rows could not be compared: {', '.join(moved[:10])}"
        yield _finding(hand, Severity.INFO, "changed_meanwhile", text, "Choose a quieter hour for an exact proof.")
    if hand.server.engine == "mysql" and any(one.more[0] != "0" for one in hand.server.databases):
        text = "has tables that know no transactions (not InnoDB): they may be from another moment than the rest"
        yield _finding(hand, Severity.WARNING, "not_transactional", text, "Turn them into InnoDB tables.")


def _finding(hand: Hand, severity: Severity, code: str, text: str, advice: str) -> Finding:
    message = f"the backup {place(hand)} {text}"
    return Finding(severity=severity, code=code, message=message, advice=advice, evidence={"backup": place(hand)})
