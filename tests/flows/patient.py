"""A real flow whose only task fails once and is to be retried in an hour: its process ends, the run stays Running."""

import datetime

import prefect
from prefect import Flow, task
from prefect.storage import Local


@task(max_retries=1, retry_delay=datetime.timedelta(hours=1))
def come_back():
    if prefect.context.task_run_count < 2:
        raise ValueError("not yet")


with Flow("patient", storage=Local(path=__file__, stored_as_script=True, add_default_labels=False)) as flow:
    come_back()
