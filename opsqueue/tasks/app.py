"""The Celery application and why each of its settings is what it is (measured; see docs/faults.md)."""

from __future__ import annotations

from typing import Any

from celery import Celery
from kombu.entity import Exchange, Queue

from opsqueue.settings import Settings
from opsqueue.tasks.broker import QUEUES, broker_url

RECEIPT_SECONDS = 60
_SHORT = 2.0
_BRIEFLY = {"max_retries": 1, "interval_start": 0, "interval_step": 0.1, "interval_max": 0.1}


def make_app(settings: Settings, *, events: bool = False) -> Celery:
    """An application that sends and takes opsqueue's messages; it has no tasks until they are registered."""
    url = broker_url(settings)
    app = Celery("opsqueue", broker=url, backend=url, set_as_current=False)
    app.conf.update(_configuration(settings, events=events))
    return app


def queue_named(name: str) -> Queue:
    """A queue of ours: one of the five, or the own one of a host."""
    return Queue(name, Exchange(""), routing_key=name)  # type: ignore[no-untyped-call]  # kombu is untyped


def _configuration(settings: Settings, *, events: bool) -> dict[str, Any]:
    return {**_messages(settings), **_workers(events=events)}


def _messages(settings: Settings) -> dict[str, Any]:
    return {
        # JSON only: a pickle is a program.
        "task_serializer": "json",
        "result_serializer": "json",
        "accept_content": ["json"],
        # Early ack: no redelivery, no doubles after a reset; the lapsed lease finds what was lost.
        "task_acks_late": False,
        "task_reject_on_worker_lost": False,
        "worker_prefetch_multiplier": 1,
        # No named exchange: its bindings live in Redis, and a flushed Redis would lose every message after it.
        # Strict order of the queues needs the order here, the strategy, one step, and prefetch 1.
        "task_queues": [queue_named(name) for name in QUEUES],
        "task_default_queue": "intake",
        "task_create_missing_queues": False,
        "broker_transport_options": _transport(settings),
        "result_backend_transport_options": {"global_keyprefix": settings.broker_prefix, "retry_policy": _BRIEFLY},
        # A producer hears within two seconds that Redis is away, instead of hanging for a minute.
        "task_publish_retry_policy": _BRIEFLY,
        "redis_socket_timeout": _SHORT,
        "redis_socket_connect_timeout": _SHORT,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        # The record is the result; only `submit` keeps its receipt, for a minute.
        "task_ignore_result": True,
        "result_expires": RECEIPT_SECONDS,
        "enable_utc": True,
        "timezone": "UTC",
    }


def _workers(*, events: bool) -> dict[str, Any]:
    return {
        # An operation goes on without the broker.
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        # A busy worker takes nothing into its own hands: what is critical would wait there for what is long.
        "worker_disable_prefetch": True,
        # Leaks end with the child, which is replaced between two tasks.
        "worker_max_tasks_per_child": 2000,
        "worker_max_memory_per_child": 400_000,
        "worker_soft_shutdown_timeout": 10.0,
        "worker_enable_remote_control": events,  # Flower's view of workers needs it; nothing else does
        "worker_send_task_events": events,
        "task_send_sent_event": False,
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
        "worker_consumer": "opsqueue.tasks.consumer:Consumer",
    }


def _transport(settings: Settings) -> dict[str, Any]:
    lease = settings.worker.lease_seconds
    options = {
        # What a killed worker had taken and not begun is put back after two leases; a double finds nothing to do.
        "visibility_timeout": 2 * lease,
        "unacked_restore_interval": max(1.0, lease / 3),
        "unacked_restore_throttle": 1,
        "queue_order_strategy": "priority",
        "priority_steps": [0],
        "socket_timeout": _SHORT,
        "socket_connect_timeout": _SHORT,
        "retry_on_timeout": False,
        "health_check_interval": 10,
        "socket_keepalive": True,
        "max_retries": 1,
    }
    return {**options, "global_keyprefix": settings.broker_prefix} if settings.broker_prefix else options
