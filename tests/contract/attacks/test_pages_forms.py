"""Attacks on what the Cloud's pages change: every form there is, sent by those who may not."""

import hashlib
from collections.abc import Callable, Mapping
from typing import Final

import pytest

from prefect.agent.entrypoints.server.graphql.execution import Executor
from prefect.agent.entrypoints.server.pages.routes import SECTIONS
from support.embedded import Embedded
from support.full_cloud import Filled, fill
from support.page_browser import Browser, Shown

ACTIONS: Final = [action.path for section in SECTIONS for action in section.actions]

FIELDS: Final = {
    "name": "another", "slug": "third", "confirm": "default", "scope": "admin", "days": "", "kind": "flow",
    "limit": "7", "key": "k", "value": "1", "state": "Failed", "message": "m", "cron": "0 1 * * *", "minutes": "",
    "zone": "UTC", "start": "now", "labels": "x", "do": "cancel", "back": "",
}  # fmt: skip
"""What a form may ask for, filled in so that each one changes something."""

REFUSED: Final = {401, 403, 404, 421}

RUNNER_MAY: Final = {
    "/flow-run/{run_id}/cancel", "/flow-run/{run_id}/restart", "/flow-run/{run_id}/set-state",
    "/flow-run/{run_id}/rename", "/flow/{flow_id}/run", "/flow-runs/change",
    "/settings/key-values", "/settings/key-values/{id}/delete",
}  # fmt: skip
"""What a runner key may do through the API as well."""


@pytest.fixture
def filled(cloud: Embedded) -> Filled:
    """What is in it."""
    return fill(cloud)


def contents(cloud: Embedded) -> str:
    """What stands for all that the file holds."""
    whole = hashlib.sha256()
    with cloud.database.read() as tx:
        for table in tx.all("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY 1"):
            for row in tx.all(f"SELECT * FROM {table['name']} ORDER BY 1"):
                whole.update(repr(row).encode())
    return whole.hexdigest()


def fields_for(filled: Filled, **more: str) -> dict[str, str]:
    """``FIELDS`` with the ids of runs, and of a project, that some forms take."""
    return {**FIELDS, "ids": f"{filled.run_id} {filled.ended_id}", "project": filled.other_project_id, **more}


def token_of(browser: Browser) -> str:
    """The token of the browser's session."""
    return browser.get("/default/settings").all("input", name="form_token")[0].attrs["value"]


def signed_in(cloud: Embedded, key: str) -> Browser:
    """A browser with a session of its own."""
    browser = Browser(cloud.execute)
    assert browser.submit(browser.get("/-/sign-in"), "/-/sign-in", key=key).status == 303
    return browser


def send_all(cloud: Embedded, filled: Filled, send: Callable[[str], Shown]) -> list[tuple[str, int]]:
    """Send every form with *send*; those that were answered otherwise than with a refusal, or changed something."""
    let_in = []
    for action in filled.actions():
        before = contents(cloud)
        answer = send(action)
        if answer.status not in REFUSED or contents(cloud) != before:
            let_in.append((action, answer.status))
    return let_in


def prepare(cloud: Embedded, filled: Filled, path: str) -> None:
    """Let the form with *path* have something to change."""
    if path.endswith("/schedule/own"):
        group = cloud.row("flow", filled.flow_id, "flow_group_id")["flow_group_id"]
        clocks = [{"cron": "0 2 * * *"}]
        cloud.change("set_flow_group_schedule", "success", flow_group_id=group, cron_clocks=clocks)


@pytest.mark.parametrize("path", ACTIONS)
def test_every_form_works_for_those_who_may(cloud: Embedded, filled: Filled, path: str) -> None:
    """No attack: the form as the page has it. Rule: it changes something, or these tests would prove nothing."""
    prepare(cloud, filled, path)
    browser = Browser(cloud.execute)
    token, address = token_of(browser), filled.page(path)
    if "{key_id}" in path:
        key = cloud.change("create_api_key", "id key", name="k")
        browser, address = signed_in(cloud, key["key"]), address.replace(address.split("/")[-2], key["id"])
        token = token_of(browser)
    before = contents(cloud)

    answer = browser.post(address, fields_for(filled, form_token=token))

    is_refusal_of_its_own = path.endswith("/schedule/on")  # one of the clocks cannot be read
    assert answer.status in {200, 303} or is_refusal_of_its_own, answer.body[-3000:]
    nothing_to_do = path.endswith("/schedule/off")
    assert (contents(cloud) != before) is not (nothing_to_do or is_refusal_of_its_own)


@pytest.mark.parametrize("token", [None, "", "0" * 64, "of another session", "of another server"])
def test_a_form_without_its_token_changes_nothing(cloud: Embedded, filled: Filled, token: str | None) -> None:
    """Attack: forms without a token, with a guessed one, one of another session or server. Rule: only one's own."""
    key = str(cloud.change("create_api_key", "key", name="k")["key"])
    browser = signed_in(cloud, key)
    others = {"of another session": signed_in, "of another server": lambda *_: Browser(Executor(cloud.database))}
    if token in others:
        other = others[token](cloud, key)
        other.headers = {} if other.cookies else {"authorization": f"Bearer {key}"}
        token = token_of(other)
    given = fields_for(filled, **({} if token is None else {"form_token": token}))

    assert send_all(cloud, filled, lambda action: browser.post(action, given)) == []


FOREIGN: Final[Mapping[str, Mapping[str, str]]] = {
    "another site": {"origin": "http://evil.example"},
    "a sandbox": {"origin": "null"},
    "another port": {"origin": "http://localhost:1"},
    "a longer name": {"origin": "http://localhost.evil.example:4200"},
    "a page of another site": {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"},
    "another name": {"host": "evil.example", "origin": "http://evil.example"},
    "another name and port": {"host": "evil.example:4200", "origin": "http://evil.example:4200"},
    "a port that is none": {"host": "localhost:99999", "origin": "http://localhost:99999"},
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_no_form_is_taken_from_elsewhere(cloud: Embedded, filled: Filled, kind: str) -> None:
    """Attack: a page of another site sends forms with the right token, or leads here by another name. Rule: refused."""
    browser = Browser(cloud.execute)
    given = fields_for(filled, form_token=token_of(browser))

    assert send_all(cloud, filled, lambda action: browser.post(action, given, **FOREIGN[kind])) == []


def test_nothing_opens_without_a_session(cloud: Embedded) -> None:
    """Attack: pages, forms and streams of a locked Cloud, without a session or with a made-up one. Rule: 401."""
    filled = fill(cloud, "do-not-tell")
    token = token_of(Browser(cloud.execute))
    cloud.change("create_api_key", "key", name="k")
    browser = Browser(cloud.execute)
    before = contents(cloud)

    for cookies in ({}, {"prefect-session-4200": "a" * 43}, {"prefect-session-4200": "\xe9"}):
        browser.cookies = cookies
        for address in [*filled.pages(), *filled.streams(), "/"]:
            shown = browser.get(address)
            assert (shown.status, "do-not-tell" in shown.body) == (401, False), address
        for address in [*filled.actions(), "/-/sign-out"]:
            shown = browser.post(address, fields_for(filled, form_token=token))
            assert (shown.status, "do-not-tell" in shown.body) == (401, False), address
    assert contents(cloud) == before


def test_a_revoked_key_opens_nothing_any_more(cloud: Embedded, filled: Filled) -> None:
    """Attack: go on with the session of a key that was revoked. Rule: each request asks whether it still is one."""
    headers = {"authorization": f"Bearer {cloud.change('create_api_key', 'key', name='boss')['key']}"}
    made = cloud.change("create_api_key", "id key", headers, name="k")
    browser = signed_in(cloud, made["key"])
    token = token_of(browser)
    cloud.change("delete_api_key", "success", headers, key_id=made["id"])

    given = fields_for(filled, form_token=token)
    assert send_all(cloud, filled, lambda action: browser.post(action, given)) == []
    assert {browser.get(address).status for address in [*filled.pages(), *filled.streams()]} == {401}


def test_a_runners_session_changes_what_a_runner_may(cloud: Embedded) -> None:
    """Attack: sign in with the key of a flow run, and send every form. Rule: what its scope may not is refused."""
    text = "do-not-tell"
    filled = fill(cloud, text)
    key = str(cloud.change("create_api_key", "key", name="r", scope="runner")["key"])
    browser = signed_in(cloud, key)
    token = token_of(browser)
    changed = set()
    for path in ACTIONS:
        before = contents(cloud)
        browser.post(filled.page(path), fields_for(filled, form_token=token))
        changed |= {path} if contents(cloud) != before else set()

    assert changed <= RUNNER_MAY, changed - RUNNER_MAY
    for address in ("/default/settings/secrets", "/default/settings/keys"):
        shown = browser.get(address)
        assert (shown.status, text in shown.body) == (403, False)


def shown_forms(browser: Browser, filled: Filled) -> set[str]:
    """Paths of all forms that change something and that some page shows."""
    chosen = f"/default/flow-runs/confirm?do=cancel&id={filled.run_id}"
    addresses = [*filled.pages(), f"/default/flow-run/{filled.ended_id}", chosen]
    forms = {form.attrs["action"] for address in addresses for form in browser.get(address).all("form", method="post")}
    return {path for path in ACTIONS if filled.page(path) in forms}


NEEDS_MORE: Final = {"/flow/{flow_id}/schedule/off", "/settings/tenant/delete", "/settings/keys/{key_id}/revoke"}
"""What no page shows here: the schedule is off, there is one tenant, and no key with this id."""


@pytest.mark.parametrize(("scope", "may"), [("admin", {*ACTIONS} - NEEDS_MORE), ("runner", RUNNER_MAY)])
def test_only_forms_are_shown_that_the_key_may_send(cloud: Embedded, filled: Filled, scope: str, may: set[str]) -> None:
    """No attack: a button that is refused leads nowhere. Rule: pages show what the key may send, and all of it."""
    for path in ACTIONS:
        prepare(cloud, filled, path)
    headers = {"authorization": f"Bearer {cloud.change('create_api_key', 'key', name='boss')['key']}"}
    key = str(cloud.change("create_api_key", "key", headers, name="k", scope=scope)["key"])

    assert shown_forms(signed_in(cloud, key), filled) == may


def test_the_address_of_one_tenant_reaches_nothing_of_another(cloud: Embedded, filled: Filled) -> None:
    """Attack: ids of another tenant's runs, flows, settings under one's own slug. Rule: they are not there."""
    other = fill(cloud, "do-not-tell", tenant="second")
    browser = Browser(cloud.execute)
    given = fields_for(other, form_token=token_of(browser))
    crossed = [address.replace("/second", "/default", 1) for address in other.pages()]
    mine = set(filled.pages())

    for address in crossed:
        shown = browser.get(address)
        assert "do-not-tell" not in _without_menu(shown) or address.endswith("/tenants"), address  # it names them all
        assert (shown.status == 404) is (address not in mine), address
    for path in ACTIONS:
        if "{" not in path and path != "/flow-runs/change":
            continue  # it names nothing of a tenant
        before = contents(cloud)
        answer = browser.post(other.page(path).replace("/second/", "/default/", 1), given)
        assert contents(cloud) == before, path
        assert answer.status == 404 or path == "/flow-runs/change", path


def test_a_flow_moves_to_no_project_of_another_tenant(cloud: Embedded, filled: Filled) -> None:
    """Attack: move one's own flow into another tenant's project. Rule: that project is not there."""
    other = fill(cloud, tenant="second")
    browser = Browser(cloud.execute)
    before = contents(cloud)

    answer = browser.post(filled.page("/flow/{flow_id}/move"), fields_for(other, form_token=token_of(browser)))

    assert (answer.status, contents(cloud)) == (404, before)


def _without_menu(shown: Shown) -> str:
    """The page without the menu of tenants, which names them all."""
    return "".join(one.text for one in shown.all("main"))


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_a_link_changes_nothing(cloud: Embedded, filled: Filled, method: str) -> None:
    """Attack: a link or an image that leads to a form's address, with all fields. Rule: only a form is a form."""
    browser = Browser(cloud.execute)
    query = "&".join(f"{name}={value}" for name, value in fields_for(filled, form_token=token_of(browser)).items())
    for address in filled.actions():
        before = contents(cloud)
        browser.ask(method, f"{address}?{query.replace(' ', '+')}", headers={"x-http-method-override": "POST"})
        assert contents(cloud) == before, address
