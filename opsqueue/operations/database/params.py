"""The parameters of `database_maintenance`."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from opsqueue.facts.databases import DatabaseWhere
from opsqueue.model.in_words import in_words
from opsqueue.model.kind import Params
from opsqueue.operations.database.predicate import parse
from opsqueue.secrets import SecretRef

AbsolutePath = Annotated[
    str,
    Field(max_length=1000, pattern=r"^(/[A-Za-z0-9@%+=:,._ /-]*[A-Za-z0-9@%+=:,._-])?$"),
    in_words("an absolute path, such as /srv/data, without quotes, and no / at its end"),
]
"""Nothing that a shell, a database client or a glob would read otherwise."""
DatabaseName = Annotated[
    str,
    Field(max_length=63, pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$"),
    in_words("the name of a database: letters, digits and _, and then . - too"),
]
"""No option, no path, no space: it is the name of a file in a backup too."""
TableName = Annotated[
    str, Field(max_length=127, pattern=r"^([A-Za-z_]\w*(\.[A-Za-z_]\w*)?)?$"), in_words("a table, or schema.table")
]
UserName = Annotated[
    str,
    Field(max_length=63, pattern=r"^([A-Za-z0-9_][A-Za-z0-9_.$-]*)?$"),
    in_words("the name of a user: letters, digits and _, and then . $ - too"),
]
ColumnName = Annotated[
    str,
    Field(max_length=63, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$"),
    in_words("the name of a column: letters, digits and _"),
]
IndexName = Annotated[
    str,
    Field(max_length=63, pattern=r"^([A-Za-z_][A-Za-z0-9_]*)?$"),
    in_words("the name of an index: letters, digits and _"),
]
KeyPattern = Annotated[
    str,
    Field(max_length=500, pattern=r"^([A-Za-z0-9][!-~]*)?$"),
    in_words("a pattern of keys that begins with a letter or digit, such as session:*, without spaces"),
]
Recipient = Annotated[
    str,
    Field(max_length=2000, pattern=r"^(age1[a-z0-9]+|ssh-(ed25519|rsa) [A-Za-z0-9+/=]+)$"),
    in_words("a public key as age has it: age1… or ssh-ed25519 …"),
]

PASSWORD_NAMES = {"postgresql": "PGPASSWORD", "mysql": "MYSQL_PWD", "redis": "REDISCLI_AUTH"}
"""The environment name under which each engine's own client takes a password."""


class DatabaseMaintenanceParams(Params):
    """What is to be done, to which databases of which server, and how."""

    maintenance_type: Literal["backup", "integrity_check", "statistics", "index_optimization", "cleanup", "tuning"]
    engine: Literal["auto", "postgresql", "mysql", "mariadb", "redis", "sqlite"] = "auto"
    """`auto` takes the one server that listens on the host; `mysql` and `mariadb` mean the same."""
    socket: AbsolutePath = ""
    """PostgreSQL: the directory of its socket; MySQL, MariaDB, Redis: the socket; empty: found out."""
    port: int = Field(default=0, ge=0, le=65535)
    """On 127.0.0.1, or of the socket for PostgreSQL; 0: found out."""
    path: AbsolutePath = ""
    """The file of a SQLite database; nobody can find that out."""
    databases: tuple[DatabaseName, ...] = Field(default=(), max_length=100)
    """Only these databases of the server; empty: all but its own."""
    user: UserName = ""
    """The name for the login to the database; empty: as the client decides."""
    password: SecretRef | None = None
    """A reference to the password; better without: peer authentication, `.pgpass`, `defaults_file`."""
    defaults_file: AbsolutePath = ""
    """MySQL, MariaDB: an option file on the host that holds user and password."""
    when_unclear: Literal["fail", "skip"] = "fail"
    """What to do where no database runs, several do and none was named, or it cannot be asked: `skip` tells it and goes
    on, which suits a schedule for all hosts."""
    sudo: bool = True
    """Act as root, and through it as the owner of the database; false: as the worker's own user."""
    run_as: UserName = ""
    """Whom the clients run as on the host; empty: who owns PostgreSQL's socket or SQLite's file."""
    timeout_seconds: int = Field(default=300, ge=10, le=86_400)
    """For each command; a large database needs more, and the operation's own timeout as well."""
    backup_dir: AbsolutePath = "/var/backups/opsqueue"
    """Where backups and reports are kept on the host, in a directory for each server."""
    backup_retention_days: int = Field(default=90, ge=1, le=1_000_000)
    """Backups older than this are removed after a new one is proven; the setting of the same name unless said here."""
    backup_keep: int = Field(default=3, ge=1, le=1000)
    """So many of the newest backups are kept, however old."""
    encryption: Literal["auto", "required", "none"] = "auto"
    """`auto`: with age where recipients are known; `required`: refuse without them; `none`: never."""
    encrypt_to: tuple[Recipient, ...] = Field(default=(), max_length=20)
    """Public keys for age: age1…, or ssh-ed25519 and ssh-rsa without the comment."""
    recipients_file: AbsolutePath = "/etc/opsqueue/backup.recipients"
    """Public keys on the host, used where `encrypt_to` is empty and this file is there."""
    identity_file: AbsolutePath = ""
    """A private key on the host: with it the encrypted backup itself is decrypted and restored as proof."""
    trust_owners: bool = False
    """PostgreSQL: run functions of roles that are no superusers with our rights while a backup is proven, or rows are
    deleted; needed only where the login is a superuser and such functions are found."""
    compare: Literal["content", "count"] = "content"
    """What a scratch restore must have in common with its source: a checksum of each table, or the number of its rows
    alone; of a Redis, keys are counted in any case."""
    max_backup_age_hours: int = Field(default=0, ge=0, le=1_000_000)
    """integrity_check: fails when the newest proven backup is older, or none is there; 0: not asked."""
    bloat_percent: int = Field(default=30, ge=0, le=99)
    """Indexes (PostgreSQL) and tables (MariaDB) with so much waste are rebuilt; 0: all."""
    min_size_mb: int = Field(default=1, ge=0, le=1_000_000)
    """Smaller indexes and tables are left alone."""
    lock_timeout_ms: int = Field(default=10_000, ge=100, le=600_000)
    """How long a rebuild may wait for a lock, or for older transactions, before it gives up; nobody waits behind it.
    The same for each batch of a cleanup."""
    table: TableName = ""
    """cleanup, or an index that is built: the table, as SCHEMA.TABLE where it is not in `public` (PostgreSQL)."""
    index_columns: tuple[ColumnName, ...] = Field(default=(), max_length=16)
    """index_optimization: build an index of `table` on these columns, instead of rebuilding what wastes."""
    index_unique: bool = False
    """index_optimization: what is built is unique; rows that are not make it fail, and nothing of it stays."""
    index_name: IndexName = ""
    """index_optimization: the name of what is built; empty: made of the table and the columns."""
    min_stats_days: int = Field(default=30, ge=0, le=10_000)
    """index_optimization: so old the statistics of a PostgreSQL must be before an index is called unused."""
    predicate: str = Field(default="", max_length=2000)
    """cleanup: which rows go: one expression over columns of the table, names as the catalogue has them."""
    key_pattern: KeyPattern = ""
    """cleanup of Redis: which keys go, as SCAN matches them; it begins with a letter or digit."""
    redis_database: int = Field(default=0, ge=0, le=10_000)
    """cleanup of Redis: the number of the database."""
    max_rows: int = Field(default=0, ge=0, le=1_000_000_000)
    """cleanup: refused when more rows match; no more go in one run, whatever comes meanwhile. Must be given."""
    batch_size: int = Field(default=5000, ge=1, le=100_000)
    """cleanup: so many rows in each transaction."""
    pause_ms: int = Field(default=50, ge=0, le=60_000)
    """cleanup: between two batches."""
    count_seconds: int = Field(default=30, ge=1, le=100)
    """cleanup: how long the exact count may take; without one nothing is deleted."""
    max_replication_lag_seconds: int = Field(default=30, ge=1, le=3600)
    """cleanup: stop when standbys (PostgreSQL) or replicas (Redis) have not got a batch after so long."""
    archive: bool = False
    """cleanup: keep the rows in files on the host first, compared before each delete."""
    allow_cascade: bool = False
    """cleanup: go on although rows of other tables are deleted or changed as well (on delete cascade, set null)."""
    apply: bool = False
    """tuning: set what needs no restart; false: only recommend."""
    profile: Literal["web", "oltp", "dw", "desktop", "mixed"] = "mixed"
    """tuning: what the server is used for."""
    storage: Literal["hdd", "ssd", "san", "nvme"] = "ssd"
    """tuning: what its data lie on."""
    memory_mb: int = Field(default=0, ge=0, le=100_000_000)
    """tuning: the memory that belongs to the server; 0: all of the machine."""
    cpus: int = Field(default=0, ge=0, le=10_000)
    """tuning: the CPUs that belong to the server; 0: all of the machine."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.path and self.engine not in {"auto", "sqlite"}:
            raise ValueError(f"path is the file of a SQLite database, and engine is {self.engine}; give one of them")
        if self.engine == "sqlite" and not self.path:
            raise ValueError("engine is sqlite: give path, the file of the database")
        if self.path and self.databases:
            raise ValueError("a SQLite file is one database: leave out databases")
        if self.password and (self.path or self.engine == "auto"):
            raise ValueError("a password needs engine=postgresql, mysql or redis: each client takes it in its own way")
        if self.engine == "redis" and self.user and not self.password:
            raise ValueError("redis-cli passes over a user without a password; give both")
        if self.encrypt_to and self.encryption == "none":
            raise ValueError("encrypt_to is given, and encryption is none; leave out one of them")
        if self.maintenance_type == "cleanup":
            self._cleanup_fits()
        self._index_fits()
        if any("/../" in f"{one}/" for one in (self.path, self.socket, self.backup_dir, self.identity_file)):
            raise ValueError("a path is given without '..'")
        return self

    def _cleanup_fits(self) -> None:
        if not self.max_rows:
            raise ValueError("a cleanup needs max_rows: more rows than that are never deleted")
        if self.key_pattern and (self.table or self.predicate or self.archive):
            raise ValueError("key_pattern is for Redis, which has no table, predicate or archive; leave them out")
        if not self.key_pattern:
            if not self.table or not self.predicate:
                raise ValueError("a cleanup needs table and predicate, or key_pattern for Redis")
            parse(self.predicate)
        elif {'"', "'", "\\"} & set(self.key_pattern):
            raise ValueError("key_pattern holds no quote and no backslash")

    def _index_fits(self) -> None:
        if (self.index_unique or self.index_name) and not self.index_columns:
            raise ValueError("index_unique and index_name are of an index that is built: give index_columns as well")
        if self.index_columns and (self.maintenance_type != "index_optimization" or not self.table):
            raise ValueError("index_columns builds an index: give maintenance_type index_optimization, and table")

    @property
    def work(self) -> str:
        """The sort of maintenance; to build an index is one of its own."""
        return "index_build" if self.index_columns else self.maintenance_type

    @property
    def task(self) -> tuple[str, ...]:
        """Table and predicate as the fact counts them, for engines that quote with a double quote or a backtick."""
        if self.work not in {"cleanup", "index_build"}:
            return ()
        if self.key_pattern:
            return (str(self.redis_database), self.key_pattern, "", "", str(self.count_seconds))
        schema, name = self.schema_and_name
        double, back = f'"{schema}"."{name}"', f"`{name}`"
        if self.work == "index_build":
            return (double, "", back, "", str(self.count_seconds))
        found = parse(self.predicate)
        return (double, found.sql('"'), back, found.sql("`"), str(self.count_seconds))

    @property
    def schema_and_name(self) -> tuple[str, str]:
        """The table's schema in PostgreSQL, and its name."""
        schema, _, name = self.table.rpartition(".")
        return schema or "public", name

    @property
    def server_kind(self) -> str:
        """The engine as the facts call it."""
        return "mysql" if self.engine == "mariadb" else self.engine

    @property
    def secrets(self) -> dict[str, str]:
        """The environment name of the password, and its reference."""
        return {PASSWORD_NAMES[self.server_kind]: self.password.ref} if self.password else {}

    @property
    def where(self) -> DatabaseWhere:
        """Where the facts look."""
        return DatabaseWhere(
            engine=self.server_kind,
            socket=self.socket,
            port=self.port,
            path=self.path,
            user=self.user,
            run_as=self.run_as,
            sudo=self.sudo,
            databases=self.databases,
            defaults_file=self.defaults_file,
            backup_dir=self.backup_dir,
            recipients_file=self.recipients_file,
            secrets=self.secrets,
            trust_owners=self.trust_owners,
            task=self.task,
        )
