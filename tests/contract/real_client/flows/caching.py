"""A task whose value is kept for an hour, one that shares it under a key, and one that counts how often it ran."""
# ruff: noqa: D103 - a flow as people write them

import datetime
import uuid

from prefect import Flow, Parameter, task
from prefect.engine.cache_validators import all_inputs
from prefect.engine.results import LocalResult
from prefect.storage import Local

HOUR = datetime.timedelta(hours=1)


@task(cache_for=HOUR)
def kept():
    return uuid.uuid4().hex


@task(cache_for=HOUR, cache_validator=all_inputs)
def kept_by_input(x):
    return uuid.uuid4().hex


@task(cache_for=HOUR, cache_key="the same everywhere")
def kept_by_key():
    return uuid.uuid4().hex


@task
def fresh():
    return uuid.uuid4().hex


stored = Local(path=__file__, stored_as_script=True, add_default_labels=False)

with Flow("caching", storage=stored, result=LocalResult()) as flow:
    kept()
    kept_by_input(Parameter("x", default=1))
    kept_by_key()
    fresh()
