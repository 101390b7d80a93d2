"""What a telephone, a webhook and an address cost or allow: pure, but for looking up `localhost`."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import socket

import pytest

from opsqueue.notify import guard
from opsqueue.notify.guard import Refused, reach, says_inside
from opsqueue.notify.signature import SIGNATURE, TIMESTAMP, signed
from opsqueue.notify.sms import cost, fitted


@pytest.mark.parametrize(
    ("text", "alphabet", "places", "parts"),
    [
        ("a" * 160, "GSM-7", 160, 1),
        ("a" * 161, "GSM-7", 161, 2),
        ("a" * 306, "GSM-7", 306, 2),
        ("a" * 307, "GSM-7", 307, 3),
        ("€" * 80, "GSM-7", 160, 1),
        ("€" * 81, "GSM-7", 162, 2),
        ("a" * 152 + "€" + "a" * 152, "GSM-7", 306, 3),
        ("\u4f60" * 70, "UCS-2", 70, 1),
        ("\u4f60" * 71, "UCS-2", 71, 2),
        ("\u4f60" * 134, "UCS-2", 134, 2),
        ("\u4f60" * 135, "UCS-2", 135, 3),
        ("\U0001f525" * 35, "UCS-2", 70, 1),
        ("\U0001f525" * 67, "UCS-2", 134, 3),
        ("Zürich", "GSM-7", 6, 1),
        ("Kraków", "UCS-2", 6, 1),
        ("", "GSM-7", 0, 1),
    ],
)
def test_what_a_message_costs(text, alphabet, places, parts):
    found = cost(text)
    assert (found.alphabet, found.places, found.parts) == (alphabet, places, parts)


LINK = "https://ops.example.com/alerts/7f3a-90?token=abc"


@pytest.mark.parametrize("parts", [1, 2, 3])
@pytest.mark.parametrize("letter", ["x", "\u4f60"])
@pytest.mark.parametrize("lead", range(60, 480, 7))
def test_a_link_is_whole_or_not_there(parts, letter, lead):
    for text in (f"{letter * lead} {LINK}", f"{letter * lead} {LINK} {letter * 50}", f"{LINK} {letter * lead} {LINK}"):
        short = fitted(text, parts)
        assert cost(short).parts <= parts
        assert short.count("https://") == short.count(LINK)
        if parts > 1 or letter == "x":
            assert LINK in short


def test_the_command_that_shows_more_stays_at_the_end():
    command = "opsqueue show 6f1c2d3e-0000-4000-8000-000000000000"
    name = "\u4f60\u597d" * 80
    short = fitted(f"restart {name}: failed, 0 of 1 host good. {command}", 2)
    assert short.endswith(f"... {command}")
    assert cost(short).parts == 2
    assert fitted("short", 1) == "short"
    assert fitted("x" * 500, 1) == "x" * 157 + "..."


def test_a_signature_is_that_of_time_and_body():
    body = b'{"a": 1}'
    headers = signed("key", body, 1_772_971_200.4)
    assert headers[TIMESTAMP] == "1772971200"
    wanted = hmac.new(b"key", b'1772971200.{"a": 1}', hashlib.sha256).hexdigest()
    assert headers[SIGNATURE] == f"sha256={wanted}"


@pytest.mark.parametrize(
    ("host", "inside"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("::1", True),
        ("10.1.2.3", True),
        ("hooks", True),
        ("hooks.internal", True),
        ("printer.local.", True),
        ("8.8.8.8", False),
        ("hooks.example.com", False),
        ("localhost.example.com", False),
        ("notlocal", True),
        ("evil-local", True),
        ("evil.notlocal", False),
        ("127.1", False),
    ],
)
def test_which_hosts_are_written_as_ones_of_the_inside(host, inside):
    assert says_inside(host) is inside


def leading_to(monkeypatch, *addresses):
    def found(_host, port, **_more):
        kinds = [socket.AF_INET6 if ":" in one else socket.AF_INET for one in addresses]
        return [(kind, socket.SOCK_STREAM, 6, "", (one, port)) for kind, one in zip(kinds, addresses, strict=True)]

    monkeypatch.setattr(guard.socket, "getaddrinfo", found)


@pytest.mark.parametrize(
    ("host", "address", "private", "why"),
    [
        ("hooks.example.com", "127.0.0.1", False, "leads to the private address 127.0.0.1"),
        ("hooks.example.com", "10.0.0.7", False, "set private_addresses"),
        ("hooks.example.com", "192.168.1.1", False, "private address"),
        ("hooks.example.com", "::1", False, "private address"),
        ("hooks.example.com", "::ffff:127.0.0.1", False, "private address 127.0.0.1"),
        ("hooks.example.com", "fd00::1", False, "private address"),
        ("hooks.example.com", "169.254.169.254", True, "to which no webhook is sent"),
        ("169.254.169.254", "169.254.169.254", True, "to which no webhook is sent"),
        ("hooks.internal", "fe80::1", True, "to which no webhook is sent"),
        ("0.0.0.0", "0.0.0.0", True, "to which no webhook is sent"),
    ],
)
def test_a_public_name_leads_to_the_inside_only_where_that_is_allowed(monkeypatch, host, address, private, why):
    leading_to(monkeypatch, address)
    with pytest.raises(Refused, match=why):
        reach(host, 9, 1.0, private=private)


def test_one_bad_address_among_good_ones_is_enough(monkeypatch):
    leading_to(monkeypatch, "93.184.216.34", "10.0.0.7")
    with pytest.raises(Refused):
        reach("hooks.example.com", 9, 1.0, private=False)


def test_what_was_looked_up_is_what_is_connected_to(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        leading_to(monkeypatch, "127.0.0.1")
        with reach("hooks.example.com", server.getsockname()[1], 5.0, private=True) as connection:
            assert ipaddress.ip_address(connection.getpeername()[0]).is_loopback


def test_the_next_address_is_tried_when_the_first_does_not_answer(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        leading_to(monkeypatch, "::1", "127.0.0.1")
        with reach("localhost", server.getsockname()[1], 5.0, private=False) as connection:
            assert connection.getpeername()[0] == "127.0.0.1"
