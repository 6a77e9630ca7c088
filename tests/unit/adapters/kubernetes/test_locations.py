"""What a job template's path may point to: files, web addresses, object stores."""

import contextlib
import http.server
import sys
import threading
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from prefect.agent.adapters.kubernetes import locations, templates
from prefect.agent.adapters.kubernetes.fields import BadTemplate
from prefect.agent.domain.errors import PlatformUnavailable

JOB = b"apiVersion: batch/v1\nkind: Job\nmetadata: {labels: {a: b}}\n"
MADE = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"labels": {"a": "b"}}}


class TestFiles:
    """Paths of the agent's machine."""

    @pytest.mark.parametrize("form", ["{}", "file://{}", "local://{}", "agent://{}", "file://localhost{}", "FILE://{}"])
    def test_read(self, form: str, tmp_path: Path) -> None:
        """A plain path and the three schemes that mean the same."""
        file = tmp_path / "job:template.yaml"
        file.write_bytes(JOB)
        assert templates.load(form.format(file)) == MADE

    def test_relative(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A relative path is taken from where the agent runs."""
        (tmp_path / "job.yaml").write_bytes(JOB)
        monkeypatch.chdir(tmp_path)
        assert templates.load("job.yaml") == templates.load("file://job.yaml") == MADE

    @pytest.mark.parametrize(
        ("path", "message"),
        [
            ("/does/not/exist", "/does/not/exist: there is no such file on the agent's machine"),
            ("/", "/: it is not a file"),
            ("/dev/zero", "it is not a file"),
            ("/etc/passwd/x", "the agent cannot read the file: Not a directory"),
            ("a\0b", "that cannot be the name of a file"),
            ("\ud800", "that cannot be the name of a file"),
            ("x" * 300, "the agent cannot read the file: File name too long"),
            ("ftp://u:pw@host/x?sig=pw", "ftp://host/x: the agent cannot read ftp:// addresses, only a file's path or"),
        ],
    )
    def test_refused(self, path: str, message: str) -> None:
        """The message names the path, without a password, and what is wrong with it."""
        with pytest.raises(BadTemplate) as caught:
            templates.load(path)
        assert message in str(caught.value)
        assert "pw" not in str(caught.value)

    def test_size(self, tmp_path: Path) -> None:
        """Of a large file no more is read than shows that it is too large."""
        file = tmp_path / "large"
        with file.open("wb") as opened:
            opened.truncate(1 << 40)
        assert len(locations.read(str(file))) == locations.MAX_BYTES + 1
        with pytest.raises(BadTemplate, match="larger than 1024 KiB"):
            templates.load(str(file))


class Site(http.server.BaseHTTPRequestHandler):
    """Answers by path; remembers the credentials it was given."""

    credentials: ClassVar[list[str | None]] = []

    def do_GET(self) -> None:
        """Answer."""
        self.credentials.append(self.headers.get("Authorization"))
        path, _, query = self.path.partition("?")
        status, _, where = path.lstrip("/").partition("/")
        self.send_response(int(status))
        if where == "to":
            self.send_header("Location", query)
        if where == "later":
            self.send_header("Retry-After", "7")
        body = b"x" * (2 * locations.MAX_BYTES) if where == "large" else JOB
        self.send_header("Content-Length", str(len(body) + (9 if where == "cut" else 0)))
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Stay silent."""


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Address of a web server."""
    monkeypatch.setenv("NO_PROXY", "*")
    Site.credentials.clear()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


class TestWeb:
    """http and https addresses."""

    def test_read(self, site: str) -> None:
        """A template is read, redirects followed."""
        assert templates.load(f"http://{site}/200/job.yaml?x=1") == MADE
        assert templates.load(f"http://{site}/302/to?/307/to?/200/x") == MADE

    def test_no_credentials(self, site: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Neither a name and password in the address nor those of ``.netrc`` are sent, after a redirect either."""
        netrc = tmp_path / "netrc"
        netrc.write_text("machine 127.0.0.1 login u password hunter2\n")
        monkeypatch.setenv("NETRC", str(netrc))
        assert templates.load(f"http://u:hunter2@{site}/302/to?/200/x") == MADE
        assert Site.credentials == [None, None]

    @pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 204, 304])
    def test_refused(self, site: str, status: int) -> None:
        """An answer that will be the same tomorrow refuses; neither password nor query is shown."""
        with pytest.raises(BadTemplate, match=f"http://{site}/{status}/x: the server answered HTTP {status}$"):
            templates.load(f"http://u:pw@{site}/{status}/x?sig=pw")

    @pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503])
    def test_unavailable(self, site: str, status: int) -> None:
        """Trouble of the server passes, and it may say when."""
        with pytest.raises(PlatformUnavailable, match=f"http://{site}/{status}/later cannot be read now") as caught:
            templates.load(f"http://u:pw@{site}/{status}/later?sig=pw")
        assert caught.value.retry_after == 7

    def test_tls(self, site: str) -> None:
        """A server that cannot prove who it is is refused."""
        with pytest.raises(BadTemplate, match="no TLS connection"):
            templates.load(f"https://{site}/200/x")

    def test_nobody_listens(self, site: str) -> None:
        """No connection, and an answer that was cut short, are trouble that passes, too."""
        with pytest.raises(PlatformUnavailable, match="ConnectionError"):
            templates.load("http://127.0.0.1:1/x")
        with pytest.raises(PlatformUnavailable, match="cut cannot be read now"):
            templates.load(f"http://{site}/200/cut")

    @pytest.mark.parametrize(
        ("path", "message"),
        [
            ("302/to?/" * 7, "redirects more than 5 times"),
            ("302/to?file:///etc/passwd", "that address cannot be read"),
            ("200/large", "larger than 1024 KiB"),
        ],
    )
    def test_tricks(self, site: str, path: str, message: str) -> None:
        """Loops, other schemes and large answers are refused."""
        with pytest.raises(BadTemplate, match=message):
            templates.load(f"http://{site}/{path}")

    @pytest.mark.parametrize(
        "url", ["http://", "http://[", "http://a b/", "http://.x/", "https://x:99999/", "http://\0"]
    )
    def test_no_address(self, url: str) -> None:
        """What is no address is refused, not tried again."""
        with pytest.raises((BadTemplate, PlatformUnavailable)):
            templates.load(url)

    def test_drip(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whatever the far end does, the agent waits no longer than the deadline."""
        monkeypatch.setattr(locations, "DEADLINE", 0.05)
        ended = threading.Event()
        with pytest.raises(PlatformUnavailable, match="was not read within"):
            locations._in_time(lambda: bytes(ended.wait(30)), "http://x/y")
        ended.set()

    def test_late(self) -> None:
        """A part is never taken for the whole."""
        with pytest.raises(PlatformUnavailable, match="did not send all"):
            locations._gathered([b"kind: Job"], until=0.0)


class TestObjectStores:
    """s3, gs and gcs by fsspec, which is not among our dependencies."""

    @pytest.mark.parametrize(("scheme", "package"), [("s3", "s3fs"), ("gs", "gcsfs"), ("gcs", "gcsfs")])
    def test_not_installed(self, scheme: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """The message names the package to install."""
        monkeypatch.setitem(sys.modules, "fsspec", None)
        with pytest.raises(BadTemplate, match=f"{scheme}://b/k: .* install {package} where the agent runs"):
            templates.load(f"{scheme}://b/k")

    @pytest.fixture
    def store(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[Exception | None], None]:
        """Makes an fsspec that opens a Job, or fails."""

        def install(problem: Exception | None) -> None:
            def opened(url: str, mode: str) -> Any:
                if problem:
                    raise problem
                (tmp_path / "job").write_bytes(JOB)
                return (tmp_path / "job").open(mode)

            module = types.ModuleType("fsspec")
            module.open = opened  # type: ignore[attr-defined]
            monkeypatch.setitem(sys.modules, "fsspec", module)

        return install

    def test_read(self, store: Callable[[Exception | None], None]) -> None:
        """With fsspec it is read."""
        store(None)
        assert templates.load("s3://bucket/key") == MADE

    @pytest.mark.parametrize(
        ("problem", "expected"),
        [
            (FileNotFoundError("k"), BadTemplate),
            (PermissionError("k"), BadTemplate),
            (ImportError("s3fs"), BadTemplate),
            (RuntimeError("no credentials"), BadTemplate),
            (TimeoutError(), PlatformUnavailable),
            (ConnectionResetError(), PlatformUnavailable),
            (OSError(5, "io"), PlatformUnavailable),
        ],
    )
    def test_errors(
        self, store: Callable[[Exception | None], None], problem: Exception, expected: type[Exception]
    ) -> None:
        """Trouble of the network passes; all else is refused."""
        store(problem)
        with pytest.raises(expected, match="s3://bucket/key"):
            templates.load("s3://bucket/key")
