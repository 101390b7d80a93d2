"""Probes against real servers on the loopback: none of them may hang, raise, or delay another."""

from __future__ import annotations

import gzip
import os
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import dns.message
import dns.rcode
import dns.rrset
import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from opsqueue.connectors.asking import ask_probes
from opsqueue.connectors.probes import loop
from opsqueue.connectors.probes.run import answer
from opsqueue.model.fact import Fact, Probe


def ask(kind: str, timeout: float = 3.0, **options: Any) -> dict[str, Any]:
    return answer([Probe(kind=kind, options=options, timeout=timeout)])[0]


# -- HTTP ---------------------------------------------------------------------------------------------------


def twice_packed() -> bytes:
    return gzip.compress(gzip.compress(b"x" * 9_000_000))


class Pages(BaseHTTPRequestHandler):
    """One page for each way in which a web server can behave."""

    protocol_version = "HTTP/1.1"
    flaky = 0

    def do_GET(self) -> None:
        {
            "/ok": self.ok, "/error": self.error, "/drip": self.drip, "/loop": self.loop, "/moved": self.moved,
            "/huge": self.huge, "/half": self.half, "/flaky": self.sometimes, "/slow-head": self.slow_head,
            "/charset": self.charset, "/moved-bomb": self.moved_with_bomb, "/moved-much": self.moved_with_much,
            "/charset-idna": lambda: self.reply(200, b"\xff." + b"a" * 70, Content_Type="text/plain; charset=idna"),
            "/bomb": lambda: self.reply(200, twice_packed(), Content_Encoding="gzip, gzip"),
            "/gzip": lambda: self.reply(200, gzip.compress(b"y" * 9_000_000), Content_Encoding="identity, gzip"),
            "/deflate": lambda: self.reply(200, zlib.compress(b"good"), Content_Encoding="deflate"),
            "/bare": lambda: self.reply(200, zlib.compress(b"good", wbits=-15), Content_Encoding="deflate"),
            "/no-gzip": lambda: self.reply(200, b"\x1f\x8bno", Content_Encoding="gzip"),
        }[self.path]()  # fmt: skip

    do_POST = do_GET  # noqa: N815 - the name that http.server calls

    def reply(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def ok(self) -> None:
        length = int(self.headers.get("content-length", 0))
        seen = f"{self.command} {self.headers.get('x-seen', '')} {self.rfile.read(length).decode()}"
        self.reply(200, b'{"status": "UP"}', X_Seen=seen, Set_Cookie="session=hidden")

    def error(self) -> None:
        self.reply(500, b"broken")

    def loop(self) -> None:
        self.reply(302, Location="/loop")

    def moved(self) -> None:
        self.reply(302, Location="/ok")

    def moved_with_bomb(self) -> None:
        self.reply(302, twice_packed(), Location="/ok", Content_Encoding="gzip, gzip")

    def moved_with_much(self) -> None:
        self.send_response(302)
        self.send_header("Location", "/ok")
        self.send_header("Content-Length", str(10**12))
        self.end_headers()
        self._pour(b"x" * 65_536, 0.0)

    def charset(self) -> None:
        self.reply(200, b"caf\xff\x00", Content_Type="text/plain; charset=no-such")

    def sometimes(self) -> None:
        type(self).flaky += 1
        self.reply(200 if type(self).flaky > 2 else 503)

    def huge(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(200_000_000))
        self.end_headers()
        self._pour(b"x" * 65_536, 0.0)

    def half(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(b"half")
        self.close_connection = True

    def drip(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self._pour(b"x", 0.05)

    def slow_head(self) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\n")
        self._pour(b"X-Filler: 1\r\n", 0.05)

    def _pour(self, piece: bytes, pause: float) -> None:
        end = time.monotonic() + 5
        try:
            while time.monotonic() < end:
                self.wfile.write(piece)
                self.wfile.flush()
                time.sleep(pause)
        except OSError:
            self.close_connection = True

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are the point of these tests."""


@pytest.fixture(scope="module")
def web() -> Iterator[str]:
    with Server(("127.0.0.1", 0), Pages) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_good_page_is_answered_with_phases_and_without_cookies(web: str) -> None:
    found = ask("http", url=f"{web}/ok", method="POST", headers={"x-seen": "me"}, body="hello")
    assert (found["ok"], found["status"], found["body"]) == (True, 200, '{"status": "UP"}')
    assert found["headers"]["x-seen"] == "POST me hello"
    assert "set-cookie" not in found["headers"]
    assert {"dns", "connect", "ttfb", "body", "total"} <= set(found["phases"])
    assert found["phases"]["total"] >= found["phases"]["ttfb"] > 0
    assert (found["attempts"], found["address"], found["truncated"]) == (1, "127.0.0.1", False)


def test_an_error_page_is_an_answer(web: str) -> None:
    found = ask("http", url=f"{web}/error", expect_status="2xx")
    assert (found["ok"], found["status"], found["expected"], found["body"]) == (True, 500, False, "broken")


@pytest.mark.parametrize(("page", "phase"), [("/drip", "body"), ("/slow-head", "ttfb")])
def test_a_server_that_drips_is_cut_at_the_deadline(web: str, page: str, phase: str) -> None:
    began = time.monotonic()
    found = ask("http", timeout=0.4, url=web + page)
    assert time.monotonic() - began < 10
    assert (found["ok"], found["error"], found["failed_phase"]) == (False, "timeout", phase)


def test_of_a_huge_body_only_the_beginning_is_read(web: str) -> None:
    found = ask("http", url=f"{web}/huge", max_bytes=1000)
    assert (found["ok"], found["body_bytes"], found["truncated"]) == (True, 1000, True)


def test_half_a_body_is_a_broken_answer(web: str) -> None:
    assert ask("http", url=f"{web}/half")["error"] in {"protocol_error", "reset"}


def test_an_unknown_charset_is_read_as_utf8(web: str) -> None:
    assert ask("http", url=f"{web}/charset")["body"].startswith("caf")


def test_a_charset_that_is_none_for_bodies_is_read_as_utf8(web: str) -> None:
    assert ask("http", url=f"{web}/charset-idna")["status"] == 200


def test_a_body_that_is_not_encoded_as_it_says_is_a_broken_answer(web: str) -> None:
    assert ask("http", url=f"{web}/no-gzip")["error"] == "protocol_error"


def test_a_ca_file_that_is_no_file_holds_up_nobody(tmp_path: Path, web: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large").write_bytes(b"#" * ((1 << 20) + 1))
    (tmp_path / "empty").write_text("no certificate, and no Zertifikat für irgendwen\n")
    strange = [str(tmp_path / "pipe"), str(tmp_path / "large"), "/dev/ptmx", "/dev/zero", str(tmp_path)]
    kinds = [("tls", {"host": "127.0.0.1", "port": 1, "ca_file": path}) for path in [*strange, str(tmp_path / "empty")]]
    *found, page = answer(
        [Probe(kind=kind, options=o, timeout=5) for kind, o in [*kinds, ("http", {"url": f"{web}/ok"})]]
    )
    assert [("ca_file" in one["unknown"], page["ok"]) for one in found] == [(True, True)] * 6
    assert ["regular file" in one["unknown"] for one in found] == [True, False, True, True, True, False]
    assert "at most 1048576 bytes" in found[1]["unknown"]


def test_a_body_is_unpacked_once_and_only_as_far_as_it_is_wanted(web: str) -> None:
    found = ask("http", url=f"{web}/gzip", max_bytes=1000)
    assert (found["body"], found["truncated"]) == ("y" * 1000, True)
    assert [ask("http", url=f"{web}/{name}")["body"] for name in ("deflate", "bare")] == ["good", "good"]
    refused = ask("http", url=f"{web}/bomb")
    assert (refused["ok"], refused["error"], refused["failed_phase"]) == (False, "protocol_error", "body")
    assert "packed as 'gzip, gzip'" in refused["detail"]


@pytest.mark.parametrize("page", ["moved-bomb", "moved-much"])
def test_the_body_of_a_redirect_is_not_read(web: str, page: str) -> None:
    found = ask("http", url=f"{web}/{page}", follow_redirects=True)
    assert (found["status"], found["redirects"]) == (200, 1)


def test_redirects_are_followed_only_when_asked(web: str) -> None:
    stay = ask("http", url=f"{web}/moved")
    assert (stay["status"], stay["redirects"], stay["url"]) == (302, 0, f"{web}/moved")
    go = ask("http", url=f"{web}/moved", follow_redirects=True)
    assert (go["status"], go["redirects"], go["url"]) == (200, 1, f"{web}/ok")
    assert ask("http", url=f"{web}/loop", follow_redirects=True)["error"] == "too_many_redirects"


def test_retries_are_counted_and_end_with_the_first_good_answer(web: str) -> None:
    Pages.flaky = 0
    found = ask("http", url=f"{web}/flaky", retries=4, expect_status="2xx")
    assert (found["status"], found["attempts"]) == (200, 3)


def test_retries_end_with_the_total_deadline(web: str) -> None:
    began = time.monotonic()
    found = ask("http", timeout=0.7, url=f"{web}/drip", retries=50, attempt_timeout=0.2)
    assert time.monotonic() - began < 6
    assert found["error"] == "timeout"
    assert 1 < found["attempts"] < 4


def test_the_proxy_of_the_environment_is_not_asked(web: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert ask("http", url=f"{web}/ok")["status"] == 200


# -- TCP, and what never answers ----------------------------------------------------------------------------


@contextmanager
def listener(backlog: int = 5) -> Iterator[socket.socket]:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(backlog)
        yield server


@contextmanager
def speaker(talk: Callable[[socket.socket], None]) -> Iterator[int]:
    """A server that does one thing with each connection; its port."""
    with listener() as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    try:
                        talk(connection)
                    except OSError:
                        continue

        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def free_port() -> int:
    with listener() as server:
        return int(server.getsockname()[1])


@pytest.mark.parametrize("kind", ["http", "tcp", "tls"])
def test_a_closed_port_is_refused_at_connect(kind: str) -> None:
    port = free_port()
    found = ask(kind, url=f"http://127.0.0.1:{port}/", host="127.0.0.1", port=port)
    assert (found["ok"], found["error"], found["failed_phase"]) == (False, "refused", "connect")


def test_a_name_with_several_addresses_is_refused_too() -> None:
    assert ask("tcp", host="localhost", port=free_port())["error"] == "refused"


@pytest.mark.parametrize(("kind", "phase"), [("http", "ttfb"), ("tcp", "banner"), ("tls", "tls")])
def test_a_silent_listener_is_a_timeout_in_its_phase(kind: str, phase: str) -> None:
    with listener() as server:
        port = server.getsockname()[1]
        began = time.monotonic()
        options = {"url": f"http://127.0.0.1:{port}/", "host": "127.0.0.1", "port": port, "expect": "hello"}
        found = ask(kind, timeout=0.3, **options)
        assert time.monotonic() - began < 10
    assert (found["ok"], found["error"], found["failed_phase"]) == (False, "timeout", phase)


def test_a_full_backlog_is_a_timeout() -> None:
    with listener(backlog=0) as server, ExitStack() as stack:
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(server.getsockname())
        found = ask("tcp", timeout=0.3, host="127.0.0.1", port=server.getsockname()[1])
    assert (found["ok"], found["error"], found["failed_phase"]) == (False, "timeout", "connect")


def test_a_banner_is_sent_for_heard_and_compared() -> None:
    def talk(connection: socket.socket) -> None:
        heard = connection.recv(100)
        for byte in b"+PONG " + heard:
            connection.sendall(bytes([byte]))

    with speaker(talk) as port:
        good = ask("tcp", host="127.0.0.1", port=port, send="PING\r\n", expect="PONG PING")
        bad = ask("tcp", host="127.0.0.1", port=port, send="PING\r\n", expect="no such text")
    assert good["expected"]
    assert (bad["ok"], bad["expected"], bad["banner"]) == (True, False, "+PONG PING\r\n")


def test_the_time_of_an_answer_is_that_of_the_attempt_that_got_it() -> None:
    calls = []

    def talk(connection: socket.socket) -> None:
        calls.append(1)
        if len(calls) == 1:
            connection.recv(100)  # until the other side gives up
        else:
            connection.sendall(b"here")

    with speaker(talk) as port:
        found = ask("tcp", timeout=30, host="127.0.0.1", port=port, expect="here", retries=3, attempt_timeout=3)
    assert (found["ok"], found["attempts"]) == (True, 2)
    assert found["phases"]["total"] < 3000  # both together took longer


def test_a_connection_that_is_cut_is_a_reset() -> None:
    def cut(connection: socket.socket) -> None:
        connection.recv(100)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")

    with speaker(cut) as port:
        assert ask("http", url=f"http://127.0.0.1:{port}/")["error"] == "reset"


def test_what_cannot_be_made_is_unknown_and_never_raises() -> None:
    strange = [
        Probe(kind="icmp", options={}),
        Probe(kind="tcp", options={}),
        Probe(kind="tcp", options={"host": "127.0.0.1", "port": "80"}),
        Probe(kind="http", options={"url": "gopher://127.0.0.1/"}),
        Probe(kind="http", options={"url": "http://" + "a" * 70 + ".test/"}),
        Probe(kind="tls", options={"host": "127.0.0.1", "port": 1, "ca_file": "/does/not/exist"}),
        Probe(kind="dns", options={"name": "x.test", "resolver": "not-an-address"}),
        Probe(kind="dns", options={"name": "x..test", "resolver": "127.0.0.1"}),
        Probe(kind="http", options={"url": "http://127.0.0.1/", "retries": "many"}),
    ]
    found = answer(strange)
    assert [sorted(one) for one in found] == [["unknown"]] * len(strange), found
    assert answer([]) == []


def test_a_probe_that_cannot_be_made_harms_no_other(web: str) -> None:
    good = Probe(kind="http", options={"url": f"{web}/ok"})
    bad = Probe(kind="http", options={"url": f"{web}/ok", "retries": "many"})
    found = answer([good, bad, good])
    assert [one.get("status") for one in found] == [200, None, 200]


@pytest.fixture
def hanging_names(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Names under .test are looked up until the test ends, as with a name server that drops packets."""
    release = threading.Event()
    real = socket.getaddrinfo

    def hanging(host: str, port: Any, *rest: Any) -> Any:
        if host.endswith(".test") and not rest[-1] & socket.AI_NUMERICHOST:
            release.wait(10)
        return real(host, port, *rest)

    monkeypatch.setattr(socket, "getaddrinfo", hanging)
    monkeypatch.setattr(loop, "_lookups", threading.BoundedSemaphore(2))
    yield
    release.set()
    for thread in threading.enumerate():
        if thread.name == "probe-lookup":
            thread.join(5)


def test_a_hanging_name_server_delays_nobody(web: str, hanging_names: None) -> None:
    hang = Probe(kind="tcp", options={"host": "h.test", "port": 1}, timeout=0.5)
    good = Probe(kind="http", options={"url": f"{web.replace('127.0.0.1', 'localhost')}/ok"}, timeout=3)
    began = time.monotonic()
    first, hung, again = answer([good, hang, good])
    assert time.monotonic() - began < 6
    assert (first["status"], again["status"]) == (200, 200)
    assert max(first["phases"]["total"], again["phases"]["total"]) < 450
    assert (hung["error"], hung["failed_phase"]) == ("timeout", "dns")


def test_look_ups_that_hang_are_bounded(web: str, hanging_names: None) -> None:
    hang = [Probe(kind="tcp", options={"host": f"h{n}.test", "port": 1}, timeout=0.2) for n in range(4)]
    found = answer(hang)
    assert [one.get("error") for one in found[:2]] == ["timeout", "timeout"]
    assert ["look-ups of earlier probes still hang" in one["unknown"] for one in found[2:]] == [True, True]
    assert answer([Probe(kind="http", options={"url": f"{web}/ok"})])[0]["status"] == 200


def test_of_all_that_is_asked_only_so_many_are_tried_at_once_as_was_said() -> None:
    with listener(backlog=50) as server:
        options = {"host": "127.0.0.1", "port": server.getsockname()[1], "expect": "hello"}
        tries = [Probe(kind="tcp", options=options, timeout=30, beside=2) for _ in range(6)]
        server.settimeout(30)
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(ask_probes, [Fact(name=f"t{number}", ask=one) for number, one in enumerate(tries)])
            for _ in range(3):
                two = [server.accept()[0] for _ in range(2)]
                server.settimeout(0.2)
                with pytest.raises(TimeoutError):  # nobody else comes before one of them is answered
                    server.accept()
                server.settimeout(30)
                for one in two:
                    one.sendall(b"hello\n")
                    one.close()
            found = asked.result(30)
        assert list(found) == [f"t{number}" for number in range(6)]
        assert all(one["ok"] for one in found.values())


def test_many_slow_probes_take_no_longer_than_their_waves() -> None:
    with listener(backlog=50) as server:
        slow = Probe(
            kind="tcp", options={"host": "127.0.0.1", "port": server.getsockname()[1], "expect": "x"}, timeout=0.2
        )
        began = time.monotonic()
        found = answer([slow] * 16, concurrency=8)
        assert 0.4 <= time.monotonic() - began < 2.5
    assert {one["error"] for one in found} == {"timeout"}


# -- TLS ----------------------------------------------------------------------------------------------------

Key = ec.EllipticCurvePrivateKey


def named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def certificate(
    name: str,
    *,
    days: float = 90,
    signer: tuple[x509.Certificate, Key] | None = None,
    authority: bool = False,
    since: float = -365,
) -> tuple[x509.Certificate, Key]:
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    issuer_key = signer[1] if signer else key
    builder = (
        x509.CertificateBuilder()
        .subject_name(named(name))
        .issuer_name(signer[0].subject if signer else named(name))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(days=since))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )
    if not authority:
        names = x509.SubjectAlternativeName(
            [x509.DNSName(name), *([x509.IPAddress(ip_address("127.0.0.1"))] if name == "localhost" else [])]
        )
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
        builder = builder.add_extension(names, critical=False).add_extension(usage, critical=False)
    return builder.sign(issuer_key, hashes.SHA256()), key


class Authority:
    """A certificate authority with a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pair = certificate("Test Authority", days=365, authority=True)
        self.file = folder / "ca.pem"
        self.file.write_bytes(self.pair[0].public_bytes(serialization.Encoding.PEM))

    def context(self, *chain: tuple[x509.Certificate, Key]) -> ssl.SSLContext:
        file = self.folder / f"{chain[0][0].serial_number}.pem"
        key = chain[0][1].private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        pem = b"".join(one.public_bytes(serialization.Encoding.PEM) for one, _ in chain)
        file.write_bytes(key + pem)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@contextmanager
def secure(
    context: ssl.SSLContext, before: Callable[[socket.socket], None] = lambda _: None, reply: bytes = b""
) -> Iterator[int]:
    def talk(connection: socket.socket) -> None:
        before(connection)
        with context.wrap_socket(connection, server_side=True) as tls:
            if reply:
                tls.recv(4096)
                tls.sendall(reply)

    with speaker(talk) as port:
        yield port


def test_a_good_certificate_is_trusted_with_its_authority_only(authority: Authority) -> None:
    with secure(authority.context(certificate("localhost", signer=authority.pair))) as port:
        good = ask("tls", host="localhost", port=port, ca_file=str(authority.file))
        alone = ask("tls", host="localhost", port=port)
    assert (good["ok"], good["trusted"], good["name_ok"], good["reason"]) == (True, True, True, "")
    assert good["days_left"] == pytest.approx(90, abs=0.1)
    assert (good["subject"], good["issuer"]) == ("localhost", "Test Authority")
    assert good["protocol"] == "TLSv1.3"
    assert {"dns", "connect", "tls", "total"} <= set(good["phases"])
    assert (alone["ok"], alone["trusted"], alone["name_ok"]) == (True, False, True)
    assert "unable to get local issuer" in alone["reason"]


def test_an_expired_certificate_is_still_read(authority: Authority) -> None:
    with secure(authority.context(certificate("localhost", days=-3, signer=authority.pair))) as port:
        found = ask("tls", host="localhost", port=port, ca_file=str(authority.file))
    assert (found["trusted"], found["reason"]) == (False, "certificate has expired")
    assert found["days_left"] == pytest.approx(-3, abs=0.1)


def test_a_certificate_that_begins_later_is_still_read(authority: Authority) -> None:
    with secure(authority.context(certificate("localhost", since=2, signer=authority.pair))) as port:
        found = ask("tls", host="localhost", port=port, ca_file=str(authority.file))
    assert (found["trusted"], found["name_ok"], found["reason"]) == (False, True, "certificate is not yet valid")
    assert found["days_left"] == pytest.approx(90, abs=0.1)


def test_a_chain_without_its_middle_is_not_trusted_and_still_read(authority: Authority) -> None:
    middle = certificate("Middle", signer=authority.pair, authority=True)
    with secure(authority.context(certificate("localhost", signer=middle))) as port:
        found = ask("tls", host="localhost", port=port, ca_file=str(authority.file))
    assert (found["trusted"], found["chain_length"], found["issuer"]) == (False, 1, "Middle")
    assert "unable to get local issuer" in found["reason"]


def test_a_self_signed_certificate_is_still_read(authority: Authority) -> None:
    with secure(authority.context(certificate("localhost"))) as port:
        found = ask("tls", host="localhost", port=port)
    assert (found["trusted"], found["name_ok"]) == (False, True)
    assert "self-signed" in found["reason"]


def test_the_name_is_compared_with_the_one_that_was_asked_for(authority: Authority) -> None:
    with secure(authority.context(certificate("*.example.test", signer=authority.pair))) as port:
        ca = str(authority.file)
        wrong = ask("tls", host="127.0.0.1", port=port, ca_file=ca)
        right = ask("tls", host="127.0.0.1", port=port, ca_file=ca, server_name="www.example.test")
        deep = ask("tls", host="127.0.0.1", port=port, ca_file=ca, server_name="a.b.example.test")
    assert (wrong["trusted"], wrong["name_ok"]) == (False, False)
    assert (right["trusted"], right["name_ok"]) == (True, True)
    assert (deep["trusted"], deep["name_ok"]) == (False, False)


def test_days_left_are_those_of_the_certificate_that_ends_first(authority: Authority) -> None:
    middle = certificate("Middle", days=5, signer=authority.pair, authority=True)
    leaf = certificate("localhost", days=80, signer=middle)
    with secure(authority.context(leaf, middle)) as port:
        found = ask("tls", host="localhost", port=port, ca_file=str(authority.file))
    assert (found["trusted"], found["chain_length"], found["first_to_end"]) == (True, 2, "Middle")
    assert found["days_left"] == pytest.approx(5, abs=0.1)
    assert found["leaf_days_left"] == pytest.approx(80, abs=0.1)


def test_a_plain_server_is_no_tls_server() -> None:
    with speaker(lambda connection: connection.sendall(b"220 hello\r\n")) as port:
        found = ask("tls", host="127.0.0.1", port=port)
    assert (found["ok"], found["error"], found["failed_phase"]) == (False, "tls_failed", "tls")


def _smtp(connection: socket.socket) -> None:
    connection.sendall(b"220 mail ready\r\n")
    connection.recv(100)
    connection.sendall(b"250-mail\r\n250 STARTTLS\r\n")
    connection.recv(100)
    connection.sendall(b"220 go on\r\n")


def _imap(connection: socket.socket) -> None:
    connection.sendall(b"* OK ready\r\n")
    connection.recv(100)
    connection.sendall(b"a1 OK begin\r\n")


def _postgres(connection: socket.socket) -> None:
    connection.recv(8)
    connection.sendall(b"S")


@pytest.mark.parametrize("before", [_smtp, _imap, _postgres])
def test_starttls_comes_before_the_certificate(authority: Authority, before: Callable[[socket.socket], None]) -> None:
    context = authority.context(certificate("localhost", signer=authority.pair))
    with secure(context, before) as port:
        kind = before.__name__.strip("_")
        found = ask("tls", host="localhost", port=port, ca_file=str(authority.file), starttls=kind)
    assert (found["ok"], found["trusted"]) == (True, True)


def test_a_real_mail_server_upgrades_before_it_shows_its_certificate(authority: Authority) -> None:
    context = authority.context(certificate("localhost", days=20, signer=authority.pair))

    class Here(Controller):
        def factory(self) -> SMTP:
            return SMTP(self.handler, tls_context=context, require_starttls=True, hostname="mail.test")

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mail = Here(object(), hostname="127.0.0.1", port=port)
    mail.start()
    try:
        found = ask("tls", timeout=20, host="localhost", port=port, ca_file=str(authority.file), starttls="smtp")
    finally:
        mail.stop()
    assert (found["ok"], found["trusted"], found["name_ok"]) == (True, True, True)
    assert found["days_left"] == pytest.approx(20, abs=0.1)


def test_starttls_that_is_not_offered_is_a_failure() -> None:
    with speaker(lambda connection: connection.sendall(b"554 no\r\n")) as port:
        found = ask("tls", host="127.0.0.1", port=port, starttls="smtp")
    assert (found["ok"], found["error"], found["failed_phase"]) == (False, "tls_failed", "starttls")


def test_https_verifies_unless_told_otherwise_and_shows_the_certificate(authority: Authority) -> None:
    context = authority.context(certificate("localhost", days=40, signer=authority.pair))
    page = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"
    with secure(context, reply=page) as port:
        url = f"https://localhost:{port}/"
        refused = ask("http", url=url)
        lax = ask("http", url=url, verify_tls=False)
        good = ask("http", url=url, ca_file=str(authority.file))
    assert (refused["ok"], refused["error"], refused["failed_phase"]) == (False, "tls_failed", "tls")
    assert "local issuer" in refused["detail"]
    assert (lax["status"], good["status"]) == (204, 204)
    assert good["certificate"]["days_left"] == pytest.approx(40, abs=0.1)
    assert {"connect", "tls", "ttfb"} <= set(good["phases"])


# -- DNS ----------------------------------------------------------------------------------------------------

ZONE = {"www.example.test.": ("A", 300, ["192.0.2.2", "192.0.2.1"]), "empty.example.test.": ("A", 60, [])}


@pytest.fixture(scope="module")
def name_server() -> Iterator[str]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]

        def serve() -> None:
            while True:
                data, client = server.recvfrom(4096)
                if data == b"stop":
                    return
                query = dns.message.from_wire(data)
                name = query.question[0].name.to_text()
                if name.startswith("silent."):
                    continue
                reply = dns.message.make_response(query)
                rtype, ttl, records = ZONE.get(name, ("A", 0, []))
                if name not in ZONE:
                    reply.set_rcode(dns.rcode.SERVFAIL if name.startswith("broken.") else dns.rcode.NXDOMAIN)
                if records:
                    reply.answer.append(dns.rrset.from_text(name, ttl, "IN", rtype, *records))
                server.sendto(reply.to_wire(), client)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"127.0.0.1:{port}"
        server.sendto(b"stop", ("127.0.0.1", port))
        thread.join()


@pytest.mark.parametrize(
    ("name", "rcode", "answers", "expected"),
    [
        ("www.example.test", "NOERROR", ["192.0.2.1", "192.0.2.2"], True),
        ("empty.example.test", "NOERROR", [], False),
        ("no.example.test", "NXDOMAIN", [], False),
        ("broken.example.test", "SERVFAIL", [], False),
    ],
)
def test_every_code_of_a_name_server_is_an_answer(
    name_server: str, name: str, rcode: str, answers: list[str], expected: bool
) -> None:
    found = ask("dns", name=name, resolver=name_server)
    assert (found["ok"], found["rcode"], found["answers"]) == (True, rcode, answers)
    assert found["expected"] is expected
    assert found["ttl"] == (300 if answers else None)
    assert found["resolver"] == name_server


def test_the_order_of_records_does_not_count(name_server: str) -> None:
    expect = ["192.0.2.2", "192.0.2.1"]
    assert ask("dns", name="www.example.test", resolver=name_server, expect=expect)["expected"]
    assert not ask("dns", name="www.example.test", resolver=name_server, expect=expect[:1])["expected"]


def test_a_silent_name_server_is_a_timeout(name_server: str) -> None:
    found = ask("dns", timeout=0.3, name="silent.example.test", resolver=name_server)
    assert (found["ok"], found["error"], found["failed_phase"]) == (False, "timeout", "query")
