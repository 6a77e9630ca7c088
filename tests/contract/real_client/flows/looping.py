"""A task that goes round three times and hands its value from round to round."""
# ruff: noqa: D103 - a flow as people write them

import prefect
from prefect import Flow, task
from prefect.engine.signals import LOOP
from prefect.storage import Local


@task
def rounds():
    done = prefect.context.get("task_loop_result", 0)
    if prefect.context.get("task_loop_count", 1) < 3:
        raise LOOP(message="once more", result=done + 10)
    return done + 1


with Flow("looping", storage=Local(path=__file__, stored_as_script=True, add_default_labels=False)) as flow:
    rounds()
