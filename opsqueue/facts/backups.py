"""A backup's repository, and what is to be backed up: asked on the host with programs that are sent there as text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from opsqueue.facts.on_host import program
from opsqueue.model.fact import Fact, Script
from opsqueue.model.plan import Result

RESTIC, TREE = program("restic_host"), program("tree_host")
"""The texts of the two programs."""
NO_PYTHON = 97
_RUN = f"""\
command -v python3 >/dev/null || {{ echo 'there is no python3'; exit {NO_PYTHON}; }}
program=$1 RESTIC_REPOSITORY=$2; shift 2
export RESTIC_REPOSITORY
if [ "$1" ]; then RESTIC_PASSWORD_FILE=$1; export RESTIC_PASSWORD_FILE; fi
shift
exec python3 -I -c "$program" "$@"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupWhere:
    """Where to look, and as whom."""

    repository: str
    password_file: str
    name: str
    """Of the set."""
    label: str
    """The host as the repository knows it; empty: its own name."""
    state: str
    """The directory of this set on the host."""
    sudo: bool
    timeout: int
    secrets: Mapping[str, str] = field(default_factory=dict)

    def script(self, text: str, *words: str, private: bool = False) -> Script:
        """One of the programs, with these words."""
        args = (text, self.repository, self.password_file, *words)
        secrets = self.secrets if private else {}
        return Script(text=_RUN, args=args, sudo=self.sudo, secrets=secrets, timeout=self.timeout)


def repository(where: BackupWhere, run: int = 0) -> Fact:
    """Fact `repository`: whether it opens, its snapshots of this set, its locks; of `run` also what it changed."""
    words = ("look", "--state", where.state, "--name", where.name, "--label", where.label, "--run", str(run))
    return Fact(name="repository", ask=where.script(RESTIC, *words, private=True), parse=_parse)


def sources(where: BackupWhere, rules: Mapping[str, Any], rooms: Mapping[str, str], *, walk: bool) -> Fact:
    """Fact `sources`: what is missing or cannot be read, sizes, free room, and what earlier runs left on the host."""
    words = ("look", "--state", where.state, "--rules", json.dumps(rules), "--rooms", json.dumps(rooms))
    return Fact(name="sources", ask=where.script(TREE, *words, *(("--walk",) if walk else ())), parse=_parse)


def _parse(result: Result) -> Any:
    if result.exit_code != 0:
        why = "it took too long" if result.timed_out else result.output.strip()[-400:]
        raise ValueError(why or f"exit code {result.exit_code}")
    return json.loads(result.stdout)
