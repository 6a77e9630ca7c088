"""Read results of task runs through ``FlowRunView``; print them in order."""

import json
import sys

from prefect.backend import FlowRunView

print(
    json.dumps(
        [
            FlowRunView.from_flow_run_id(run_id).get_task_run(slug, map_index=index).get_result()
            for run_id, slug, index in json.load(sys.stdin)
        ]
    )
)
