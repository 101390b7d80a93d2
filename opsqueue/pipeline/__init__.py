"""The way of an operation; no Celery here."""
