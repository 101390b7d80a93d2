"""Reading certificates, also those that nobody should trust."""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from cryptography import x509
from cryptography.x509.oid import NameOID

_DER = 2  # ssl's private number for the encoding, needed before Python 3.13
_DAY = 86_400


def chain_of(tls: ssl.SSLObject) -> tuple[bytes, ...]:
    """The certificates as the server sent them (DER), the leaf first; only the leaf where Python hides the rest."""
    public = getattr(tls, "get_unverified_chain", None)  # Python 3.13 and later
    if public is not None:
        return tuple(public() or ())
    private = getattr(getattr(tls, "_sslobj", None), "get_unverified_chain", None)
    if private is not None:
        return tuple(certificate.public_bytes(_DER) for certificate in private() or ())
    leaf = tls.getpeercert(binary_form=True)
    return (leaf,) if leaf else ()


def describe(chain: Sequence[bytes], now: datetime | None = None) -> dict[str, Any]:
    """What people want to know of a chain: `days_left` is that of the certificate that ends first.

    ValueError when a certificate cannot be read.
    """
    moment = now or datetime.now(UTC)
    certificates = [x509.load_der_x509_certificate(der) for der in chain]
    leaf = certificates[0]
    first_to_end = min(certificates, key=lambda one: one.not_valid_after_utc)
    return {
        "subject": _common_name(leaf.subject),
        "issuer": _common_name(leaf.issuer),
        "names": list(_names(leaf))[:50],
        "not_before": leaf.not_valid_before_utc.isoformat(),
        "not_after": leaf.not_valid_after_utc.isoformat(),
        "leaf_days_left": _days(leaf, moment),
        "days_left": _days(first_to_end, moment),
        "first_to_end": _common_name(first_to_end.subject),
        "chain_length": len(certificates),
    }


def covers(leaf_der: bytes, name: str) -> bool:
    """Whether a certificate is for this host name or address; a `*` stands for exactly one leftmost label."""
    leaf = x509.load_der_x509_certificate(leaf_der)
    return any(_same(pattern, name) for pattern in _names(leaf))


def _days(certificate: x509.Certificate, moment: datetime) -> float:
    return round((certificate.not_valid_after_utc - moment).total_seconds() / _DAY, 3)


def _names(leaf: x509.Certificate) -> tuple[str, ...]:
    try:
        found = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()  # clients have ignored the common name since 2017
    addresses = [str(address) for address in found.get_values_for_type(x509.IPAddress)]
    return (*found.get_values_for_type(x509.DNSName), *addresses)


def _same(pattern: str, name: str) -> bool:
    try:
        return ipaddress.ip_address(pattern) == ipaddress.ip_address(name)
    except ValueError:
        pass
    wanted, given = name.lower().rstrip("."), pattern.lower().rstrip(".")
    if given.startswith("*."):
        return wanted.partition(".")[2] == given[2:] and bool(wanted.partition(".")[0])
    return wanted == given


def _common_name(name: x509.Name) -> str:
    found = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found[0].value) if found else name.rfc4514_string()
