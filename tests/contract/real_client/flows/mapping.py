"""Mapping over a parameter, over the children of a mapping, and over what is flattened; on threads."""
# ruff: noqa: D103 - a flow as people write them

from prefect import Flow, Parameter, flatten, task, unmapped
from prefect.engine.results import LocalResult
from prefect.executors import LocalDaskExecutor
from prefect.storage import Local


@task
def numbers(n):
    return list(range(n))


@task
def add(x, y):
    return x + y


@task
def pair(x):
    return [x, x]


@task
def total(xs):
    return sum(xs)


stored = Local(path=__file__, stored_as_script=True, add_default_labels=False)

with Flow("mapping", storage=stored, result=LocalResult()) as flow:
    raised = add.map(numbers(Parameter("n", default=3)), unmapped(10))
    total(add.map(flatten(pair.map(raised)), unmapped(1)))

flow.executor = LocalDaskExecutor(scheduler="threads", num_workers=4)
