"""The flow that the command line registers, builds and runs; it names no storage, as most flows."""
# ruff: noqa: D103 - a flow as people write them

import os

import prefect
from prefect import Flow, Parameter, task


@task
def greet(name, times):
    prefect.context.logger.info("greeting %s %s times in %s", name, times, prefect.context.get("mood"))
    prefect.context.logger.debug("E is %s", os.environ.get("E"))
    return [f"hello {name}"] * times


with Flow("greeting") as flow:
    greet(Parameter("name"), Parameter("times", default=1))
