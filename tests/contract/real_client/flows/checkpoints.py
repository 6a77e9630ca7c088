"""Results that are written where the task says, and a value that is too private to be written."""
# ruff: noqa: D103 - a flow as people write them

from prefect import Flow, task
from prefect.engine.results import LocalResult, PrefectResult
from prefect.storage import Local


@task(result=LocalResult(dir="kept", location="{flow_run_name}/table.pickle"))
def table():
    return {"rows": [1, 2, 3]}


@task(result=PrefectResult())
def count(rows):
    return len(rows["rows"])


@task(checkpoint=False)
def private():
    return "nowhere"


with Flow("checkpoints", storage=Local(path=__file__, stored_as_script=True, add_default_labels=False)) as flow:
    count(table())
    private()
