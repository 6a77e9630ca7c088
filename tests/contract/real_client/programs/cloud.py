"""What the Python client does only with a Cloud: keys and values, secrets, limits of tags; print what came of it."""
# ruff: noqa: BLE001 - a program for the environment of the real client; a failure is an answer

import contextlib
import json
import runpy
import sys

import prefect
from prefect import Client
from prefect.backend import kv_store
from prefect.client import Secret

given = json.load(sys.stdin)
answers = {}


def attempt(name, ask):
    """Keep what *ask* gives, or how it fails."""
    try:
        answers[name] = ask()
    except Exception as failure:
        answers[name] = f"{type(failure).__name__}: {failure}"


with contextlib.redirect_stdout(sys.stderr):
    client = Client()
    attempt("tenant", lambda: client.tenant_id)
    attempt("tenants", lambda: [tenant.slug for tenant in client.get_available_tenants()])
    attempt("set", lambda: kv_store.set_key_value("a", {"b": [1, None]}) == kv_store.set_key_value("a", {"c": 2}))
    attempt("get", lambda: dict(kv_store.get_key_value("a")))
    attempt("set text", lambda: bool(kv_store.set_key_value("text", "plain")))
    attempt("keys", kv_store.list_keys)
    attempt("delete", lambda: kv_store.delete_key("a"))
    attempt("gone", lambda: kv_store.get_key_value("a"))
    attempt("large", lambda: kv_store.set_key_value("large", "x" * 10_001))
    attempt("secret", lambda: client.set_secret("WORD", "open sesame"))
    attempt("JSON secret", lambda: client.set_secret("PAIR", {"user": "u"}))
    with (
        prefect.context(config=prefect.config),
        prefect.utilities.configuration.set_temporary_config({"cloud.use_local_secrets": False}),
    ):
        attempt("read secret", lambda: Secret("WORD").get())
        attempt("read JSON secret", lambda: dict(Secret("PAIR").get()))
        attempt("no secret", lambda: Secret("NONE").get())
    attempt("limit", lambda: client.update_task_tag_limit("narrow", 3))
    attempt("read limit", lambda: client.get_task_tag_limit("narrow"))
    attempt("other limit", lambda: client.get_task_tag_limit("wide"))
    limits = client.graphql("query { task_tag_limit { id tag limit } }").data.task_tag_limit
    attempt("limits", lambda: [[row.tag, row.limit] for row in limits])
    attempt("lifted", lambda: client.delete_task_tag_limit(limits[0].id))
    attempt("after", lambda: client.get_task_tag_limit("narrow"))
    client.create_project("secrets")
    flow = runpy.run_path(given["flow"])["flow"]
    attempt("flow", lambda: flow.register("secrets", labels=[], no_url=True))
print(json.dumps(answers))
