"""A step that waits for somebody's approval; what comes before it must not run again."""
# ruff: noqa: D103 - a flow as people write them

from prefect import Flow, task
from prefect.storage import Local
from prefect.triggers import manual_only


@task
def prepare():
    return "prepared"


@task(trigger=manual_only)
def publish(what):
    return f"{what} and published"


with Flow("pausing", storage=Local(path=__file__, stored_as_script=True, add_default_labels=False)) as flow:
    publish(prepare())
