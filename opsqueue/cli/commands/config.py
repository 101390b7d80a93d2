"""The configuration: check it, or show what is in force, secrets as references."""

from __future__ import annotations

import re
from argparse import Namespace
from typing import Any
from urllib.parse import urlsplit

from opsqueue.cli.channels import no_links, nobody_called, unreachable_channels
from opsqueue.cli.login_files import unusable
from opsqueue.cli.output import Out, dumps
from opsqueue.cli.parsing import Parser, add_verb, verbs
from opsqueue.cli.secrets_seen import references, unreadable
from opsqueue.cli.text import safe
from opsqueue.errors import InvalidConfig
from opsqueue.notify.templates import problems
from opsqueue.pipeline.alert_rules import never_asked_for
from opsqueue.pipeline.assemble import check as honourable
from opsqueue.settings import Settings, load
from opsqueue.settings_file import find_config

_PASSWORD = re.compile(r"^([a-z][a-z0-9+.-]*://[^/@\s:]*):[^/\s]*@", re.IGNORECASE)


def options(parser: Parser) -> None:
    """What it takes."""
    parser.ends((0, 2), "opsqueue config check", "opsqueue config show --output json")
    below = verbs(parser)
    check = add_verb(below, "check", "whether it can be understood and honoured")
    check.ends((0, 2), "opsqueue config check --config /etc/opsqueue/opsqueue.json")
    show = add_verb(below, "show", "every setting in force: file, environment, defaults")
    show.ends((0, 2), "opsqueue config show")


def run(given: Namespace) -> int:
    """Check or show."""
    out, settings = Out.of(given), load(given.config)
    path = find_config(given.config)
    if given.verb == "show":
        data = shown(settings)
        if out.json:
            out.entry(data)
        else:
            out.line(f"# {safe(path) if path else 'no file: defaults and the environment'}")
            for key, value in data.items():
                out.line(f"{key} = {dumps(value)}")
        return 0
    inventory = honourable(settings)
    if wrong := list(problems(settings.notification_rules)):  # a worker runs all the same, and tells without them
        raise InvalidConfig(f"the configuration cannot be honoured: {'; '.join(wrong)}")
    secrets = unreadable(references(settings, inventory.values()))
    unasked = filter(None, (never_asked_for(rule, settings) for rule in settings.alerts.rules))
    told = [*unreachable_channels(settings), *nobody_called(settings), *no_links(settings)]
    doubts = [*told, *secrets, *unasked, *inventory.doubts(), *unusable(inventory.values())]
    if out.json:
        out.entry({"config": str(path) if path else None, "good": True, "doubts": doubts})
        return 0
    out.line(f"{safe(path) if path else 'no configuration file; the defaults'}: good")
    for doubt in doubts:
        out.line(f"{out.word('warn')}  {safe(doubt)}")
    return 0


def shown(settings: Settings) -> dict[str, Any]:
    """The settings as JSON without any secret, also those that the environment brought in plain text."""
    data = settings.model_dump(mode="json", by_alias=True)
    for key in ("broker_url", "database_url"):
        if isinstance(data[key], str):
            data[key] = _PASSWORD.sub(r"\1:…@", data[key])
    for key in ("notification_channels", "notification_urls"):
        data[key] = {name: _without_secret(value) for name, value in data[key].items()}
    return data


def _without_secret(value: Any) -> Any:
    """An address without what may be a token: its user, path and query."""
    if isinstance(value, list):
        return [_without_secret(one) for one in value]
    if not isinstance(value, str) or "://" not in value:
        return value
    parts = urlsplit(value)
    where = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{where}" + ("/…" if parts.path.strip("/") or parts.query or "@" in parts.netloc else "")
