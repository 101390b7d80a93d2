"""From the name of a channel to the addresses behind it, or the reason why there is none.

`notification_urls` holds Apprise URLs with their secrets and goes before `notification_channels`, which
holds what the person wrote: an e-mail address, a web address, `#ops-alerts`. `{to}` in a URL stands for
each recipient of the plain value, so that one recipient is one address and fails on its own.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote

from opsqueue.errors import InvalidConfig
from opsqueue.notify.address import is_web, web_problem
from opsqueue.secrets import SecretRef

Urls = Mapping[str, str | SecretRef | Sequence[str | SecretRef]]
"""`notification_urls` as the settings hold them; references to secrets are read when a message goes out."""

LOG = "log"
"""The channel that always works: one line in our own log. Nothing in the configuration changes it."""
LOG_URL = "log:"

# As strict as Apprise, which drops other addresses without an error; a domain without a dot has six letters or more.
_MAIL = re.compile(
    r"[A-Za-z0-9_!#$%&'*/=?`{|}~^+-]+(?:\.[A-Za-z0-9_!#$%&'*/=?`{|}~^+-]+)*"
    r"@(?:(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?\.)+[A-Za-z0-9-]{2,}|[A-Za-z0-9][A-Za-z0-9-]{5,})"
)
_SHORTEST_BARE_DOMAIN = 6
_EXAMPLES = {
    "slack": "slack://xoxb-TOKEN/{to}",
    "sms": "twilio://SID:TOKEN@FROM/{to}",
    "email": "mailtos://USER:PASSWORD@smtp.example.com?from=ops@example.com&to={to}",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """A way to reach people: one address per recipient."""

    name: str
    urls: tuple[str, ...] = field(repr=False)
    """Addresses with their secrets, therefore never shown."""
    recipients: tuple[str, ...] = ()
    """Who is behind each address, in the same order; empty when only the address knows."""
    signing_key: str = field(default="", repr=False)
    """Webhooks are signed with it; empty: they are not."""
    private: bool = False
    """Whether the public name of a webhook may lead to a private address."""
    parts: int = 2
    """Parts that one message may cost on a telephone."""

    @property
    def sms(self) -> bool:
        """Whether messages must be short."""
        return self.name.partition("#")[0] == "sms"

    def apart(self) -> tuple[Channel, ...]:
        """One channel per recipient, for a record of its own each: a retry then reaches only who was missed.

        Their names, such as `email#ops@example.com`, are understood by `resolve`.
        """
        if len(self.urls) == 1:
            return (self,)
        names = self.recipients or tuple(str(number) for number in range(1, len(self.urls) + 1))
        return tuple(
            Channel(name=f"{self.name}#{name}", urls=(url,), recipients=(name,) if self.recipients else ())
            for name, url in zip(names, self.urls, strict=True)
        )


@dataclass(frozen=True, slots=True)
class NotConfigured:
    """Nobody can be reached this way; `why` names the setting that is missing or wrong."""

    why: str


def resolve(
    channel_name: str,
    notification_channels: Mapping[str, str],
    notification_urls: Urls,
    *,
    hostname: str | None = None,
) -> Channel | NotConfigured:
    """The channel of this name, its secrets read now; never raises.

    `hostname` is the domain of the sender of plain e-mail; this machine's own name unless given.
    """
    name, _, part = channel_name.partition("#")
    whole = _whole(name, notification_channels, notification_urls, hostname)
    if not part or isinstance(whole, NotConfigured):
        return whole
    known = {channel.name: channel for channel in whole.apart()}
    return known.get(channel_name) or NotConfigured(
        f"channel {name!r} has no recipient {part!r} any more; it has {', '.join(known)}"
    )


def _whole(
    name: str,
    channels: Mapping[str, str],
    urls: Urls,
    hostname: str | None,
) -> Channel | NotConfigured:
    if name == LOG:
        return Channel(name=LOG, urls=(LOG_URL,))
    plain = str(channels.get(name, "")).strip()
    if urls.get(name):
        return _explicit(name, urls[name], plain)
    if not plain:
        return _unheard(name, channels, urls)
    if name == "email" or _addresses(plain):
        return _email(name, plain, hostname)
    if name == "webhook" or is_web(plain):
        return _webhook(name, plain)
    return _token_missing(name, plain)


def _unheard(name: str, channels: Mapping[str, str], urls: Mapping[str, object]) -> NotConfigured:
    known = ", ".join(sorted({*channels, *urls, LOG}))
    return NotConfigured(
        f"there is no notification channel {name!r}; configured are: {known}. "
        f"Set notification_channels.{name} or notification_urls.{name}."
    )


def _token_missing(name: str, plain: str) -> NotConfigured:
    example = _EXAMPLES.get(name, "SCHEME://TOKEN/{to}")
    return NotConfigured(
        f"notification_channels.{name} is {plain[:80]!r}, but nothing says how to get there: "
        f"set notification_urls.{name} to a reference to the secret that holds an Apprise URL such as {example}"
    )


def _explicit(name: str, value: str | SecretRef | Sequence[str | SecretRef], plain: str) -> Channel | NotConfigured:
    try:
        texts = _revealed(value)
    except InvalidConfig as error:
        return NotConfigured(f"notification_urls.{name}: {error.message}")
    if not all(_has_scheme(text) for text in texts):
        return NotConfigured(
            f"notification_urls.{name} is a URL or a list of URLs, each beginning with its scheme "
            f"(for example {_EXAMPLES.get(name, 'json://host/path')}); found something else"
        )
    to = tuple(part.strip() for part in plain.split(",") if part.strip())
    texts = tuple(_with_place(text, to) for text in texts)
    if not any("{to}" in text for text in texts):
        return Channel(name=name, urls=texts)
    if not to:
        return NotConfigured(f"notification_urls.{name} has {{to}}, but notification_channels.{name} names nobody")
    return _for_each(name, texts, to)


def _revealed(value: str | SecretRef | Sequence[str | SecretRef]) -> tuple[str, ...]:
    parts = (value,) if isinstance(value, str | SecretRef) else tuple(value)
    return tuple(part.resolve().strip() if isinstance(part, SecretRef) else part.strip() for part in parts)


def _for_each(name: str, texts: Sequence[str], to: Sequence[str]) -> Channel:
    # Several ways to the same people, as in a list of two URLs, need names that differ.
    pairs = [
        (text.replace("{to}", quote(who, safe="")), who if number == 0 else f"{who} ({number + 1})")
        for number, text in enumerate(texts)
        for who in (to if "{to}" in text else to[:1])
    ]
    return Channel(name=name, urls=tuple(url for url, _ in pairs), recipients=tuple(who for _, who in pairs))


def _with_place(url: str, to: Sequence[str]) -> str:
    # `#ops-alerts` beside a Slack token that names no channel is where it should go, not an ornament.
    wanted = url.startswith("slack://") and any(who.startswith("#") for who in to)
    if not wanted or "{to}" in url or "#" in url or "%23" in url:
        return url
    where, mark, query = url.partition("?")
    return f"{where.rstrip('/')}/{{to}}{mark}{query}"


def _has_scheme(text: str) -> bool:
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://\S", text) is not None


def _addresses(plain: str) -> tuple[str, ...]:
    parts = tuple(dict.fromkeys(part.strip() for part in plain.split(",") if part.strip()))
    return parts if parts and all(_MAIL.fullmatch(part) for part in parts) else ()


def _email(name: str, plain: str, hostname: str | None) -> Channel | NotConfigured:
    to = _addresses(plain)
    if not to:
        return NotConfigured(
            f"notification_channels.{name} is one e-mail address or several with commas between; "
            f"found {plain[:80]!r}. A domain without a dot must have six letters or more."
        )
    sender = quote(f"opsqueue@{_domain(hostname or socket.gethostname())}", safe="")
    urls = tuple(f"mailto://localhost:25?from={sender}&to={quote(who, safe='')}" for who in to)
    return Channel(name=name, urls=urls, recipients=to)


def _domain(hostname: str) -> str:
    # A sender that Apprise finds no address would lose the mail: short names and odd letters are mended.
    name = re.sub(r"[^A-Za-z0-9.-]", "-", hostname).strip(".-") or "localhost"
    return name if "." in name or len(name) >= _SHORTEST_BARE_DOMAIN else f"{name}.localdomain"


def _webhook(name: str, plain: str) -> Channel | NotConfigured:
    problem = web_problem(plain)
    if problem:
        return NotConfigured(f"notification_channels.{name} is no address of a webhook: {problem}")
    return Channel(name=name, urls=(plain,))
