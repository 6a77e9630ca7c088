"""Flows that work until a file appears: for tests in which their process is killed before."""
# ruff: noqa: D103 - flows as people write them

import threading
from datetime import timedelta
from pathlib import Path

from prefect import Flow, Parameter, task
from prefect.storage import Local


def work(path):
    while not Path(path).exists():
        threading.Event().wait(0.05)


def made(name, step):
    with Flow(name, storage=Local(path=__file__, stored_as_script=True, add_default_labels=False)) as flow:
        step(Parameter("path"))
    return flow


mortal = made("mortal", task(work))
spared = made("spared", task(work))
retried = made("retried", task(work, max_retries=1, retry_delay=timedelta(seconds=1)))
