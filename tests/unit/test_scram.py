"""SCRAM-SHA-256 against the example of RFC 7677, and against servers that do not know the password."""

from __future__ import annotations

import pytest

from opsqueue.connectors.probes.kit import TargetError
from opsqueue.connectors.probes.scram import Scram

NONCE = b"rOprNGfwEbeRWgbNEkqO"
THEIRS = NONCE + b"%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
CHALLENGE = b"r=" + THEIRS + b",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"


@pytest.fixture
def scram() -> Scram:
    """As in the RFC, but for the user: PostgreSQL leaves it empty, as it is named before."""
    one = Scram("pencil")
    one._nonce = NONCE
    return one


def test_the_example_of_the_rfc(scram: Scram, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Scram, "_bare", b"n=user,r=" + NONCE)
    assert scram.first() == b"n,,n=user,r=" + NONCE
    proof = scram.proof(CHALLENGE)
    assert proof == b"c=biws,r=" + THEIRS + b",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    scram.confirm(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")


def test_a_server_that_does_not_know_the_password_is_another_one(scram: Scram) -> None:
    scram.proof(CHALLENGE)
    with pytest.raises(TargetError, match="does not know the password"):
        scram.confirm(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")


@pytest.mark.parametrize(
    "challenge",
    [
        b"",
        b"r=" + THEIRS,
        b"r=other,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
        b"r=" + THEIRS + b",s=*,i=4096",
        b"r=" + THEIRS + b",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=0",
        b"r=" + THEIRS + b",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4095",
        b"r=" + THEIRS + b",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=100001",
        b"r=" + THEIRS + b",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=many",
    ],
)
def test_strange_challenges_are_refused(scram: Scram, challenge: bytes) -> None:
    with pytest.raises(TargetError):
        scram.proof(challenge)


def test_no_two_logins_are_alike() -> None:
    assert Scram("a").first() != Scram("a").first()
