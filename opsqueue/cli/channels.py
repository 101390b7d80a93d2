"""Which configured notification channels lead to nobody, and how links to acknowledge are missing."""

from __future__ import annotations

from opsqueue.errors import InvalidConfig
from opsqueue.notify.channels import NotConfigured, resolve
from opsqueue.pipeline.alert_links import ack_key
from opsqueue.settings import Settings


def no_links(settings: Settings) -> list[str]:
    """Why messages have no link to acknowledge though the settings ask for one, as far as this process can see."""
    ref = settings.alerts.ack_key
    if ref is None or ref.problem():  # said among the secrets
        return []
    try:
        ack_key(settings)
    except InvalidConfig as error:
        return [error.message]
    return []


def nobody_called(settings: Settings) -> list[str]:
    """That alerts reach nobody, though there are channels that would."""
    named = {*settings.default_channels, *(name for route in settings.alerts.routes for name in route.channels)}
    others = sorted({*settings.notification_channels, *settings.notification_urls})
    if not others or named - {"log"}:
        return []
    known = ", ".join(others[:5])
    return [f"alerts are told to the log alone: name a channel ({known}) in default_channels or alerts.routes"]


def unreachable_channels(settings: Settings) -> list[str]:
    """Why people behind configured channels cannot be told."""
    names = dict.fromkeys((*settings.notification_channels, *settings.notification_urls, *settings.default_channels))
    found = (resolve(name, settings.notification_channels, settings.notification_urls) for name in names)
    return [one.why for one in found if isinstance(one, NotConfigured)]
