"""A real flow that goes on until a file is there, so that a test can look at it while it runs."""

import time
from pathlib import Path

from prefect import Flow, Parameter, task
from prefect.storage import Local


@task
def wait(path):
    end = time.monotonic() + 120
    while not Path(path).exists():
        if time.monotonic() > end:
            raise TimeoutError(path)
        time.sleep(0.05)


with Flow("released", storage=Local(path=__file__, stored_as_script=True, add_default_labels=False)) as flow:
    wait(Parameter("path"))
