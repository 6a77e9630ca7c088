"""Limits, the key-value store, secrets, API keys and tenants: what the pages show, and what their forms change."""

import pytest

from prefect.agent.entrypoints.server.graphql.execution import Executor
from support.embedded import Embedded
from support.page_browser import Browser, Shown

SETTINGS = "/default/settings"


def send(browser: Browser, page: str, action: str, /, **fields: str) -> Shown:
    """Fill in and send a form of a page of the settings."""
    return browser.submit(browser.get(f"{SETTINGS}{page}"), f"{SETTINGS}{action}", fields)


def alert(shown: Shown) -> str:
    """Why a form was refused."""
    assert shown.status == 422
    return shown.one("p", role="alert").text


# --- limits ---


def test_a_limit_is_set_changed_and_deleted(cloud: Embedded, browser: Browser) -> None:
    """With how many of its places are taken."""
    for number in ("1", "2"):
        assert send(browser, "", "/limit", name="gpu", limit=number).status == 303
    flow = cloud.flow(cloud.project())
    for _ in range(2):
        cloud.set_state(cloud.run(flow, labels=["gpu"]), "Running")

    assert [text for text in browser.get(SETTINGS).texts("tr") if text.startswith("gpu 2 2 full")]
    [limit] = cloud.ask("query { flow_concurrency_limit { id } }")["flow_concurrency_limit"]
    send(browser, "", f"/limit/flow/{limit['id']}/delete")
    assert cloud.ask("query { flow_concurrency_limit { id } }")["flow_concurrency_limit"] == []


def test_a_limit_of_task_runs_is_one_of_its_own(cloud: Embedded, browser: Browser) -> None:
    """By tag, in another table."""
    send(browser, "", "/limit", kind="task", name="database", limit="3")

    assert cloud.ask("query { task_tag_limit { tag limit } }")["task_tag_limit"] == [{"tag": "database", "limit": 3}]
    assert [text for text in browser.get(SETTINGS).texts("tr") if text.startswith("database 3 0")]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"name": "gpu", "limit": "many"}, "whole number"),
        ({"name": " ", "limit": "1"}, "must not be empty"),
        ({"name": "gpu", "limit": "-1"}, "limit"),
    ],
)
def test_a_limit_that_is_not_right_stays_in_the_form(browser: Browser, fields: dict[str, str], words: str) -> None:
    """With the reason."""
    answer = send(browser, "", "/limit", **fields)

    assert words in alert(answer)
    assert answer.one("input", name="limit").attrs["value"] == fields["limit"]


def test_a_limit_of_an_unknown_kind_is_not_there(browser: Browser) -> None:
    """Neither to be set nor to be deleted."""
    token = browser.get(SETTINGS).all("input", name="form_token")[0].attrs["value"]

    for path in ("/limit", "/limit/other/1/delete"):
        assert browser.post(f"{SETTINGS}{path}", {"form_token": token, "kind": "other"}).status == 404


# --- the key-value store ---


def test_a_value_is_set_edited_and_deleted(cloud: Embedded, browser: Browser) -> None:
    """Edit fills the form with what is stored."""
    send(browser, "/key-values", "/key-values", key="a b", value='{"n": 1}')

    shown = browser.get(f"{SETTINGS}/key-values")
    [edit] = [link for link in shown.links() if link.startswith("?edit=")]
    filled = browser.get(f"{SETTINGS}/key-values{edit}").one("textarea", name="value").text
    assert filled.split() == ["{", '"n":', "1", "}"]
    [row] = cloud.ask("query { key_value { id value } }")["key_value"]
    assert row["value"] == {"n": 1}
    send(browser, "/key-values", f"/key-values/{row['id']}/delete")
    assert cloud.ask("query { key_value { id } }")["key_value"] == []


@pytest.mark.parametrize(("value", "words"), [("soon", "not JSON"), (f'"{"x" * 20_000}"', "larger than")])
def test_a_value_that_is_refused_stays_in_the_form(browser: Browser, value: str, words: str) -> None:
    """With the reason."""
    answer = send(browser, "/key-values", "/key-values", key="k", value=value)

    [told] = [one.text for one in answer.all("p") if one.attrs.get("class") in {"problem", "wrong"}]
    assert words in told
    assert answer.one("textarea", name="value").text == value


def test_keys_are_narrowed_down(cloud: Embedded, browser: Browser) -> None:
    """By a part of the key."""
    for key in ("first", "second"):
        cloud.change("set_key_value", "id", key=key, value=1)

    assert [text.split()[0] for text in browser.get(f"{SETTINGS}/key-values?key=SEC").texts("tr")[1:]] == ["second"]


# --- secrets ---


@pytest.mark.parametrize(
    ("kind", "value", "stored"), [("text", " 12 ", " 12 "), ("JSON", '{"user": "u"}', {"user": "u"})]
)
def test_a_secret_is_set_and_never_shown(
    cloud: Embedded, browser: Browser, kind: str, value: str, stored: object
) -> None:
    """The page has its name only; a text is kept to the last space."""
    send(browser, "/secrets", "/secrets", name="WORD", value=value, kind=kind)

    assert cloud.ask('query { secret_value(name: "WORD") }')["secret_value"] == stored
    shown = browser.get(f"{SETTINGS}/secrets")
    assert [text.split()[0] for text in shown.texts("tr")[1:]] == ["WORD"]
    assert "user" not in " ".join(shown.texts("table"))
    assert shown.one("input", name="value").attrs.get("value", "") == ""


def test_a_secret_that_is_not_json_is_refused_and_not_repeated(browser: Browser) -> None:
    """What was typed does not come back in a page."""
    answer = send(browser, "/secrets", "/secrets", name="WORD", value="open sesame", kind="JSON")

    assert "not JSON" in alert(answer)
    assert "sesame" not in answer.body


def test_a_secret_is_deleted(cloud: Embedded, browser: Browser) -> None:
    """By its row."""
    cloud.change("set_secret", "success", name="WORD", value="w")
    [action] = [
        one.attrs["action"] for one in browser.get(f"{SETTINGS}/secrets").all("form") if "delete" in str(one.attrs)
    ]

    send(browser, "/secrets", action.removeprefix(SETTINGS))

    assert not browser.get(f"{SETTINGS}/secrets").texts("tr")


# --- API keys ---


def test_the_first_key_locks_the_cloud_and_keeps_the_browser_in(cloud: Embedded, browser: Browser) -> None:
    """It is shown once; everything else needs it from then on."""
    answer = send(browser, "/keys", "/keys", name="mine")

    key = answer.one("pre").text
    assert answer.status == 200
    assert cloud.execute.caller({"authorization": f"Bearer {key}"}) is not None
    assert cloud.execute.caller({}) is None
    again = browser.get(f"{SETTINGS}/keys")
    assert (again.status, again.all("pre")) == (200, [])
    assert "mine yours" in " ".join(again.texts("tr"))
    assert Browser(cloud.execute).get(f"{SETTINGS}/keys").status == 401


def test_the_first_key_must_be_able_to_make_others(cloud: Embedded, browser: Browser) -> None:
    """A Cloud with a runner key alone could not be managed by pages."""
    assert "scope admin" in alert(send(browser, "/keys", "/keys", name="mine", scope="runner"))
    assert cloud.execute.caller({}) is not None


@pytest.mark.parametrize("days", ["soon", "-1", "nan", "1e300"])
def test_a_key_lasts_for_a_number_of_days(browser: Browser, days: str) -> None:
    """Or without end, if none is given."""
    assert "number of days" in alert(send(browser, "/keys", "/keys", name="mine", days=days))


def test_a_key_is_revoked(cloud: Embedded, browser: Browser) -> None:
    """Also the browser's own, which then has to sign in."""
    send(browser, "/keys", "/keys", name="mine", days="1")
    other = send(browser, "/keys", "/keys", name="agent", scope="runner").one("pre").text
    headers = {"authorization": f"Bearer {other}"}
    assert cloud.execute.caller(headers) is not None
    shown = browser.get(f"{SETTINGS}/keys")
    revoke = [one.attrs["action"] for one in shown.all("form") if one.attrs.get("action", "").endswith("/revoke")]

    browser.submit(shown, revoke[0])
    assert cloud.execute.caller(headers) is None
    browser.submit(shown, revoke[1])
    assert browser.get(f"{SETTINGS}/keys").status == 401


def test_a_runner_key_may_not_look_at_secrets_or_keys(cloud: Embedded, browser: Browser) -> None:
    """The pages have the permissions of GraphQL."""
    key = cloud.change("create_api_key", "key", name="agent", scope="runner")["key"]
    runner = Browser(cloud.execute, headers={"authorization": f"Bearer {key}"})

    assert runner.get(SETTINGS).status == 200
    for page in ("/secrets", "/keys"):
        assert runner.get(f"{SETTINGS}{page}").status == 403


def test_a_key_of_the_command_line_makes_keys_that_do_not_sign_in(cloud: Embedded) -> None:
    """The session goes on with the key that it began with."""
    locked = Browser(Executor(cloud.database, frozenset({"k1"})))
    locked.submit(locked.get("/"), "/-/sign-in", key="k1")
    before = dict(locked.cookies)

    answer = send(locked, "/keys", "/keys", name="agent", scope="runner")

    assert answer.one("pre").text.startswith("pak_")
    assert locked.cookies == before


# --- tenants ---


def test_a_tenant_is_made_renamed_and_deleted(cloud: Embedded, browser: Browser) -> None:
    """A new slug is a new address; deleting asks for the slug."""
    send(browser, "/tenants", "/tenants", name="Second", slug="second")
    second = "/second/settings"
    shown = browser.get(f"{second}/tenants")

    answer = browser.submit(shown, f"{second}/tenant", name="Third", slug="third")

    assert answer.headers["location"] == "/third/settings/tenants"
    shown = browser.get("/third/settings/tenants")
    assert "type its slug" in alert(browser.submit(shown, "/third/settings/tenant/delete", confirm="second"))
    assert browser.submit(shown, "/third/settings/tenant/delete", confirm="third").headers["location"] == "/"
    assert cloud.ask("query { tenant { slug } }")["tenant"] == [{"slug": "default"}]


@pytest.mark.parametrize(
    ("action", "slug", "words"),
    [
        ("/tenants", "default", "There is a tenant with this slug"),
        ("/tenants", "A B", "slugified"),
        ("/tenant", "second", "There is a tenant with this slug"),
    ],
)
def test_a_slug_that_is_refused_stays_in_the_form(
    cloud: Embedded, browser: Browser, action: str, slug: str, words: str
) -> None:
    """With the reason."""
    cloud.change("create_tenant", "id", name="Second", slug="second")

    answer = send(browser, "/tenants", action, name="New", slug=slug)

    assert words in alert(answer)
    assert slug in [one.attrs["value"] for one in answer.all("input", name="slug")]


def test_settings_are_of_the_tenant_of_the_address(cloud: Embedded, browser: Browser) -> None:
    """Neither shown, changed nor deleted from another one."""
    cloud.change("create_tenant", "id", name="Second", slug="second")
    second = "/second/settings"
    browser.submit(browser.get(f"{second}/secrets"), f"{second}/secrets", name="WORD", value="w")
    browser.submit(browser.get(f"{second}/key-values"), f"{second}/key-values", key="k", value="1")
    browser.submit(browser.get(second), f"{second}/limit", name="gpu", limit="1")

    for page in ("", "/secrets", "/key-values"):
        assert not browser.get(f"{SETTINGS}{page}").texts("tr")
        shown = browser.get(f"{second}{page}")
        assert len(shown.texts("tr")) == 2
        [delete] = [one.attrs["action"] for one in shown.all("form") if one.attrs.get("action", "").endswith("/delete")]
        token = shown.all("input", name="form_token")[0].attrs["value"]
        assert browser.post(delete.replace("/second", "/default", 1), {"form_token": token}).status == 404
