"""Two tasks, for a flow whose version locking is switched on, with an alive heartbeat of its own process."""
# ruff: noqa: D103 - a flow as people write them

from prefect import Flow, task
from prefect.storage import Local


@task
def one():
    return 1


@task(tags=["narrow"])
def two(x):
    return x + 1


with Flow("locking", storage=Local(path=__file__, stored_as_script=True, add_default_labels=False)) as flow:
    two(one())
