"""Kills its own flow process, as the kernel does when memory is short; its heartbeat is a process of its own."""
# ruff: noqa: D103 - flows as people write them

import os
import signal

from prefect import Flow, task
from prefect.storage import Local


@task
def die():
    os.kill(os.getpid(), signal.SIGKILL)


with Flow("dying", storage=Local(path=__file__, stored_as_script=True, add_default_labels=False)) as flow:
    die()
