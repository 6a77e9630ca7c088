"""A flow that goes on until somebody stops it, and a task behind it that must never begin."""
# ruff: noqa: D103 - a flow as people write them

import threading

from prefect import Flow, task
from prefect.storage import Local


@task
def wait():
    while True:
        threading.Event().wait(0.1)


@task
def never(_before):
    return "too late"


with Flow("endless", storage=Local(path=__file__, stored_as_script=True, add_default_labels=False)) as flow:
    never(wait())
