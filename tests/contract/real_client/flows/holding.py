"""A flow that holds its place until a file appears."""
# ruff: noqa: D103 - a flow as people write them

import threading
from pathlib import Path

from prefect import Flow, Parameter, task
from prefect.storage import Local


@task(tags=["narrow"])
def hold(path):
    while not Path(path).exists():
        threading.Event().wait(0.05)


with Flow("holding", storage=Local(path=__file__, stored_as_script=True, add_default_labels=False)) as flow:
    hold(Parameter("path"))
