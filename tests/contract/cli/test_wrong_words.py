"""Wrong input to ``run``, ``render``, ``why`` and ``start --dry-run``: what to do, and the exit code."""

from collections.abc import Generator
from contextlib import closing
from typing import Final

import pytest

from prefect.agent.entrypoints.server.testing import running_server
from support.commands import CommandHarness, run
from support.remote_cloud import RemoteCloud

KEY: Final = "pcu_a-key"
NOBODY: Final = "http://127.0.0.1:1"
"""Port 1 of the loopback address: nothing listens there."""

AN_ID: Final = "01a2235d-c77d-7ce2-9845-26c5ca76a08d"
DRY: Final = ("start", "process", "--dry-run", "--max-polls", "1")


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory) -> Generator[CommandHarness]:
    """A Cloud that asks for a key, with the flow ``etl`` and a run, and a home with the key; nothing is changed."""
    home = tmp_path_factory.mktemp("home")
    (home / "key.txt").write_text(KEY, encoding="utf-8")
    (home / "key.txt").chmod(0o600)
    (home / "wrong.txt").write_text("pcu_another-key", encoding="utf-8")
    (home / "wrong.txt").chmod(0o600)
    with running_server(home / "cloud.db", keys=frozenset({KEY})) as url:
        with closing(RemoteCloud(url, KEY)) as cloud:
            known = {"name": "n", "required": False, "default": 1, "slug": "n"}
            flow = cloud.flow(cloud.project("p"), "etl", parameters=[known])
            cloud.run(flow, flow_run_name="crimson-dolphin", labels=["nobody"])
        yield CommandHarness(home, url)


WITH_KEY: Final = ("--token-file", "key.txt")

CASES: Final[list[tuple[tuple[str, ...], int, str]]] = [
    (("run", "nothing", *WITH_KEY), 2, "has no flow with the id or the name 'nothing': register it first"),
    (("run", AN_ID, *WITH_KEY), 2, f"has no flow with the id or the name '{AN_ID}': register it first"),
    (("run", "Elt", *WITH_KEY), 2, "has no flow with the id or the name 'Elt': did you mean 'p/etl'?"),
    (("run", "etl/p", *WITH_KEY), 2, "has no flow with the id or the name 'etl/p': did you mean 'p/etl'?"),
    (("run", "etl", "--project", "q", *WITH_KEY), 2, "in the project 'q': did you mean 'p/etl'?"),
    (("run", "p/nothing", *WITH_KEY), 2, "has no flow with the id or the name 'p/nothing': register it first"),
    (("run", "etl", "--param", "n"), 2, "'n' is not NAME=VALUE"),
    (("run", "etl", "--param", "=3"), 2, "'=3' is not NAME=VALUE"),
    (("run", "etl", "--param", "n=1", "--param", "n=2"), 2, "'n' is given twice: leave one out"),
    (("run", "etl", "--param", "m=1", *WITH_KEY), 2, "the flow etl has no parameter 'm'; it has: n"),
    (("run", "etl", "--timeout", "3"), 2, "--timeout is for --watch: add that, or leave it out"),
    (("run", "etl", "--at", "soon"), 2, "'soon' is no time: write 2030-01-31T08:00:00+01:00, or +10m"),
    (("run", "etl", "--at", "soon", "--api", NOBODY), 2, "'soon' is no time"),
    (("render", "nothing", *WITH_KEY), 2, "'nothing': correct it, or register the flow first"),
    (
        ("render", "elt", *WITH_KEY),
        2,
        "neither a flow run nor a flow with the id or the name 'elt': did you mean 'p/etl'?",
    ),
    (("render", "crimson-dolfin", *WITH_KEY), 2, "'crimson-dolfin': did you mean 'crimson-dolphin'?"),
    (("why", "crimson-dolfin", *WITH_KEY), 2, "or the name 'crimson-dolfin': did you mean 'crimson-dolphin'?"),
    (("why", "etl", *WITH_KEY), 2, "'etl' is a flow, not a flow run: give the name or the id of one of its runs"),
    (("render", AN_ID, *WITH_KEY), 2, f"'{AN_ID}': correct it, or register the flow first"),
    (("render", "etl", "--platform", "boat"), 2, "choose one of docker, kubernetes, local, process"),
    (("render", "etl", "--platform", "process", "--volume", "/a:/b"), 2, "--volume is not for the process agent"),
    (("why", "nothing", *WITH_KEY), 2, "'nothing': check it and --tenant-id"),
    (("why", AN_ID, *WITH_KEY), 2, f"'{AN_ID}': check it and --tenant-id"),
    (("run", "etl", "--label", ""), 2, "'-l': it is empty: give a value, or leave it out"),
    (("run", "etl", "--label", " "), 2, "'-l': it is empty"),
    (("run", "etl", "--api", ""), 2, "it is empty: give a value, or leave it out"),
    (("run", "etl", "--at", ""), 2, "'--at': it is empty"),
    (("run", "etl", "--idempotency-key="), 2, "'--idempotency-key': it is empty"),
    (("run", "etl", "--watch", "--timeout", "nan"), 2, "'--timeout': nan is not a finite number"),
    (("run", "etl", "--label", "\udcff"), 2, "'-l': it holds characters that are not valid in UTF-8"),
    (("run", ""), 2, "'FLOW': it is empty"),
    (("why", ""), 2, "'RUN': it is empty"),
    (("why", "\udcff"), 2, "'RUN': it holds characters that are not valid in UTF-8"),
    (("render", "\udcff"), 2, "'RUN|FLOW': it holds characters that are not valid in UTF-8"),
    (("why", "etl", "--token-file", ""), 2, "it is empty: give a value, or leave it out"),
    (("start", "process", "--config", ""), 2, "'--config': it is empty"),
    (("start", "process", "--poll-interval", "0.0001"), 2, "0.0001 is not in the range x>=0.1"),
    (("start", "process", "--state-directory", "/\udcff", "--no-wait", "--api", NOBODY), 69, "Is the address right"),
    (("server", "start", "--database", ""), 2, "'--database': it is empty"),
    (("server", "start", "--ephemeral", "--keep-logs", "nan"), 2, "'--keep-logs': nan is not a finite number"),
    (
        ("server", "start", "--ephemeral", "--lazarus-period", "nan"),
        2,
        "'--lazarus-period': nan is not a finite number",
    ),
    (
        ("start", "process", "--agent-config-id", "x", *WITH_KEY),
        2,
        "'--agent-config-id': 'x' is not a UUID; correct it, or leave it out",
    ),
    (("start", "boat", "--dry-run"), 2, "choose one of docker, kubernetes, local, process"),
    (
        (*DRY, "--interpreter", "/nowhere", *WITH_KEY),
        78,
        "'/nowhere' is not a program that can be executed: correct it",
    ),
]
"""Words, exit code, what the last line says."""

for _command in (("run", "etl"), ("render", "etl", "--platform", "process"), ("why", "etl"), DRY):
    CASES.extend(
        [
            ((*_command, "--api", NOBODY), 69, "Is the address right (--api), and does the API run there?"),
            ((*_command, "--api", "nonsense"), 78, "write http://nonsense or https://nonsense"),
            (_command, 77, "give an API key (PREFECT__CLOUD__API_KEY)"),
            (
                (*_command, "--token-file", "wrong.txt"),
                77,
                "Give a key that is valid, by --token-file or PREFECT__CLOUD__",
            ),
            ((*_command, "--token-file", "/nowhere"), 78, "cannot read /nowhere, which --token-file names"),
            ((*_command, *WITH_KEY, "--tenant-id", "x"), 78, "is not a UUID; correct it, or leave it out"),
            (
                (*_command, *WITH_KEY, "--tenant-id", AN_ID),
                78,
                f"no tenant {AN_ID}: correct --tenant-id, or leave it out",
            ),
            ((*_command, *WITH_KEY, "--nonsense"), 2, "No such option"),
        ]
    )


@pytest.mark.parametrize(("words", "code", "says"), CASES)
def test_wrong_input_is_one_sentence_with_what_to_do(
    harness: CommandHarness, words: tuple[str, ...], code: int, says: str
) -> None:
    """On standard error, as the last line; no traceback; nothing was created."""
    done = run(harness.env, *words)

    errors = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert (done.returncode, done.stdout) == (code, ""), done
    assert errors == [done.stderr.splitlines()[-1]]
    assert says in errors[0]
    assert "Traceback" not in done.stderr
