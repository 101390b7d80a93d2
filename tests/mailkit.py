"""A mail server for tests: real SMTP on a port of its own, and what came."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes, policy

from aiosmtpd.controller import Controller


class Mailbox:
    """Takes mail for all but `gone@` (550) and `later@` (451).

    `got` has each as (recipient, message); of several recipients the first.
    """

    def __init__(self):
        self.got = []

    async def handle_RCPT(  # noqa: N802 - the name that aiosmtpd calls
        self, _server, _session, envelope, address, _options
    ):
        if address.startswith("gone"):
            return "550 5.1.1 no such mailbox"
        if address.startswith("later"):
            return "451 4.3.0 try again later"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server, _session, envelope):  # noqa: N802 - the name that aiosmtpd calls
        self.got.append((envelope.rcpt_tos[0], message_from_bytes(envelope.content, policy=policy.default)))
        return "250 OK"


class Mail(Controller):
    """A server on a port that the system chose; `handler.got` is what came."""

    def _trigger_server(self):
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()


@contextmanager
def mail_server(box: Mailbox | None = None) -> Iterator[Mail]:
    """It listens until the end of the block."""
    server = Mail(box or Mailbox(), hostname="127.0.0.1", port=0)
    server.start()
    try:
        yield server
    finally:
        server.stop()
