"""A flow that fails, with a reason in its log."""
# ruff: noqa: D103 - a flow as people write them

from prefect import Flow, task
from prefect.storage import Local


@task
def reads():
    raise LookupError("no such table")


with Flow("failing", storage=Local(path=__file__, stored_as_script=True, add_default_labels=False)) as flow:
    reads()
