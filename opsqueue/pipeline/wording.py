"""What one recipient is sent of a message: with the time of its zone, a link to acknowledge, and in its own words."""

from __future__ import annotations

import time

from opsqueue.notify.channels import LOG
from opsqueue.notify.message import Message, with_time
from opsqueue.notify.templates import in_own_words
from opsqueue.pipeline.alert_links import linked
from opsqueue.settings import Settings


def worded(settings: Settings, recipient: str, message: Message, event: str) -> tuple[Message, str]:
    """The message as this recipient gets it, and what is missing in it and why; empty: nothing is."""
    if recipient == LOG:
        return message, ""
    rules = settings.rules(recipient)
    dated = with_time(message, rules.timezone or "")
    told, no_link = linked(settings, dated, event=event, recipient=recipient, now=time.time(), parts=rules.sms_segments)
    own, no_template = in_own_words(told, rules, recipient)
    return own, "; ".join(filter(None, (no_link, no_template)))
