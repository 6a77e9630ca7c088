"""A real flow that wants a gigabyte."""

from prefect import Flow, task
from prefect.storage import Local


@task
def take():
    """Have it all at once."""
    return len([bytearray(10_000_000) for _ in range(100)])


with Flow("greedy", storage=Local(path=__file__, stored_as_script=True, add_default_labels=False)) as flow:
    take()
