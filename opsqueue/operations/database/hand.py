"""How commands for one server are written: as its owner, with its address, and with no secret in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from opsqueue.facts.databases import Server
from opsqueue.model.plan import Command, Step
from opsqueue.operations.database.params import DatabaseMaintenanceParams

SCRATCH = "opsqueue_scratch_"
"""How every database of a scratch restore begins; nothing else may be called so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hand:
    """Writes the steps for one server."""

    params: DatabaseMaintenanceParams
    server: Server

    @property
    def base(self) -> str:
        """The directory of this server's backups and reports."""
        return f"{self.params.backup_dir}/{self.server.label}"

    @property
    def becomes(self) -> bool:
        """Whether commands run as another user than root."""
        return self.params.sudo and self.server.owner not in {"", "root"}

    def step(
        self,
        title: str,
        *argv: str,
        stdin: str = "",
        env: Mapping[str, str] | None = None,
        login: bool = False,
        ok_codes: tuple[int, ...] = (0,),
    ) -> Step:
        """One command as the owner; `login` hands it the address of the server and the password."""
        words = ("runuser", "-u", self.server.owner, "--", *argv) if self.becomes else argv
        given = dict(env or {}) | (self.address if login else {})
        return Step(title=title, command=self._command(words, stdin, given, login=login), ok_codes=ok_codes)

    def directories(self) -> tuple[Step, ...]:
        """Make the place of this server below `backup_dir`, which is left as it is where it is there.

        Where others than root could put a link in the way, its owner makes it himself: root would give away what it
        leads to.
        """
        if self.becomes and self.server.loose:
            return (
                self.step("make the place for backups", "mkdir", "-p", "-m", "0755", "--", self.params.backup_dir),
                self.step("make the place of this server", "install", "-d", "-m", "0700", "--", self.base),
            )
        owner = ("-o", self.server.owner) if self.becomes else ()
        return (
            self.as_root("make the place for backups", "mkdir", "-p", "-m", "0755", "--", self.params.backup_dir),
            self.as_root("make the place of this server", "install", "-d", "-m", "0700", *owner, "--", self.base),
        )

    def as_root(self, title: str, *argv: str) -> Step:
        """One command that only root may run (or the worker's own user, without sudo)."""
        return Step(title=title, command=self._command(argv, "", {}, login=False))

    def _command(self, argv: tuple[str, ...], stdin: str, env: Mapping[str, str], *, login: bool) -> Command:
        return Command(
            argv=argv,
            sudo=self.params.sudo,
            stdin=stdin,
            env=env,
            secrets=self.params.secrets if login else {},
            timeout=self.params.timeout_seconds,
        )

    @property
    def address(self) -> dict[str, str]:
        """What PostgreSQL's programs read from the environment; the others are told by arguments."""
        if self.server.engine != "postgresql":
            return {}
        user = {"PGUSER": self.params.user} if self.params.user else {}
        return {"PGHOST": self.server.socket, "PGPORT": str(self.server.port), **user}

    @property
    def client(self) -> tuple[str, ...]:
        """The arguments that lead the client of MySQL, MariaDB or Redis to its server."""
        params, server = self.params, self.server
        if server.engine == "redis":
            way = ("-s", server.socket) if server.socket else ("-h", "127.0.0.1", "-p", str(server.port))
            return ("--no-auth-warning", *way, *(("--user", params.user) if params.user else ()))
        first = (f"--defaults-extra-file={params.defaults_file}",) if params.defaults_file else ()
        user = (f"--user={params.user}",) if params.user else ()
        tcp = ("--protocol=tcp", "--host=127.0.0.1", f"--port={server.port}")
        return (*first, *user, *((f"--socket={server.socket}",) if server.socket else tcp))
