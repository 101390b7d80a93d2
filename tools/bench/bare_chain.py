"""The measure: a bare Celery chain of six tasks that do nothing, with opsqueue's own lean settings."""

import os
import time

from celery import Celery, chain
from redis import Redis

app = Celery("bare", broker=os.environ["BENCH_BROKER"])
app.conf.update(
    task_ignore_result=True,
    worker_prefetch_multiplier=1,
    task_default_queue="bare",
    worker_enable_remote_control=False,
    broker_connection_retry_on_startup=True,
)
_client = Redis.from_url(os.environ["BENCH_REDIS"])


@app.task(name="bare.nothing")
def nothing(_number):
    """Nothing."""


@app.task(name="bare.last")
def last(number):
    """Tell when the chain ended: the one thing that it must do to be measured."""
    _client.rpush("bare:done", f"{number} {time.time()}")


def one(number):
    """Send one chain."""
    steps = [nothing.si(number) for _ in range(5)]
    chain(*steps, last.si(number)).apply_async()
