"""A real flow that goes on until somebody stops it."""

import threading

from prefect import Flow, task
from prefect.storage import Local


@task
def wait():
    while True:
        threading.Event().wait(0.1)


with Flow("endless", storage=Local(path=__file__, stored_as_script=True, add_default_labels=False)) as flow:
    wait()
