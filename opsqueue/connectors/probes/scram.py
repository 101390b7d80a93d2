"""SCRAM-SHA-256 (RFC 5802, RFC 7677) from the client's side: a password is proven, and never sent."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
import unicodedata

from opsqueue.connectors.probes.kit import TargetError

_LEAST_ROUNDS = 4096
"""RFC 7677; a server that asks for one would learn what a password is guessed from, ever so fast."""
_MOST_ROUNDS = 100_000
"""PostgreSQL asks for 4096; a server that asks for millions would hold up all other probes."""
_NO_BINDING = b"n,,"


class Scram:
    """One login; the three steps in their order."""

    def __init__(self, password: str) -> None:
        self._password = unicodedata.normalize("NFKC", password).encode()
        self._nonce = base64.b64encode(secrets.token_bytes(18))
        self._wanted = b""

    def first(self) -> bytes:
        """What is said first; the user is named by the protocol around it."""
        return _NO_BINDING + self._bare

    @property
    def _bare(self) -> bytes:
        return b"n=,r=" + self._nonce

    def proof(self, challenge: bytes) -> bytes:
        """The answer to the server's challenge."""
        try:
            told = dict(part.split(b"=", 1) for part in challenge.split(b","))
            nonce, salt, rounds = told[b"r"], base64.b64decode(told[b"s"], validate=True), int(told[b"i"])
        except (ValueError, KeyError, binascii.Error):
            raise TargetError("protocol_error", "the challenge of the login cannot be read") from None
        if not nonce.startswith(self._nonce):
            raise TargetError("protocol_error", "the challenge of the login is not one for us")
        if not _LEAST_ROUNDS <= rounds <= _MOST_ROUNDS:
            wanted = f"{_LEAST_ROUNDS} to {_MOST_ROUNDS}"
            raise TargetError("protocol_error", f"the login asks for {str(rounds)[:20]} rounds, wanted are {wanted}")
        salted = hashlib.pbkdf2_hmac("sha256", self._password, salt, rounds)
        without = b"c=" + base64.b64encode(_NO_BINDING) + b",r=" + nonce
        message = b",".join((self._bare, challenge, without))
        key = hmac.digest(salted, b"Client Key", "sha256")
        signature = hmac.digest(hashlib.sha256(key).digest(), message, "sha256")
        self._wanted = hmac.digest(hmac.digest(salted, b"Server Key", "sha256"), message, "sha256")
        proof = bytes(one ^ two for one, two in zip(key, signature, strict=True))
        return without + b",p=" + base64.b64encode(proof)

    def confirm(self, final: bytes) -> None:
        """TargetError unless the server knows the password too."""
        if not hmac.compare_digest(final, b"v=" + base64.b64encode(self._wanted)):
            raise TargetError("protocol_error", "the server does not know the password itself: it is another one")
