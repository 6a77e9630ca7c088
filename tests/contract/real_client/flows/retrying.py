"""A task that fails twice and is tried again after a second; a mapped child that fails once."""
# ruff: noqa: D103 - a flow as people write them

import datetime

import prefect
from prefect import Flow, task
from prefect.storage import Local

SOON = datetime.timedelta(seconds=1)


@task(max_retries=2, retry_delay=SOON)
def third_time():
    if prefect.context.task_run_count < 3:
        raise ValueError("not yet")
    return prefect.context.task_run_count


@task(max_retries=1, retry_delay=SOON)
def each(x):
    if x == 1 and prefect.context.task_run_count < 2:
        raise ValueError("one of them fails once")
    return x


with Flow("retrying", storage=Local(path=__file__, stored_as_script=True, add_default_labels=False)) as flow:
    each.map([0, 1, 2])
    third_time()
