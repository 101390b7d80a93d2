"""How commands for one set on one host are written: restic with its waiting, and the programs beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from opsqueue.facts.backups import RESTIC, TREE
from opsqueue.model.fact import Facts, why_unknown
from opsqueue.model.plan import Command, Step
from opsqueue.operations.backup.params import BackupParams

OLDEST = (0, 14)
"""The oldest restic that is known to do what is asked of it here."""
SPARSE = (0, 15)
"""Since then holes of files come back as holes."""
LOCKED = 11


def answer(found: Facts, name: str) -> Mapping[str, Any] | None:
    """The answer to one fact, if it is known."""
    told = found.get(name)
    return None if not told or why_unknown(told) is not None else told


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """One run of a set in the repository."""

    id: str
    run: int
    at: str
    """UTC."""
    age: int
    """Seconds, when it was asked for."""
    verified: bool
    paths: tuple[str, ...]

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Snapshot:
        """As the host told it."""
        return cls(**{**told, "paths": tuple(told["paths"])})

    def __str__(self) -> str:
        return f"run {self.run} of {self.at} ({self.id})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hand:
    """Writes the steps for one set; both answers are known."""

    params: BackupParams
    repository: Mapping[str, Any]
    sources: Mapping[str, Any]

    @classmethod
    def of(cls, params: BackupParams, found: Facts) -> Hand | None:
        """None where the host could not be asked."""
        one, two = answer(found, "repository"), answer(found, "sources")
        return cls(params=params, repository=one, sources=two) if one and two else None

    # -- what is there --------------------------------------------------------------------------------

    @property
    def version(self) -> tuple[int, ...]:
        """Of restic; empty when there is none."""
        return tuple(int(word) for word in self.repository["restic"].split("-")[0].split(".") if word.isdigit())

    @property
    def snapshots(self) -> tuple[Snapshot, ...]:
        """Of this set, the oldest first."""
        return tuple(Snapshot.of(one) for one in self.repository["snapshots"])

    @property
    def proven(self) -> tuple[Snapshot, ...]:
        """Those that were restored and compared."""
        return tuple(one for one in self.snapshots if one.verified)

    @property
    def label(self) -> str:
        """The host as the repository knows it."""
        return str(self.repository["label"])

    @property
    def runs(self) -> Mapping[str, Any]:
        """What earlier runs left in the directory of this set, by name."""
        return dict(self.sources["runs"])

    @property
    def next_run(self) -> int:
        """The number of the next run; the same again after what was begun of it was removed."""
        here = [int(name) for name, one in self.runs.items() if name.isdigit() and not one["partial"]]
        return max([0, *here, *(one.run for one in self.snapshots)]) + 1

    @property
    def roots(self) -> tuple[str, ...]:
        """What is backed up: of the paths that a set means by itself, those that are there."""
        own = self.params.inventory
        if self.params.paths:
            return self.params.roots
        return tuple(one for one in self.params.roots if one == own or one not in self.sources["missing"])

    def chosen(self) -> Snapshot | None:
        """The one that `snapshot` names; of several of one run the newest."""
        if self.params.snapshot == "latest":
            return self.proven[-1] if self.proven else None
        number = int(self.params.snapshot)
        return next((one for one in reversed(self.snapshots) if one.run == number), None)

    def place(self, run: int) -> str:
        """Where the manifest and the reports of a run lie."""
        return f"{self.params.state}/{run:06}"

    # -- commands -------------------------------------------------------------------------------------

    def step(self, title: str, *argv: str, stdin: str = "", ok: Sequence[int] = (0,)) -> Step:
        """One command."""
        params = self.params
        command = Command(argv=argv, sudo=params.sudo, stdin=stdin, timeout=params.timeout_seconds)
        return Step(title=title, command=command, ok_codes=tuple(ok))

    def restic(
        self,
        title: str,
        *words: str,
        save: str = "",
        include: str = "",
        inside: str = "",
        ok: Sequence[int] = (0,),
        free: bool = False,
    ) -> Step:
        """One command of restic, which waits for the locks of others; `free`: only remove those that we left.

        `inside`: an empty directory that only we can enter; restic runs there.
        """
        params = self.params
        given = (("--save", save), ("--include-from", include), ("--inside", inside))
        more = tuple(word for name, value in given if value for word in (name, value))
        first = ("python3", "-I", f"{params.state}/restic_host.py", "release" if free else "run", "--state")
        limit = ("--limit-upload", str(params.limit_upload_kib)) if params.limit_upload_kib else ()
        rest = () if free else ("--wait", str(params.lock_wait_seconds), *more, "--", *limit, *words)
        env = {"RESTIC_REPOSITORY": params.local or params.repository, "OPSQUEUE_NICE": str(params.nice)}
        if params.password_file:
            env["RESTIC_PASSWORD_FILE"] = params.password_file
        command = Command(
            argv=(*first, params.state, *rest),
            sudo=params.sudo,
            env=env,
            secrets=params.secrets,
            timeout=params.timeout_seconds,
        )
        return Step(title=title, command=command, ok_codes=tuple(ok))

    def tree(self, title: str, verb: str, *words: str, ok: Sequence[int] = (0,)) -> Step:
        """One command of the program that knows files."""
        return self.step(title, "python3", "-I", f"{self.params.state}/tree_host.py", verb, *words, ok=ok)

    def prepared(self) -> tuple[Step, ...]:
        """The directories on the host, and the programs that are not there or are others."""
        params, made = self.params, ("install", "-d", "-m", "0700", "--")
        return (
            self.step("make the place of this set", *made, params.work_dir, params.state),
            *(
                self.step(f"bring {name}.py", "dd", f"of={params.state}/{name}.py", "status=none", stdin=text)
                for name, text in (("restic_host", RESTIC), ("tree_host", TREE))
                if self.sources["programs"][name] != sha256(text.encode()).hexdigest()
            ),
        )

    def rules(self) -> str:
        """What belongs to the backup, as the program is told."""
        return json.dumps(self.params.rules(self.roots), sort_keys=True)

    @property
    def one_run(self) -> tuple[str, str]:
        """The options that name this host and this set."""
        return "--host", self.label

    def tagged(self, *more: str) -> tuple[str, str]:
        """The option that names snapshots of this set with all of these tags."""
        return "--tag", ",".join(("opsqueue", f"set={self.params.called}", *more))

    @property
    def sparse(self) -> tuple[str, ...]:
        """The option that keeps holes, where restic knows it."""
        return ("--sparse",) if self.version >= SPARSE else ()
