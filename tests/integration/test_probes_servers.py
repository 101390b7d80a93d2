"""Probes of SSH, PostgreSQL and Redis against real servers, and against servers that are none."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import dbkit
import psycopg
import pytest
from sshkit import Farm, Relay, make_key, needs_sshd

from opsqueue.connectors.asking import ask_probes
from opsqueue.connectors.probes import hearers
from opsqueue.connectors.probes.run import answer
from opsqueue.model.fact import Fact, Probe

OTHER_KEY = "SHA256:" + "A" * 43


def ask(kind: str, timeout: float = 20.0, **options: Any) -> dict[str, Any]:
    given = {"host": "127.0.0.1", **options}
    return answer([Probe(kind=kind, options=given, timeout=timeout)])[0]


# -- servers that are none ----------------------------------------------------------------------------------


@contextmanager
def speaker(talk: Callable[[socket.socket], None]) -> Iterator[int]:
    """A server that does one thing with each connection; its port."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection, suppress(OSError):
                    talk(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def silent(connection: socket.socket) -> None:
    while connection.recv(4096):
        """Listen, and never say a word."""


def chatty(connection: socket.socket) -> None:
    end = time.monotonic() + 10
    while time.monotonic() < end:
        connection.sendall(b"x" * 4096)


def dripping(connection: socket.socket) -> None:
    end = time.monotonic() + 10
    while time.monotonic() < end:
        connection.sendall(b"$")
        time.sleep(0.02)


def rude(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")


KINDS = {"ssh": {}, "redis": {}, "postgres": {"user": "watch", "database": "postgres"}}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("talk", [silent, dripping])
def test_the_total_deadline_is_hard(kind: str, talk: Callable[[socket.socket], None]) -> None:
    with speaker(talk) as port:
        began = time.monotonic()
        found = ask(kind, timeout=0.5, port=port, **KINDS[kind])
        assert time.monotonic() - began < 10  # the libraries that are not used here took 15
    assert (found["ok"], found["error"]) in {(False, "timeout"), (False, "protocol_error")}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("talk", [chatty, rude])
def test_what_is_no_such_server_is_said_so(kind: str, talk: Callable[[socket.socket], None]) -> None:
    with speaker(talk) as port:
        found = ask(kind, port=port, **KINDS[kind])
    assert found["ok"] is False
    assert found["error"] in {"protocol_error", "reset"}, found


@pytest.mark.parametrize("kind", KINDS)
def test_a_port_on_which_nobody_listens_is_refused(kind: str) -> None:
    found = ask(kind, port=dbkit.free_port(), **KINDS[kind])
    assert (found["ok"], found["error"], found["failed_phase"]) == (False, "refused", "connect")


@pytest.mark.parametrize("head", [b"$999999999\r\n", b"$-1\r\n", b":1\r\n", b"*1\r\n", b"\r\n"])
def test_strange_answers_of_a_redis_are_no_answers(head: bytes) -> None:
    def talk(connection: socket.socket) -> None:
        connection.recv(100)
        connection.sendall(head)
        silent(connection)

    with speaker(talk) as port:
        assert ask("redis", port=port)["error"] == "protocol_error"


def test_what_a_redis_says_of_itself_is_kept_in_part() -> None:
    long = "x" * 100_000
    names = ("redis_version", "role", "master_link_status", "rdb_last_bgsave_status")
    told = "".join(f"{name}:{long}\r\n" for name in names).encode()

    def talk(connection: socket.socket) -> None:
        connection.recv(100)
        connection.sendall(b"+PONG\r\n")
        connection.recv(100)
        connection.sendall(b"$%d\r\n%s\r\n" % (len(told), told))

    with speaker(talk) as port:
        found = ask("redis", port=port)
    assert [found[name] for name in ("version", "role", "link", "last_save")] == ["x" * 40] * 4


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e400", "many"])
def test_what_a_postgres_calls_a_number_is_one(number: str) -> None:
    with speaker(_talking_postgres(number.encode())) as port:
        found = ask("postgres", port=port, user="watch", database="postgres")
    assert (found["ok"], found["error"], found["failed_phase"]) == (False, "protocol_error", "state")
    assert number in found["detail"]


def test_the_talking_postgres_is_one() -> None:
    with speaker(_talking_postgres(b"7")) as port:
        found = ask("postgres", port=port, user="watch", database="postgres")
    assert (found["ok"], found["lag_s"]) == (True, 7.0)


def _talking_postgres(lag: bytes) -> Callable[[socket.socket], None]:
    """Lets everybody in, and says how far behind it is."""

    def said(kind: bytes, body: bytes) -> bytes:
        return kind + (len(body) + 4).to_bytes(4, "big") + body

    def row(*columns: bytes) -> bytes:
        cells = b"".join(len(one).to_bytes(4, "big") + one for one in columns)
        return said(b"D", len(columns).to_bytes(2, "big") + cells) + said(b"Z", b"I")

    def talk(connection: socket.socket) -> None:
        for reply in (
            said(b"R", b"\0\0\0\0") + said(b"Z", b"I"),
            row(b"1"),
            row(b"t", lag, b"1", b"2", b"9", b"3", b"t", b"17"),
        ):
            connection.recv(4096)
            connection.sendall(reply)
        connection.recv(100)

    return talk


def test_a_postgres_that_asks_for_a_million_rounds_delays_nobody() -> None:
    def talk(connection: socket.socket) -> None:
        connection.recv(1000)
        mechanisms = b"\0\0\0\x0aSCRAM-SHA-256\0\0"
        connection.sendall(b"R" + (len(mechanisms) + 4).to_bytes(4, "big") + mechanisms)
        nonce = connection.recv(1000).rpartition(b"r=")[2]
        body = b"\0\0\0\x0br=" + nonce + b"more,s=c2FsdA==,i=900000000"
        connection.sendall(b"R" + (len(body) + 4).to_bytes(4, "big") + body)
        silent(connection)

    with speaker(talk) as port:
        found = ask("postgres", port=port, user="watch", database="postgres", password="sesame")
    assert (found["error"], found["failed_phase"]) == ("protocol_error", "auth")


def _heard_from(reply: bytes, kind: str, **options: Any) -> tuple[dict[str, Any], bytes]:
    """What a check with a password finds at a server that wants one, and what that hears after its first words."""
    heard: list[bytes] = []

    def talk(connection: socket.socket) -> None:
        if kind == "postgres":
            connection.recv(1000)
            connection.sendall(reply)
        heard.append(connection.recv(1000))

    with speaker(talk) as port:
        found = ask(kind, port=port, password="sesame", **KINDS[kind], **options)
    return found, b"".join(heard)


WANTS_MD5 = b"R\0\0\0\x0c\0\0\0\x05salt"


@pytest.mark.parametrize(("kind", "begins"), [("redis", b"*2\r\n$4\r\nAUTH"), ("postgres", b"p\0\0\0(md5")])
def test_a_password_goes_to_this_machine_or_to_who_is_proven(
    kind: str, begins: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _heard_from(WANTS_MD5, kind)[1].startswith(begins)
    monkeypatch.setattr(hearers, "_on_this_machine", lambda _address: False)
    found, heard = _heard_from(WANTS_MD5, kind)
    assert "give the check `tls` with `verify_tls`" in found["unknown"]
    assert heard == b""


@pytest.mark.parametrize(
    ("address", "options", "may"),
    [
        ("127.0.0.9", {}, True),
        ("::1", {}, True),
        ("::ffff:127.0.0.1", {}, True),
        ("fe80::1%eth0", {}, False),
        ("192.0.2.7", {}, False),
        ("::ffff:192.0.2.7", {}, False),
        ("192.0.2.7", {"tls": True}, True),
        ("192.0.2.7", {"tls": True, "verify_tls": False}, False),
        ("192.0.2.7", {"verify_tls": True}, False),
    ],
)
def test_who_may_hear(address: str, options: dict[str, Any], may: bool) -> None:
    assert hearers.may_hear(address, options) is may


def test_a_password_is_not_told_in_clear_text_to_whoever_asks() -> None:
    heard = []

    def talk(connection: socket.socket) -> None:
        connection.recv(1000)
        connection.sendall(b"R\0\0\0\x08\0\0\0\x03")
        heard.append(connection.recv(1000))

    with speaker(talk) as port:
        found = ask("postgres", port=port, user="watch", database="postgres", password="sesame")
    assert "only with tls and verify_tls" in found["unknown"]
    assert heard == [b""]


# -- SSH ----------------------------------------------------------------------------------------------------


@needs_sshd
def test_an_ssh_server_shows_its_key_and_nobody_logs_in() -> None:
    with Farm(hosts=1) as farm:
        host = farm.host()
        found = ask("ssh", host=host.address, port=host.port)
        assert farm.logins() == 0
        told = dbkit.run(["ssh-keygen", "-lf", f"{farm.host_key_file}.pub"])
    assert (found["ok"], found["expected"], found["key_type"]) == (True, True, "ssh-ed25519")
    assert found["fingerprint"] in told
    assert found["banner"].startswith("SSH-2.0-OpenSSH")
    assert set(found["phases"]) == {"dns", "connect", "banner", "keys", "total"}


@needs_sshd
def test_a_key_of_another_kind_than_the_first_is_found_too(tmp_path: Path) -> None:
    make_key(tmp_path / "second", "ecdsa")
    second = dbkit.run(["ssh-keygen", "-lf", f"{tmp_path}/second.pub"]).split()[1]
    with Farm(hosts=1, lines=[f"HostKey {tmp_path}/second"]) as farm:
        host = farm.host()
        right = ask("ssh", host=host.address, port=host.port, host_keys=[second])
        wrong = ask("ssh", host=host.address, port=host.port, host_keys=[OTHER_KEY])
    assert (right["expected"], right["fingerprint"], right["key_type"]) == (True, second, "ecdsa-sha2-nistp256")
    assert (wrong["ok"], wrong["expected"]) == (True, False)
    assert [text.split()[0] for text in wrong["shown"]] == ["ssh-ed25519", "ecdsa-sha2-nistp256"]


@needs_sshd
def test_probes_of_ssh_leave_no_thread_behind() -> None:
    with Farm(hosts=1) as farm:
        host = farm.host()
        for _ in range(3):
            assert ask("ssh", host=host.address, port=host.port)["ok"]
        ask("ssh", host=host.address, port=host.port, timeout=0.001)

        def left() -> list[str]:
            return [one.name for one in threading.enumerate() if "ssh" in one.name or "Wire" in type(one).__name__]

        dbkit.until(lambda: not left(), what="the end of the threads of the probes")


@needs_sshd
def test_lines_before_the_greeting_are_heard_and_passed_over() -> None:
    with Farm(hosts=1) as farm, Relay(farm.host(), greeting=b"Welcome to the bastion\r\n") as relay:
        found = ask("ssh", host=relay.host.address, port=relay.host.port)
    assert (found["ok"], found["banner"].split("_")[0]) == (True, "SSH-2.0-OpenSSH")


# -- Redis --------------------------------------------------------------------------------------------------

needs_redis = dbkit.needs(("redis-server", "redis-server"), ("redis-cli", "redis-tools"))


@pytest.mark.service
@needs_redis
def test_a_redis_tells_how_it_stands() -> None:
    with dbkit.redis("--maxmemory", "20mb") as server:
        found = ask("redis", port=server.port)
    assert (found["ok"], found["ready"], found["role"], found["link"]) == (True, True, "primary", None)
    assert (found["last_save"], found["loading"], found["memory_most"]) == ("ok", False, 20 << 20)
    assert 0 < found["memory_percent"] < 100
    assert {"connect", "ping", "info", "total"} <= set(found["phases"])


@pytest.mark.service
@needs_redis
def test_a_replica_without_its_primary_says_so() -> None:
    with dbkit.redis("--replicaof", "127.0.0.1", str(dbkit.free_port())) as server:
        found = ask("redis", port=server.port)
        server.cli("config", "set", "replica-serve-stale-data", "no")
        stale = ask("redis", port=server.port)
    assert (found["role"], found["link"], found["ready"]) == ("replica", "down", True)
    assert (stale["ready"], stale["why_not"].split()[0], stale["link"]) == (False, "MASTERDOWN", "down")


@pytest.mark.service
@needs_redis
def test_a_save_that_failed_is_seen() -> None:
    with dbkit.redis() as server:
        server.cli("set", "a", "b")
        (server.directory / "dump.rdb").mkdir()  # so that nothing can be put there
        server.cli("bgsave")
        dbkit.until(lambda: ask("redis", port=server.port)["last_save"] == "err", what="the failed save")


@pytest.mark.service
@needs_redis
def test_a_login_is_a_matter_of_the_check_and_not_of_the_server() -> None:
    with dbkit.redis() as server:
        server.cli("acl", "setuser", "watch", "on", ">sesame", "+ping", "-info")
        server.cli("config", "set", "requirepass", "another")
        none = ask("redis", port=server.port)
        wrong = ask("redis", port=server.port, password="wrong")
        blind = ask("redis", port=server.port, user="watch", password="sesame")
        right = ask("redis", port=server.port, password="another")
    assert "NOAUTH" in none["unknown"]
    assert "WRONGPASS" in wrong["unknown"]
    assert (blind["ready"], blind["info_refused"].split()[0]) == (True, "NOPERM")
    assert (right["ready"], right["role"]) == (True, "primary")


@pytest.mark.service
@needs_redis
def test_a_redis_that_is_busy_is_not_ready() -> None:
    with dbkit.redis("--lua-time-limit", "50") as server:
        loop = subprocess.Popen(["redis-cli", "-p", str(server.port), "eval", "while true do end", "0"])
        try:
            dbkit.until(lambda: not ask("redis", port=server.port).get("ready", True), what="the script to hold it up")
            found = ask("redis", port=server.port)
            assert (found["ok"], found["ready"], found["why_not"].split()[0]) == (True, False, "BUSY")
        finally:
            server.cli("script", "kill")
            loop.wait(20)


@pytest.mark.service
@needs_redis
@dbkit.needs(("openssl", "openssl"))
def test_a_redis_behind_tls() -> None:
    with dbkit.redis() as server:
        certificate, port = certify(dbkit.user("redis"), server.directory), dbkit.free_port()
        for name, value in (
            ("tls-cert-file", certificate),
            ("tls-key-file", certificate.with_name("server.key")),
            ("tls-auth-clients", "no"),
            ("tls-port", port),
        ):
            assert server.cli("config", "set", name, str(value)) == "OK"
        found = ask("redis", port=port, tls=True, ca_file=str(certificate))
        unknown = ask("redis", port=port, tls=True)
        plain = ask("redis", port=port)
    assert (found["ready"], "tls" in found["phases"]) == (True, True)
    assert (unknown["error"], unknown["failed_phase"]) == ("tls_failed", "tls")
    assert plain["ok"] is False


@pytest.mark.service
@needs_redis
def test_a_secret_is_read_at_the_last_moment_and_shown_to_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHECK_REDIS", "sesame")
    options = {"host": "127.0.0.1"}

    def asked(port: int, reference: str = "env:CHECK_REDIS") -> Any:
        ask = Probe(kind="redis", options={**options, "port": port}, secrets={"password": reference}, timeout=20)
        return ask_probes([Fact(name="r", ask=ask)])["r"]

    def parrot(connection: socket.socket) -> None:
        connection.sendall(b"-ERR you said " + connection.recv(1000).replace(b"\r\n", b" ") + b"\r\n")

    with dbkit.redis("--requirepass", "sesame") as server:
        assert asked(server.port)["ready"] is True
        assert "no CHECK_NONE in the environment" in asked(server.port, "env:CHECK_NONE")["unknown"]
    with speaker(parrot) as port:
        said = str(asked(port))
    assert "[secret]" in said
    assert "sesame" not in said


# -- PostgreSQL ---------------------------------------------------------------------------------------------

needs_postgres = dbkit.needs(("initdb", "postgresql"), ("psql", "postgresql"))
ACCESS = (
    "host all md5user 127.0.0.1/32 md5",
    "host all plain 127.0.0.1/32 password",
    "host all trusted 127.0.0.1/32 trust",
    "host all all 127.0.0.1/32 scram-sha-256",
)
ROLES = """
create role watch login password 'sesame';
create role monitor login password 'sesame' in role pg_monitor;
create role plain login password 'sesame';
create role trusted login connection limit 1;
set password_encryption = md5;
create role md5user login password 'sesame';
"""


@pytest.fixture(scope="module")
def postgres() -> Iterator[dbkit.Postgres]:
    settings = ("max_connections=20", "superuser_reserved_connections=3", "max_prepared_transactions=2")
    with dbkit.postgres(*ACCESS, settings=settings) as server:
        server.sql(ROLES)
        yield server


def look(server: dbkit.Postgres, user: str = "watch", password: str = "sesame", **more: Any) -> dict[str, Any]:
    return ask("postgres", port=server.port, user=user, database="postgres", password=password, **more)


@pytest.mark.service
@needs_postgres
def test_a_postgres_tells_how_it_stands(postgres: dbkit.Postgres) -> None:
    found = look(postgres, "monitor")
    assert (found["ok"], found["standby"], found["lag_s"], found["receiving"]) == (True, False, None, None)
    assert (found["connections_most"], found["oldest_transaction_s"]) == (20, 0.0)
    assert 1 <= found["connections"] <= 20
    assert found["connections_percent"] == 100 * found["connections"] / 20
    assert {"dns", "connect", "auth", "query", "state", "total"} <= set(found["phases"])
    assert found["version"].split(".")[0].isdigit()


@pytest.mark.service
@needs_postgres
@pytest.mark.parametrize("user", ["watch", "md5user"])
def test_a_password_is_proven_in_both_ways(postgres: dbkit.Postgres, user: str) -> None:
    assert look(postgres, user)["ok"] is True
    assert "28P01" in look(postgres, user, "wrong")["unknown"]
    assert "give `password`" in look(postgres, user, "")["unknown"]


@pytest.mark.service
@needs_postgres
def test_what_a_role_may_not_see_is_not_called_zero(postgres: dbkit.Postgres) -> None:
    assert look(postgres, "watch")["oldest_transaction_s"] is None
    assert "only with tls and verify_tls" in look(postgres, "plain")["unknown"]


@pytest.mark.service
@needs_postgres
def test_an_old_transaction_is_seen_even_when_its_session_is_gone(postgres: dbkit.Postgres) -> None:
    postgres.sql("begin; create table left_over (); prepare transaction 'forgotten';")
    try:
        dbkit.until(lambda: look(postgres, "monitor")["oldest_transaction_s"] > 0, what="the transaction to grow old")
    finally:
        postgres.sql("rollback prepared 'forgotten'")
    assert look(postgres, "monitor")["oldest_transaction_s"] == 0


@pytest.mark.service
@needs_postgres
def test_a_login_that_finds_no_place_is_the_server_s_matter(postgres: dbkit.Postgres) -> None:
    with psycopg.connect(host="127.0.0.1", port=postgres.port, user="trusted", dbname="postgres"):
        found = look(postgres, "trusted", "")
    assert (found["ok"], found["error"], found["failed_phase"]) == (False, "rejected", "auth")
    assert found["detail"].startswith("53300")
    missing = ask("postgres", port=postgres.port, user="watch", database="none", password="sesame")
    assert missing["detail"].startswith("3D000")


@pytest.mark.service
@needs_postgres
def test_tls_that_is_not_offered_is_a_failure(postgres: dbkit.Postgres) -> None:
    found = look(postgres, "watch", tls=True)
    assert (found["ok"], found["error"], found["failed_phase"]) == (False, "tls_failed", "tls")


@pytest.mark.service
@needs_postgres
@dbkit.needs(("openssl", "openssl"))
def test_a_password_is_told_in_clear_text_where_tls_proves_who_hears_it() -> None:
    with dbkit.postgres(*ACCESS) as server:
        server.sql("create role plain login password 'sesame'")
        certificate = certify(server.owner, server.directory / "data")
        server.sql("alter system set ssl = on")
        server.sql("select pg_reload_conf()")
        dbkit.until(lambda: look(server, "plain", tls=True, ca_file=str(certificate)).get("ok"), what="TLS")
        found = look(server, "plain", tls=True, ca_file=str(certificate))
        unsure = look(server, "plain", tls=True, verify_tls=False)
        unknown = look(server, "plain", tls=True)
        shown = ask("tls", port=server.port, starttls="postgres", ca_file=str(certificate))
    assert (shown["trusted"], shown["name_ok"], shown["subject"]) == (True, True, "127.0.0.1")
    assert "tls" in found["phases"]
    assert "only with tls and verify_tls" in unsure["unknown"]
    assert (unknown["error"], unknown["failed_phase"]) == ("tls_failed", "tls")


def certify(owner: str, folder: Path) -> Path:
    """A certificate for 127.0.0.1 with its key, which signed itself."""
    key, certificate = folder / "server.key", folder / "server.crt"
    names = ("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2", "-nodes")
    files = ("-keyout", str(key), "-out", str(certificate))
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")
    dbkit.run(dbkit.as_user(owner, ["openssl", "req", "-x509", *curve, *names, *files]))
    dbkit.run(dbkit.as_user(owner, ["chmod", "600", str(key)]))
    return certificate


@pytest.mark.service
@needs_postgres
def test_a_standby_that_receives_nothing_says_so() -> None:
    with dbkit.postgres(*ACCESS) as server:
        server.sql("create role watch login password 'sesame'; checkpoint;")
        server.restart((server.directory / "data/standby.signal").touch)
        try:
            found = look(server)
            assert (found["ok"], found["standby"], found["receiving"]) == (True, True, False)
        finally:
            server.ctl("-m", "immediate", "stop")
            (server.directory / "data/standby.signal").unlink()
            server.start()


@contextmanager
def standby_of(primary: dbkit.Postgres) -> Iterator[int]:
    """A standby that streams from this server; its port."""
    data, port = primary.directory / "standby", dbkit.free_port()
    reach = ["-h", str(primary.directory), "-p", str(primary.port)]
    dbkit.run(dbkit.as_user(primary.owner, [dbkit.program("pg_basebackup"), *reach, "-D", str(data), "-R"]))
    words = f"-c port={port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={data} -c fsync=off"
    control = [dbkit.program("pg_ctl"), "-D", str(data), "-w"]
    dbkit.run(dbkit.as_user(primary.owner, [*control, "-l", str(data / "log"), "-o", words, "start"]))
    try:
        yield port
    finally:
        dbkit.run(dbkit.as_user(primary.owner, [*control, "-m", "immediate", "stop"]))


@pytest.mark.service
@needs_postgres
def test_a_standby_streams_until_its_primary_is_gone() -> None:
    with dbkit.postgres(*ACCESS) as primary:
        primary.sql("create role watch login password 'sesame'")
        with standby_of(primary) as port:

            def found() -> dict[str, Any]:
                return ask("postgres", port=port, user="watch", database="postgres", password="sesame")

            dbkit.until(lambda: found().get("receiving"), what="the stream")
            primary.sql("create table news ()")
            dbkit.until(lambda: found()["lag_s"] == 0, what="the standby to be up to date")
            assert (found()["standby"], found()["receiving"]) == (True, True)
            primary.ctl("-m", "immediate", "stop")
            dbkit.until(lambda: found()["receiving"] is False, what="the standby to notice")
            dbkit.until(lambda: (found()["lag_s"] or 0) > 0, what="its last change to grow old")
            primary.start()
