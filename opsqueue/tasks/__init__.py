"""The Celery application: when things happen; no decision is taken here."""
