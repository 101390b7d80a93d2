"""Probes and the addresses where clouds keep their secrets: by no name, redirect or second look is one asked."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from opsqueue.connectors.probes import kit, loop
from opsqueue.connectors.probes.run import answer
from opsqueue.model.fact import Probe

NEVER = (
    "169.254.169.254",
    "169.254.169.253",
    "2852039166",
    "0xa9fea9fe",
    "169.254.43518",
    "fe80::1",
    "fd00:ec2::254",
    "fd20:ce::254",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "fd00:42::42",
    "::ffff:169.254.169.254",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::a9fe:a9fe",
    "2002:a9fe:a9fe::1",
    "::169.254.169.254",
)


LONG = 60.0
"""Seconds that the slowest machine may take."""


def ask(kind: str, **options: Any) -> dict[str, Any]:
    return answer([Probe(kind=kind, options=options, timeout=LONG)])[0]


class Away(BaseHTTPRequestHandler):
    """Sends everybody where the path says, after its first stroke."""

    def do_GET(self) -> None:
        self.send_response(302)
        self.send_header("Location", self.path[1:] or "/")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Nobody reads it."""


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Away) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def never_asked(found: dict[str, Any]) -> bool:
    return set(found) == {"unknown"} and found["unknown"].endswith("no check asks it")


@pytest.mark.parametrize("address", NEVER)
def test_where_a_cloud_keeps_its_secrets_no_probe_goes(address: str) -> None:
    where = {"host": address}
    found = [
        ask("http", url=f"http://{f'[{address}]' if ':' in address else address}/latest/meta-data/"),
        ask("tcp", **where, port=80),
        ask("tls", **where),
        ask("ssh", **where),
        ask("postgres", **where, user="watch", database="x"),
        ask("redis", **where),
    ]
    assert [one for one in found if not never_asked(one)] == []


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "::1", "::ffff:127.0.0.1", "10.0.0.5", "192.168.1.1", "100.64.0.1", "fd00::1", "8.8.8.8"]
)
def test_what_there_is_to_watch_is_asked(address: str) -> None:
    loop.refuse(address)


@pytest.mark.parametrize("resolver", ["169.254.169.253", "169.254.169.254:80", "[fe80::1]:53"])
def test_no_name_server_of_a_single_link_is_asked_on_anothers_word(resolver: str) -> None:
    assert never_asked(ask("dns", name="a.example", resolver=resolver))


def leads_to(monkeypatch: pytest.MonkeyPatch, **names: Any) -> list[str]:
    """From now on these names (`_` for a dot) lead to the addresses, one list per look-up; the last one stays."""
    real, asked = socket.getaddrinfo, []
    answers = {name.replace("_", "."): list(lists) for name, lists in names.items()}

    def found(host: Any, port: Any, *rest: Any, **more: Any) -> Any:
        if host not in answers or (len(rest) > 3 and rest[3] & socket.AI_NUMERICHOST):
            return real(host, port, *rest, **more)
        asked.append(host)
        addresses = answers[host].pop(0) if len(answers[host]) > 1 else answers[host][0]
        kinds = [socket.AF_INET6 if ":" in one else socket.AF_INET for one in addresses]
        return [(kind, socket.SOCK_STREAM, 6, "", (one, port)) for kind, one in zip(kinds, addresses, strict=True)]

    monkeypatch.setattr(socket, "getaddrinfo", found)
    return asked


@pytest.mark.parametrize("address", ["169.254.169.254", "fe80::1", "fd00:ec2::254"])
def test_a_name_that_leads_there_is_said_to(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    asked = leads_to(monkeypatch, meta_example=[[address]])
    for found in (ask("http", url="http://meta.example/"), ask("tcp", host="meta.example", port=80)):
        assert never_asked(found)
        assert f"{address} is" in found["unknown"]
        assert "meta.example leads to it" in found["unknown"]
    assert asked


def test_of_several_addresses_the_others_are_asked(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    leads_to(monkeypatch, own_example=[["169.254.169.254", "fe80::1", "127.0.0.1"]])
    for found in (ask("http", url=f"http://own.example:{port}/"), ask("tcp", host="own.example", port=port)):
        assert (found["ok"], found["address"]) == (True, "127.0.0.1")


@pytest.mark.parametrize("kind", ["http", "tcp"])
def test_a_name_that_leads_elsewhere_at_the_second_look_gains_nothing(
    port: int, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    leads_to(monkeypatch, two_example=[["127.0.0.1"], ["169.254.169.254"]])
    options = {"url": f"http://two.example:{port}/"} if kind == "http" else {"host": "two.example", "port": port}
    found = ask(kind, **options)
    assert never_asked(found) or found["ok"], found


@pytest.mark.parametrize(
    "to",
    ["http://169.254.169.254/", "http://[fd00:ec2::254]/", "http://2852039166/", "http://meta.example/"],
)
def test_no_redirect_leads_there(port: int, monkeypatch: pytest.MonkeyPatch, to: str) -> None:
    leads_to(monkeypatch, meta_example=[["169.254.169.254"]])
    url = f"http://127.0.0.1:{port}/{to}"
    assert never_asked(ask("http", url=url, follow_redirects=True))
    assert ask("http", url=url)["status"] == 302, "without following it is an answer like any"


def test_the_loop_itself_connects_to_none_of_them() -> None:
    async def tried() -> None:
        with socket.socket() as connection:
            connection.setblocking(False)
            await asyncio.get_running_loop().sock_connect(connection, ("169.254.169.254", 80))

    async def as_our_own() -> None:
        with loop.ours(), socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as connection:
            connection.setblocking(False)
            await asyncio.get_running_loop().sock_connect(connection, server.getsockname())
            assert await asyncio.get_running_loop().getaddrinfo("169.254.169.253", 53)

    with asyncio.Runner(loop_factory=loop.ProbeLoop) as runner:
        with pytest.raises(kit.ProbeError, match="no check asks it"):
            runner.run(tried())
        runner.run(as_our_own())
        with pytest.raises(kit.ProbeError, match="no check asks it"):
            runner.run(tried())
