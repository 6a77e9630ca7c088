"""What a flow tells about itself: artifacts, names, logs, progress of its state."""
# ruff: noqa: D103 - a flow as people write them

import prefect
from prefect import Flow, Parameter, task
from prefect.backend import create_link_artifact, create_markdown_artifact, delete_artifact
from prefect.backend.artifacts import update_markdown_artifact
from prefect.storage import Local
from prefect.tasks.prefect import RenameFlowRun


@task(log_stdout=True)
def speaks(who):
    print(f"printed for {who}")
    prefect.context.logger.warning("a warning with ünïcode ✓ and 'quotes' \"both\"")


@task(task_run_name="shows {who}")
def shows(who):
    create_link_artifact("https://example.org/report")
    draft = create_markdown_artifact("# draft")
    update_markdown_artifact(draft, f"# report for {who}")
    delete_artifact(create_link_artifact("https://example.org/mistake"))


@task
def own_id():
    return prefect.context.flow_run_id


with Flow("telling", storage=Local(path=__file__, stored_as_script=True, add_default_labels=False)) as flow:
    who = Parameter("who")
    speaks(who)
    shows(who)
    RenameFlowRun()(flow_run_id=own_id(), flow_run_name="told")
