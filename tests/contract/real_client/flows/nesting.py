"""Flows that start flows: with the tasks of 1.x, and with the older StartFlowRun."""
# ruff: noqa: D103 - flows as people write them

import datetime

from prefect import Flow, Parameter, task
from prefect.engine.results import LocalResult
from prefect.storage import Local
from prefect.tasks.prefect import StartFlowRun, create_flow_run, get_task_run_result, wait_for_flow_run

SOON = datetime.timedelta(seconds=3)


@task
def square(n):
    return n * n


def storage():
    return Local(path=__file__, stored_as_script=True, add_default_labels=False)


with Flow("child", storage=storage(), result=LocalResult()) as child:
    square(Parameter("n", default=2))

with Flow("parent", storage=storage(), result=LocalResult()) as parent:
    made = create_flow_run(flow_name="child", project_name="kinds", parameters={"n": 7}, run_name="made by parent")
    ended = wait_for_flow_run(made, raise_final_state=True)
    get_task_run_result(made, "square-1", upstream_tasks=[ended])

with Flow("elder", storage=storage()) as elder:
    StartFlowRun(flow_name="child", project_name="kinds", wait=True, poll_interval=SOON)(parameters={"n": 8})
