"""A second flow without storage, for folders and modules that hold several."""

from datetime import timedelta

from prefect import Flow, task


@task(name="a step", max_retries=2, retry_delay=timedelta(minutes=1), tags=["slow"])
def step(_x=None):
    """Does nothing, with a description."""


with Flow("first") as first:
    step()

with Flow("second") as second:
    step.map([1, 2])
