"""What all pages share: their frame, static files, security headers, and how errors are shown."""

import re

import pytest

from prefect.agent.entrypoints.server.http.gate import SECURITY_HEADERS
from prefect.agent.entrypoints.server.pages import flows
from prefect.agent.entrypoints.server.pages.assets import asset_path
from prefect.agent.entrypoints.server.pages.routes import PAGES, TABS
from support.embedded import Embedded
from support.page_browser import Browser

UNKNOWN = "01a22128-7c50-7b11-8f6c-9f0c2d1f0e11"


def addresses(cloud: Embedded) -> list[str]:
    """One address of every page."""
    flow = cloud.flow(cloud.project(), "flow", tasks=2)
    run = cloud.run(flow)
    return [f"/default{page.path}".replace("{run_id}", run).replace("{flow_id}", flow) for page in PAGES]


def test_every_page_shows_itself(cloud: Embedded, browser: Browser) -> None:
    """With one heading, a title, a mark in the navigation, and links that lead somewhere."""
    for address in addresses(cloud):
        shown = browser.get(address)
        assert shown.status == 200, address
        assert len(shown.all("h1")) == 1
        assert shown.all("title")[0].text.endswith("Prefect Cloud")
        assert len(shown.all("a", aria_current="page")) in {1, 2}
        for link in {one for one in shown.links() if one.startswith("/")}:
            assert browser.get(link).status == 200, (address, link)


def test_no_page_has_anything_inline_or_from_elsewhere(cloud: Embedded, browser: Browser) -> None:
    """The Content-Security-Policy would refuse it."""
    for address in addresses(cloud):
        shown = browser.get(address)
        assert not shown.all("style")
        assert all(one.attrs.get("src") for one in shown.all("script"))
        assert not [one for one in shown.elements if "style" in one.attrs or any(n.startswith("on") for n in one.attrs)]
        sources = [one.attrs[name] for one in shown.elements for name in ("src", "href", "action") if name in one.attrs]
        assert not [one for one in sources if re.match(r"(\w+:)?//", one)]


def test_every_form_that_changes_something_carries_its_token(cloud: Embedded, browser: Browser) -> None:
    """A form without one would be refused."""
    for address in addresses(cloud):
        shown = browser.get(address)
        forms = shown.all("form", method="post")
        tokens = shown.all("input", name="form_token")
        assert [form for form in forms if not any(form in one.parents for one in tokens)] == []


def test_every_field_has_a_label(cloud: Embedded, browser: Browser) -> None:
    """Also for those who do not see where it stands."""
    for address in addresses(cloud):
        shown = browser.get(address)
        named = {one.attrs.get("for") for one in shown.all("label")}
        for one in shown.elements:
            if one.tag in {"input", "select", "textarea"} and one.attrs.get("type") != "hidden":
                inside = any(parent.tag == "label" for parent in one.parents)
                assert inside or one.attrs.get("id") in named or "aria-label" in one.attrs, (address, one)


def test_the_policy_allows_own_files_only() -> None:
    """No inline script, no inline style, no frame, nothing from elsewhere."""
    policy = dict(SECURITY_HEADERS)["Content-Security-Policy"]

    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert set(re.findall(r"'([a-z-]+)'", policy)) == {"none", "self"}


def test_static_files_may_be_kept_and_nothing_else(browser: Browser) -> None:
    """Their address names their content; a page is never kept."""
    style = browser.get(asset_path("pages.css"))

    assert (style.status, style.headers["content-type"]) == (200, "text/css; charset=utf-8")
    assert "immutable" in style.headers["cache-control"]
    assert browser.get("/").headers["cache-control"] == "no-store"


@pytest.mark.parametrize("path", ["/-/static/0/pages.css", asset_path("pages.css").replace("pages.css", "x.css")])
def test_an_unknown_file_is_not_found(browser: Browser, path: str) -> None:
    """Files of another edition neither."""
    assert browser.get(path).status == 404


@pytest.mark.parametrize("path", ["../__init__.py", "%2e%2e%2f__init__.py", "..%2frouting.py"])
def test_no_other_file_of_the_package_is_served(browser: Browser, path: str) -> None:
    """Names are looked up in a table, not in the file system."""
    assert browser.get(asset_path("pages.css").replace("pages.css", path)).status == 404


@pytest.mark.parametrize(
    "path",
    ["/unknown", "/default/nothing", f"/default/flow-run/{UNKNOWN}", "/default/flow-run/x", f"/default/flow/{UNKNOWN}",
     f"/default/flow-run/{UNKNOWN}/logs", f"/default/flow-run/{UNKNOWN}/task-runs"],
)  # fmt: skip
def test_what_is_not_there_is_a_page(browser: Browser, path: str) -> None:
    """In the same look, with the status that says so."""
    shown = browser.get(path)

    assert (shown.status, shown.heading) == (404, "Not Found")
    assert shown.all("link", rel="stylesheet")


@pytest.mark.parametrize(
    ("asked", "there"),
    [
        ("/default/flow-runs/", "/default/flow-runs"),
        ("/default/flow-runs/?state=A&state=B&name=a%26b", "/default/flow-runs?state=A&state=B&name=a%26b"),
        ("/default/settings/key-values//", "/default/settings/key-values"),
        (f"/default/flow-run/{UNKNOWN}/logs/", f"/default/flow-run/{UNKNOWN}/logs"),
        ("/-/sign-in/?next=/default", "/-/sign-in?next=/default"),
        ("/s\u00fcd/flows/", "/s%C3%BCd/flows"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_slash_at_the_end_leads_to_the_page(browser: Browser, asked: str, there: str, method: str) -> None:
    """The query stays; the address names no host, whatever host the client names."""
    shown = browser.ask(method, asked, headers={"host": "127.0.0.1:4200"})

    assert (shown.status, shown.headers["location"]) == (308, there)


@pytest.mark.parametrize("asked", ["/default/nothing/", "/graphql/alpha/", "/default/flow-runs/change/"])
def test_a_slash_at_the_end_leads_to_nothing_that_is_no_page(browser: Browser, asked: str) -> None:
    """What takes a form or a query only is none; ``test_pages_links.py`` asks for other hosts."""
    shown = browser.ask("GET", asked)

    assert shown.status == 404
    assert "location" not in shown.headers


def test_a_form_is_not_sent_on(browser: Browser) -> None:
    """What changes something has one address."""
    assert browser.post("/default/projects/", {"name": "x"}).status == 404


def test_the_front_leads_to_the_first_tenant(cloud: Embedded, browser: Browser) -> None:
    """Clients take the first tenant for the default one, and so does the address without one."""
    cloud.change("create_tenant", "id", name="Second", slug="second")

    shown = browser.get("/")

    assert shown.heading == "Home"
    assert [one for one in TABS if one in shown.texts("a", aria_current="page")] == ["Home"]
    assert {"/default", "/second"} <= set(shown.links())


def test_a_tenant_shows_nothing_of_another(cloud: Embedded, browser: Browser) -> None:
    """Neither in lists nor under the other's address."""
    run = cloud.run(cloud.flow(cloud.project(), "mine"), flow_run_name="my run")
    cloud.change("create_tenant", "id", name="Second", slug="second")

    assert "my run" in browser.get("/default/flow-runs").body
    for path in ("", "/flow-runs", "/flows"):
        assert "my run" not in browser.get(f"/second{path}").body
    assert browser.get(f"/second/flow-run/{run}").status == 404
    token = browser.get(f"/default/flow-run/{run}").all("input", name="form_token")[0].attrs["value"]
    assert browser.post(f"/second/flow-run/{run}/cancel", {"form_token": token}).status == 404
    assert cloud.state(run) == "Scheduled"


def test_markup_of_others_is_text(cloud: Embedded, browser: Browser) -> None:
    """Names, messages, labels, parameters and log lines are people's own: none becomes part of a page."""
    evil = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'"
    parameters = [{"name": evil, "required": False, "default": evil}]
    flow = cloud.flow(cloud.project(evil), evil, tasks=1, parameters=parameters, description=evil)
    run = cloud.run(flow, flow_run_name=evil, labels=[evil], parameters={evil: evil}, context={evil: evil})
    line = {"flow_run_id": run, "message": evil, "name": evil, "level": "INFO", "timestamp": "2026-01-01T00:00:00Z"}
    cloud.change("write_run_logs", "success", logs=[line])
    cloud.set_state(run, "Failed", message=evil)

    for page in PAGES:
        shown = browser.get(f"/default{page.path}".replace("{run_id}", run).replace("{flow_id}", flow))
        assert shown.status == 200
        assert not shown.all("img"), page.path
        assert [one.attrs["src"] for one in shown.all("script")] == [asset_path("pages.js")]
    assert "&lt;script&gt;" in browser.get(f"/default/flow-run/{run}/logs").body


def test_a_text_of_a_million_characters_is_cut(cloud: Embedded, browser: Browser) -> None:
    """A page stays a page."""
    run = cloud.run(cloud.flow(cloud.project()), parameters={"a": "x" * 1_000_000}, flow_run_name="n" * 100_000)
    cloud.set_state(run, "Failed", message="m" * 900_000)

    for path in ("", "/flow-runs", f"/flow-run/{run}", f"/flow-run/{run}/logs"):
        assert len(browser.get(f"/default{path}").body) < 150_000, path


def test_a_failure_within_is_a_page_without_details(cloud: Embedded, browser: Browser) -> None:
    """What the database says is explained, and the next request finds a server that works."""
    cloud.database._connection.execute("ALTER TABLE flow_run RENAME TO elsewhere")

    shown = browser.get("/default/flow-runs")

    assert (shown.status, shown.heading) == (503, "Service Unavailable")
    assert "SELECT" not in shown.body


def test_a_bug_is_a_page_without_details(
    browser: Browser, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What went wrong is in the log and not on the page; the next request is answered."""

    def broken(_view: object) -> None:
        raise RuntimeError("a detail")

    with monkeypatch.context() as patch:
        patch.setattr(flows, "_newest", broken)
        shown = browser.get("/default/flows")

    assert (shown.status, shown.heading) == (500, "Internal Server Error")
    assert "a detail" not in shown.body
    assert "a detail" in caplog.text
    assert browser.get("/default/flows").status == 200


def test_another_method_is_refused_and_says_which_are_not(browser: Browser) -> None:
    """As HTTP wants it."""
    answer = browser.ask("PUT", "/default/flows")

    assert answer.status == 405
    assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD"}


def test_a_first_page_is_small(cloud: Embedded, browser: Browser) -> None:
    """With its style sheet and scripts it stays below 100 kB."""
    first = browser.get("/")
    names = ("pages.css", "pages.js", "live.js", "log.js", "times.js", "forms.js", "menus.js", "icon.svg")

    assert len(first.body) + sum(len(browser.get(asset_path(name)).body) for name in names) < 100_000
