"""The flow that the command line registers, builds and runs; it names no storage, as most flows.

It ends not before a file exists, if its context names one.
"""
# ruff: noqa: D103 - a flow as people write them

import os
import threading
from pathlib import Path

import prefect
from prefect import Flow, Parameter, task


@task
def greet(name, times):
    prefect.context.logger.info("greeting %s %s times in %s", name, times, prefect.context.get("mood"))
    prefect.context.logger.debug("E is %s", os.environ.get("E"))
    until = prefect.context.get("until")
    while until and not Path(until).exists():
        threading.Event().wait(0.05)
    return [f"hello {name}"] * times


with Flow("greeting") as flow:
    greet(Parameter("name"), Parameter("times", default=1))
