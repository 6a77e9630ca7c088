"""A small real flow of the 1.x line: a parameter, a mapped task, a task that fails once and is retried."""

import datetime

import prefect
from prefect import Flow, Parameter, task
from prefect.storage import Local


@task
def numbers(n):
    return list(range(n))


@task
def double(x):
    return 2 * x


@task(max_retries=1, retry_delay=datetime.timedelta(seconds=0))
def add(xs):
    if prefect.context.task_run_count < 2:
        raise ValueError("the first try fails on purpose")
    return sum(xs)


with Flow("sums", storage=Local(path=__file__, stored_as_script=True, add_default_labels=False)) as flow:
    add(double.map(numbers(Parameter("n", default=3))))
