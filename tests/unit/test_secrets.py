from __future__ import annotations

import pytest

from opsqueue.secrets import literal_secrets

REF = {"$secret": "env:NAME"}


@pytest.mark.parametrize(
    ("data", "found"),
    [
        ({"password": "x"}, ["password"]),
        ({"a": {"api_key": "x", "keys": "x"}}, ["a.api_key"]),
        ({"password": REF, "list": [REF]}, []),
        ({"broker_url": "redis://:hunter2@redis:6379/0"}, ["broker_url"]),
        ({"broker_url": "redis://redis:6379/0"}, []),
        ({"notification_urls": {"slack": "slack://xoxb-1/ops"}}, ["notification_urls.slack"]),
        (
            {"notification_urls": {"web": ["json://localhost:8000/x", "json://me:pw@localhost/x"]}},
            ["notification_urls.web[1]"],
        ),
        ({"notification_urls": {"email": "mailto://127.0.0.1:2525?from=ops@example.com&to=a@example.com"}}, []),
        ({"notification_urls": {"email": "mailtos://me:pa?ss@example.com"}}, ["notification_urls.email"]),
        (
            {"notification_urls": {"email": "mailtos://me:pw@example.com:587?from=a@example.com"}},
            ["notification_urls.email"],
        ),
    ],
)
def test_what_is_a_secret_in_plain_text(data, found):
    assert literal_secrets(data) == found
