"""Which configured notification channels lead to nobody."""

from __future__ import annotations

from opsqueue.notify.channels import NotConfigured, resolve
from opsqueue.settings import Settings


def unreachable_channels(settings: Settings) -> list[str]:
    """Why people behind configured channels cannot be told."""
    names = dict.fromkeys((*settings.notification_channels, *settings.notification_urls, *settings.default_channels))
    found = (resolve(name, settings.notification_channels, settings.notification_urls) for name in names)
    return [one.why for one in found if isinstance(one, NotConfigured)]
