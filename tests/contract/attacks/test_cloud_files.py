"""Attacks on the file of an embedded Cloud, on its HTTP, and by what is never deleted."""

import json
import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Generator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from prefect.agent.entrypoints.server.services import Routine
from prefect.agent.entrypoints.server.storage.clock import utc_now
from prefect.agent.entrypoints.server.storage.database import Database, DatabaseProblem
from prefect.agent.entrypoints.server.storage.retention import PORTION, Retention, prune
from prefect.agent.entrypoints.server.testing import running_server
from support.embedded import Embedded
from support.raw_http import ask, connect, get, head_of, read
from support.waiting import wait_until

JSON = "application/json"
LONG_AGO = "2001-01-01T00:00:00.000000+00:00"
A_DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    """An open Cloud at the loopback."""
    with running_server(tmp_path_factory.mktemp("cloud") / "cloud.db") as address:
        yield address


def mode(path: Path) -> int:
    """The permissions of a file or folder."""
    return stat.S_IMODE(path.stat().st_mode)


# --- the file ---


def test_only_its_user_reads_the_file(tmp_path: Path) -> None:
    """Attack: a neighbour reads secrets in cloud.db or its log. Rule: 0600 in a folder 0700, whatever the umask."""
    path = tmp_path / "home" / "cloud.db"
    before = os.umask(0)
    try:
        cloud = Embedded(path)
        cloud.change("set_secret", "success", name="s", value="in clear")
    finally:
        os.umask(before)

    assert mode(path.parent) == 0o700
    assert [mode(one) for one in sorted(path.parent.iterdir())] == [0o600] * 4
    cloud.database.close()


def test_a_wide_file_of_ours_is_taken_from_others(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Attack: a file of an older version is 0644. Rule: repaired at the next start, and a warning says so."""
    path = tmp_path / "cloud.db"
    Database(path).close()
    path.chmod(0o644)

    with closing(Database(path)):
        assert {mode(one) for one in tmp_path.iterdir()} == {0o600}
    assert "could be read by other users" in caplog.text


@pytest.mark.parametrize("holds_secret", [True, False])
def test_a_file_that_others_can_replace_holds_no_secrets(tmp_path: Path, *, holds_secret: bool) -> None:
    """Attack: a neighbour puts his own file in its place. Rule: refused in a folder that others can write to."""
    path = tmp_path / "shared" / "cloud.db"
    first = Embedded(path)
    if holds_secret:
        first.change("set_secret", "success", name="s", value=1)
    first.database.close()
    path.parent.chmod(0o777)

    if not holds_secret:
        Database(path).close()
        return
    with pytest.raises(DatabaseProblem, match="chmod go-w"):
        Database(path)
    path.parent.chmod(0o1777)
    Database(path).close()


@pytest.mark.parametrize("words", [["start", "--require-key", "--port", "0"], ["create-key"]])
def test_no_key_is_made_where_others_can_replace_the_file(tmp_path: Path, words: list[str]) -> None:
    """Attack: a new file in a folder that others can write to. Rule: refused before the first key, not at a restart."""
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o777)
    command = [sys.executable, "-m", "prefect.agent", "server", *words, "--database", str(folder / "cloud.db")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    assert (done.returncode, "chmod go-w" in done.stderr, done.stdout) == (78, True, "")
    assert not list(folder.glob("*key*"))


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a file to another user")
def test_a_wide_file_of_another_user_with_keys_is_refused(tmp_path: Path) -> None:
    """Attack: root serves a file that its owner left open. Rule: one sentence, and nothing is changed."""
    path = tmp_path / "cloud.db"
    first = Embedded(path)
    first.change("set_secret", "success", name="s", value=1)
    first.database.close()
    os.chown(path, 65534, 65534)
    path.chmod(0o644)

    with pytest.raises(DatabaseProblem, match="chmod 600"):
        Database(path)
    assert mode(path) == 0o644


def test_a_lock_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    """Attack: a link at the lock's place has the server write elsewhere. Rule: not followed, one sentence."""
    (tmp_path / "cloud.db.lock").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(DatabaseProblem, match="cannot write beside"):
        Database(tmp_path / "cloud.db")
    assert not (tmp_path / "elsewhere").exists()


def test_a_link_to_the_file_is_the_file(tmp_path: Path) -> None:
    """Attack: a second server on a link, with a lock and a log of its own. Rule: a file has one name."""
    real, link = tmp_path / "real" / "cloud.db", tmp_path / "link.db"
    with closing(Database(real)) as first:
        link.symlink_to(real)
        assert first.path == real.resolve()
        with pytest.raises(DatabaseProblem, match="another server uses"):
            Database(link)
    with closing(Database(link)):
        assert {one.parent for one in tmp_path.rglob("*.lock")} == {real.parent}


def test_every_folder_that_is_made_is_its_users_alone(tmp_path: Path) -> None:
    """Attack: rename a folder above that of the file. Rule: 0700 for each folder that is made, whatever the umask."""
    path = tmp_path / "a" / "b" / "cloud.db"
    before = os.umask(0)
    try:
        Database(path).close()
    finally:
        os.umask(before)

    assert (mode(tmp_path / "a"), mode(tmp_path / "a" / "b")) == (0o700, 0o700)


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a file to another user")
@pytest.mark.parametrize("end", ["", "-wal", "-shm", "-journal", ".lock"])
def test_what_a_neighbour_put_beside_the_file_is_not_taken_over(tmp_path: Path, end: str) -> None:
    """Attack: in /tmp, a log with a neighbour's key waits for the database. Rule: refused before SQLite reads it."""
    path = tmp_path / "cloud.db"
    planted = Path(f"{path}{end}")
    planted.touch(0o600)
    os.chown(planted, 65534, 65534)
    if end:
        with pytest.raises(DatabaseProblem, match="is not a file of the owner"):
            Database(path)
        assert planted.stat().st_size == 0
    else:
        Database(path).close()  # the owner's own, which root serves


def test_a_link_beside_the_file_is_not_followed(tmp_path: Path) -> None:
    """Attack: a link at the log's place has SQLite write elsewhere. Rule: regular files only."""
    (tmp_path / "cloud.db-wal").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(DatabaseProblem, match="is not a file of the owner"):
        Database(tmp_path / "cloud.db")
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a folder to another user")
def test_a_folder_of_another_user_holds_no_secrets(tmp_path: Path) -> None:
    """Attack: the owner of the folder puts another file in its place. Rule: refused like a folder others write to."""
    path = tmp_path / "his" / "cloud.db"
    first = Embedded(path)
    first.change("set_secret", "success", name="s", value=1)
    first.database.close()
    os.chown(path.parent, 65534, 65534)

    with pytest.raises(DatabaseProblem, match="another user's"):
        Database(path)


# --- HTTP ---


def test_the_page_shows_long_names_cut(tmp_path: Path) -> None:
    """Attack: fifty names of 4 MB, each five seconds. Rule: the page shows so much of a name."""
    path = tmp_path / "cloud.db"
    first = Embedded(path)
    run = first.run(first.flow(first.project()))
    first.change("set_flow_run_name", "success", flow_run_id=run, name="n" * 1_000_000)
    first.database.close()
    with running_server(path) as url:
        assert len(get(url).body) < 50_000


def test_health_does_not_redirect(url: str) -> None:
    """Attack: /health/ leads to the host that the client names. Rule: only pages redirect, and name no host."""
    assert get(url, "/health/").status == 200
    for path in ("/.well-known/apollo/server-health/", "/gone/", "//"):
        answer = get(url, path)
        assert (answer.status // 100, "location" in answer.headers) == (4, False)
    for path in ("/default/flows/", "/graphql//"):  # the second could be the front page of a tenant
        page = get(url, path)
        assert (page.status, page.headers["location"]) == (308, path.rstrip("/"))


@pytest.mark.parametrize("coding", ["chunked", "identity", "gzip, chunked"])
def test_a_length_beside_a_transfer_coding_is_refused(url: str, coding: str) -> None:
    """Attack: two readers see two ends of a body. Rule: refused, and the connection ends."""
    body = json.dumps({"query": "{ hello }"}).encode()
    chunked = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    with connect(url) as connection:
        head = head_of(url, content_type=JSON, content_length=str(len(chunked)), transfer_encoding=coding)
        connection.sendall(head + chunked)
        answer = read(connection)
        assert answer.status in {400, 501}
        assert answer.headers["connection"] == "close"
        assert "hello" not in answer.body


def test_every_answer_has_the_security_headers(url: str) -> None:
    """Attack: frames, sniffed types, answers in caches. Rule: the same headers on whatever is answered."""
    noise = b"\x16\x03\x01 noise\r\n\r\n"
    with connect(url) as connection:
        connection.sendall(noise)
        bad = read(connection)
    answers = [bad, get(url), get(url, "/health"), get(url, "/gone"), ask(url, content_type=JSON), ask(url)]
    answers += [ask(url, "{ no }", content_type=JSON), get(url, host="evil.example")]

    assert [answer.status for answer in answers] == [400, 200, 200, 404, 200, 415, 400, 421]
    for answer in answers:
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["cache-control"] == "no-store"


MISTAKES = (
    'mutation { cancel_flow_run(input: { flow_run_id: "00000000-0000-4000-8000-000000000001" }) { state } }',
    'mutation { create_project(input: { name: "" }) { id } }',
    'mutation { one: create_project(input: { name: "p" }) { id } two: create_project(input: { name: "p" }) { id } }',
    '{ secret_value(name: "none") }',
    "{ flow(order_by: { nothing: asc }) { id } }",
    '{ flow_run_by_pk(id: "x") { id } }',
    "{ flow(where: { id: { _eq: 3 } }) { id } }",
    "{ flow { id ",
    "{ nothing }",
    '{ flow(where: { name: { _like: "' + "%a" * 600 + '" } }) { id } }',
)


@pytest.mark.parametrize("query", MISTAKES)
def test_a_mistake_of_a_client_is_not_a_failure_of_the_cloud(cloud: Embedded, query: str) -> None:
    """Attack: errors that call people to the server's log. Rule: INTERNAL_SERVER_ERROR is the Cloud's own alone."""
    _, body = cloud.send(query)

    codes = {error["extensions"]["code"] for error in body["errors"]}
    assert codes
    assert "INTERNAL_SERVER_ERROR" not in codes


def test_half_a_surrogate_pair_is_a_mistake(cloud: Embedded) -> None:
    """Attack: text that cannot be stored. Rule: as above."""
    _, body = cloud.mutate("create_project", "id", name="\ud800")

    assert body["errors"][0]["extensions"]["code"] == "BAD_USER_INPUT"


# --- what is kept ---


def finished(cloud: Embedded, kind: str = "Success", *, when: str = LONG_AGO, logs: int = 3) -> str:
    """A flow run that ended then, with a task run and log lines."""
    run = cloud.run(cloud.flow(cloud.project(f"p-{os.urandom(4).hex()}"), tasks=1))
    cloud.change("write_run_logs", "success", logs=[{"flow_run_id": run, "message": "m"}] * logs)
    cloud.set_state(run, kind)
    with cloud.database.write() as tx:
        tx.execute("UPDATE flow_run SET state_timestamp = ? WHERE id = ?", [when, run])
    return run


def counts(cloud: Embedded, run: str) -> tuple[int, int]:
    """How many log lines and task runs a flow run has; -1 if it is gone."""
    row = cloud.row("flow_run", run, "logs { id } task_runs { id }") if exists(cloud, run) else None
    return (len(row["logs"]), len(row["task_runs"])) if row else (-1, -1)


def exists(cloud: Embedded, run: str) -> bool:
    """Whether a flow run is there."""
    return bool(cloud.ask(f'{{ flow_run_by_pk(id: "{run}") {{ id }} }}')["flow_run_by_pk"])


def test_nothing_is_deleted_by_default(cloud: Embedded) -> None:
    """No attack: a Cloud of years. Rule: retention is off if nothing is said."""
    run = finished(cloud)
    assert list(prune(cloud.database, Retention(), utc_now())) == []
    assert not Routine().retention
    assert counts(cloud, run) == (3, 1)


def test_logs_of_finished_runs_go_after_a_while(cloud: Embedded) -> None:
    """Attack: logs fill the disk. Rule: --keep-logs deletes those of runs that finished long ago, and nothing else."""
    old, fresh = finished(cloud), finished(cloud, when=utc_now().isoformat(timespec="microseconds"))
    alive = finished(cloud, "Running")
    list(prune(cloud.database, Retention(logs=A_DAY), utc_now()))

    assert [counts(cloud, run) for run in (old, fresh, alive)] == [(0, 1), (3, 1), (3, 1)]


@pytest.mark.parametrize("kind", ["Success", "Failed", "Cancelled"])
def test_finished_runs_go_after_a_while(cloud: Embedded, kind: str) -> None:
    """Attack: runs fill the disk. Rule: --keep-runs deletes them whole; what has not finished stays for ever."""
    old = finished(cloud, kind)
    alive = [finished(cloud, state) for state in ("Running", "Submitted", "Scheduled", "Cancelling")]
    list(prune(cloud.database, Retention(runs=A_DAY), utc_now()))

    assert not exists(cloud, old)
    assert all(counts(cloud, run) == (3, 1) for run in alive)
    with cloud.database.read() as tx:
        left = tx.all("SELECT id FROM task_run WHERE flow_run_id = ?", [old])
        left += tx.all("SELECT id FROM log WHERE flow_run_id = ?", [old])
    assert left == []


def test_a_run_that_was_cancelled_ahead_of_its_time_stays_until_then(cloud: Embedded) -> None:
    """Attack: none. Rule: it keeps its schedule from planning that time again, however long ago it was cancelled."""
    run = finished(cloud, "Cancelled")
    with cloud.database.write() as tx:
        tx.execute("UPDATE flow_run SET scheduled_start_time = '2999-01-01T00:00:00.000000+00:00' WHERE id = ?", [run])
    list(prune(cloud.database, Retention(logs=A_DAY, runs=A_DAY), utc_now()))

    assert counts(cloud, run) == (3, 1)


def test_it_is_deleted_in_small_portions(cloud: Embedded) -> None:
    """Attack: one deletion of millions of rows stops the Cloud. Rule: a bounded transaction for each step."""
    finished(cloud, logs=PORTION * 2 + 1)
    steps = list(prune(cloud.database, Retention(logs=A_DAY), utc_now()))

    assert steps == [PORTION, PORTION, 1]


def test_a_run_that_begins_again_meanwhile_stays(cloud: Embedded) -> None:
    """Attack: a person starts an old run again while it is deleted. Rule: each portion looks at its state anew."""
    run = finished(cloud, logs=PORTION + 1)
    steps = prune(cloud.database, Retention(runs=A_DAY), utc_now())
    next(steps)
    cloud.set_state(run, "Scheduled")
    list(steps)

    assert exists(cloud, run)


def test_a_server_deletes_by_itself(tmp_path: Path) -> None:
    """No attack: the option of the command. Rule: the service works at once and then every hour; a day is the least."""
    path = tmp_path / "cloud.db"
    before = Embedded(path)
    run = finished(before)
    before.database.close()
    with running_server(path, routine=Routine(retention=Retention(runs=A_DAY))):
        wait_until(lambda: not stored(path, run), what="the run is deleted")
    command = [sys.executable, "-m", "prefect.agent", "server", "start", "--keep-runs", "0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, "--keep-runs" in done.stderr) == (2, True)


def stored(path: Path, run: str) -> bool:
    """Whether the file has a flow run."""
    with closing(sqlite3.connect(path)) as connection:
        return bool(connection.execute("SELECT 1 FROM flow_run WHERE id = ?", [run]).fetchone())
