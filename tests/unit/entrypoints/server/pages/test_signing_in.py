"""Who may look at pages, and what a form must carry."""

import pytest

from prefect.agent.entrypoints.server.graphql.execution import Executor
from prefect.agent.entrypoints.server.pages.forms import MAX_FORM
from prefect.agent.entrypoints.server.pages.sessions import IDLE_SECONDS, MAX_SESSIONS, Sessions
from support.embedded import Embedded
from support.page_browser import Browser, Fields, form_values

SIGN_IN = "/-/sign-in"


KEY = "a-key-that-no-cookie-has-by-chance"


@pytest.fixture
def locked(cloud: Embedded) -> Browser:
    """A browser at a Cloud that asks for the key :data:`KEY`."""
    return Browser(Executor(cloud.database, frozenset({KEY})))


def signed_in(browser: Browser, key: str = KEY) -> Browser:
    """The same browser, signed in."""
    answer = browser.submit(browser.get("/default/flows"), SIGN_IN, key=key)
    assert (answer.status, answer.headers["location"]) == (303, "/default/flows")
    return browser


def test_a_locked_cloud_asks_for_a_key(locked: Browser) -> None:
    """Every page is a form for the key, with the status that says so."""
    shown = locked.get("/default/flow-runs?state=Failed")

    assert (shown.status, shown.heading) == (401, "Sign in")
    assert shown.one("input", name="next").attrs["value"] == "/default/flow-runs?state=Failed"


def test_a_key_opens_a_session_that_does_not_carry_it(locked: Browser) -> None:
    """The cookie is of chance, out of reach of scripts, and not sent from other sites."""
    answer = locked.submit(locked.get("/"), SIGN_IN, key=KEY)

    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "samesite=strict" in cookie.lower()
    assert KEY not in cookie
    assert locked.get("/").heading == "Home"


def test_a_key_that_is_not_accepted_opens_nothing(locked: Browser) -> None:
    """The form is shown again and says why."""
    answer = locked.submit(locked.get("/"), SIGN_IN, key="k2")

    assert answer.status == 401
    assert "not accepted" in answer.one("p", role="alert").text
    assert "set-cookie" not in answer.headers


def test_signing_out_ends_the_session(locked: Browser) -> None:
    """A cookie that was kept opens nothing any more."""
    signed_in(locked)
    kept = dict(locked.cookies)

    answer = locked.submit(locked.get("/"), "/-/sign-out")

    assert answer.status == 303
    locked.cookies = kept
    assert locked.get("/").status == 401


def test_a_revoked_key_ends_its_sessions(cloud: Embedded) -> None:
    """The session is no second key: each request asks whether the key still is one."""
    made = cloud.change("create_api_key", "id key", name="of a person")
    browser = signed_in(Browser(cloud.execute), made["key"])
    assert browser.get("/").status == 200

    cloud.send(
        'mutation { delete_api_key(input: { key_id: "' + made["id"] + '" }) { success } }',
        headers={"authorization": f"Bearer {made['key']}"},
    )

    assert browser.get("/").status == 401


def test_a_key_in_the_header_opens_pages_as_it_opens_graphql(locked: Browser) -> None:
    """For programs, and for those who had the old page in a script."""
    assert locked.get("/", authorization=f"Bearer {KEY}").status == 200
    assert locked.get("/", authorization="Bearer k2").status == 401


@pytest.mark.parametrize(
    "target", ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)"]
)
def test_signing_in_leads_to_no_other_site(locked: Browser, target: str) -> None:
    """A link to the form may name a page of this Cloud and nothing else."""
    answer = locked.submit(locked.get(f"{SIGN_IN}?next={target}"), SIGN_IN, key=KEY, next=target)

    assert (answer.status, answer.headers["location"]) == (303, "/")


def test_a_form_without_its_token_changes_nothing(cloud: Embedded, browser: Browser) -> None:
    """A page of another site can send a form, but cannot read the token."""
    run = cloud.run(cloud.flow(cloud.project()))

    for fields in ({}, {"form_token": "0" * 64}):
        assert browser.post(f"/default/flow-run/{run}/cancel", fields).status == 403

    assert cloud.state(run) == "Scheduled"


def test_a_token_of_another_session_is_refused(locked: Browser) -> None:
    """What one person's page carries is worth nothing in another person's form."""
    signed_in(locked)
    token = locked.get("/").all("input", name="form_token")[0].attrs["value"]
    locked.cookies = {}
    signed_in(locked)

    assert locked.post("/-/sign-out", {"form_token": token}).status == 403
    assert locked.get("/").status == 200


def test_a_form_from_another_site_is_refused(cloud: Embedded, browser: Browser) -> None:
    """Even with the right token: the gate looks at the Origin first."""
    run = cloud.run(cloud.flow(cloud.project()))
    token = browser.get(f"/default/flow-run/{run}").all("input", name="form_token")[0].attrs["value"]

    answer = browser.post(f"/default/flow-run/{run}/cancel", {"form_token": token}, origin="http://evil.example")

    assert answer.status == 403
    assert cloud.state(run) == "Scheduled"


def test_a_form_that_is_too_large_is_refused(browser: Browser) -> None:
    """Its size is bounded while it is read."""
    assert browser.ask("POST", "/default/settings/limit", b"a" * (MAX_FORM + 1)).status == 413
    assert browser.ask("POST", SIGN_IN, b"a" * (3 * MAX_FORM + 1)).status == 413


def test_a_runners_key_changes_no_more_than_its_scope(cloud: Embedded) -> None:
    """Pages change things through mutations: what these refuse is refused here."""
    run = cloud.run(cloud.flow(cloud.project()))
    made = cloud.change("create_api_key", "key", name="of a runner", scope="runner")
    browser = signed_in(Browser(cloud.execute), made["key"])

    shown = browser.get(f"/default/flow-run/{run}")
    token = shown.all("input", name="form_token")[0].attrs["value"]
    refused = browser.post(f"/default/flow-run/{run}/delete", {"form_token": token})

    assert f"/default/flow-run/{run}/delete" not in [form.attrs["action"] for form in shown.all("form")]
    assert "key of the scope runner" in shown.one("header", class_="top").text
    assert refused.status == 422
    assert "may not use delete_flow_run" in refused.body
    assert browser.get(f"/default/flow-run/{run}").status == 200


# --- sessions ---


def test_a_session_that_is_not_used_ends() -> None:
    """A forgotten browser does not stay signed in."""
    moment = [0.0]
    sessions = Sessions(monotonic=lambda: moment[0])
    token = sessions.begin("k")

    moment[0] = IDLE_SECONDS - 1
    assert sessions.key(token) == "k"
    moment[0] += IDLE_SECONDS + 1
    assert sessions.key(token) is None


def test_sessions_are_bounded() -> None:
    """The one that was unused for the longest gives way."""
    moment = [0.0]
    sessions = Sessions(monotonic=lambda: moment[0])
    first = sessions.begin("first")
    for number in range(MAX_SESSIONS):
        moment[0] += 1
        last = sessions.begin(str(number))

    assert sessions.key(first) is None
    assert sessions.key(last) == str(MAX_SESSIONS - 1)


def test_each_session_has_its_own_form_token() -> None:
    """A token that was read in one session is worth nothing in another."""
    sessions = Sessions()
    one, other = sessions.begin("k"), sessions.begin("k")

    assert sessions.is_form_token(one, sessions.form_token(one))
    assert not sessions.is_form_token(one, sessions.form_token(other))
    assert not sessions.is_form_token(one, "")


FILLED = {"name": "a name\nof <b>two</b> lines", "labels": "ä, b", "context": '{"a": "\\u2028"}', "start": "now"}


def fill_in(cloud: Embedded, browser: Browser) -> tuple[str, Fields]:
    """The form of a run, filled in but not sent: its address and its fields."""
    address = f"/default/flow/{cloud.flow(cloud.project())}/run"
    return address, [*{**dict(form_values(browser.get(address), address)), **FILLED}.items(), ("name", "a second one")]


def runs(cloud: Embedded) -> int:
    """How many flow runs there are."""
    return len(cloud.ask("{ flow_run { id } }")["flow_run"])


def test_what_was_filled_in_outlives_the_session(cloud: Embedded, locked: Browser) -> None:
    """Signing in hands the form back; only a click sends it, and then all of it."""
    address, fields = fill_in(cloud, signed_in(locked))
    locked.cookies = {}

    asked = locked.post(address, fields, referer=f"http://localhost:4200{address}?from=x")
    handed = locked.submit(asked, SIGN_IN, key=KEY)

    assert (asked.status, asked.one("input", name="next").attrs["value"]) == (401, f"{address}?from=x")
    assert (handed.status, handed.heading) == (200, "Not sent yet")
    assert f"{address}?from=x" in handed.links()
    sent = [one for one in fields if one[0] != "form_token"]
    assert [one for one in form_values(handed, address) if one[0] != "form_token"] == sent
    assert runs(cloud) == 0
    assert locked.post(address, list(form_values(handed, address))).status == 303
    assert runs(cloud) == 1


def test_what_was_filled_in_outlives_a_wrong_key(cloud: Embedded, locked: Browser) -> None:
    """A key that is not accepted loses nothing either."""
    address, fields = fill_in(cloud, signed_in(locked))
    locked.cookies = {}

    again = locked.submit(locked.post(address, fields), SIGN_IN, key="k2")

    assert again.status == 401
    assert locked.submit(again, SIGN_IN, key=KEY).heading == "Not sent yet"


def test_what_was_filled_in_outlives_a_restart_of_the_server(cloud: Embedded, browser: Browser) -> None:
    """A form of an earlier start of the Cloud is handed back, and changes something once it is sent again."""
    address, fields = fill_in(cloud, browser)
    restarted = Browser(Executor(cloud.database))

    handed = restarted.post(address, fields)

    assert (handed.status, handed.heading, runs(cloud)) == (403, "Not sent yet", 0)
    assert "a second one" in handed.one("dl").text
    assert restarted.post(address, list(form_values(handed, address))).status == 303


def test_a_secret_that_is_handed_back_is_not_shown(cloud: Embedded, browser: Browser) -> None:
    """It goes on in a hidden field."""
    fields = {"name": "a-name", "value": "a-secret", "kind": "text", "form_token": "of another start"}

    handed = browser.post("/default/settings/secrets", fields)

    assert "a-name" in handed.one("main").text
    assert "a-secret" not in handed.one("main").text
    assert ("value", "a-secret") in list(form_values(handed, "/default/settings/secrets"))


@pytest.mark.parametrize("kept", ["x", "[]", '["/", "/", 1]', '["//evil.example", "//evil.example", []]', "[" * 99999])
def test_what_a_sign_in_carries_leads_nowhere_else(locked: Browser, kept: str) -> None:
    """What is no form of this Cloud is dropped, or leads to the first page."""
    answer = locked.submit(locked.get("/"), SIGN_IN, key=KEY, kept=kept)

    assert answer.status in {200, 303}
    assert "evil" not in answer.body


def test_signing_out_twice_is_no_error(locked: Browser) -> None:
    """As in a second tab: there is nothing left to be signed out of."""
    shown = signed_in(locked).get("/")
    locked.submit(shown, "/-/sign-out")

    answer = locked.submit(shown, "/-/sign-out")

    assert (answer.status, answer.heading, answer.all("input", name="kept")) == (401, "Sign in", [])


def test_a_sign_in_page_outlives_a_restart_of_the_server(cloud: Embedded, locked: Browser) -> None:
    """Its form is shown once more and says why; the key is not in it."""
    restarted = Browser(Executor(cloud.database, frozenset({KEY})))

    again = restarted.post(SIGN_IN, {**dict(form_values(locked.get("/default/flows"), SIGN_IN)), "key": KEY})

    assert (again.status, "restarted" in again.one("p", role="alert").text) == (403, True)
    answer = restarted.submit(again, SIGN_IN, key=KEY)
    assert (answer.status, answer.headers["location"]) == (303, "/default/flows")
