"""A small Celery application with the settings of the real one, for tests of the worker itself."""

from __future__ import annotations

import os
import time
from pathlib import Path

from celery import Celery
from kombu import Exchange, Queue

QUEUES = ("intake", "critical", "high", "normal", "low")


def settings(prefix=""):
    return {
        "task_serializer": "json",
        "accept_content": ["json"],
        "result_serializer": "json",
        "task_ignore_result": True,
        "task_acks_late": False,
        "worker_prefetch_multiplier": 1,
        "task_queues": [Queue(name, Exchange(name), routing_key=name) for name in QUEUES],
        "task_default_queue": "normal",
        "task_create_missing_queues": False,
        "worker_enable_remote_control": False,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "worker_consumer": "opsqueue.tasks.consumer:Consumer",
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "task_publish_retry_policy": {"max_retries": 1, "interval_start": 0.1},
        "broker_transport_options": {
            "queue_order_strategy": "priority",
            "priority_steps": [0],
            "socket_timeout": 2,
            "socket_connect_timeout": 2,
            "global_keyprefix": prefix,
        },
    }


def make(url, prefix=""):
    app = Celery("hardened", broker=url)
    app.conf.update(settings(prefix))
    return app


app = make(os.environ.get("HARDENED_BROKER", "redis://127.0.0.1:1"), os.environ.get("HARDENED_PREFIX", ""))


@app.task(name="test.work")
def work(number, seconds=0.0):
    """Leave one line for each run, so that a second one is seen."""
    path = Path(os.environ["HARDENED_RUNS"])
    with path.open("a") as file:
        file.write(f"{number}\n")
    time.sleep(seconds)
    with path.with_suffix(".ended").open("a") as file:
        file.write(f"{number}\n")
