"""Register all flows of files with ``Flow.register``; print their ids by name."""

import contextlib
import json
import runpy
import sys

from prefect import Client, Flow

given = json.load(sys.stdin)
ids = {}
with contextlib.redirect_stdout(sys.stderr):
    Client().create_project(given["project"])
    for path in given["paths"]:
        for flow in {id(f): f for f in runpy.run_path(path).values() if isinstance(f, Flow)}.values():
            ids[flow.name] = flow.register(given["project"], labels=given.get("labels"), no_url=True)
print(json.dumps(ids))
