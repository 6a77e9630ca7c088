"""``prefect server start`` as a process of its own."""

import os
import re
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import attrs

from support.real_prefect import OWN_PREFECT


@attrs.frozen
class Started:
    """A server that runs; what it said, its address and its file."""

    process: "subprocess.Popen[str]"
    said: str
    url: str
    path: Path


@contextmanager
def started(tmp_path: Path, *words: str) -> Generator[Started]:
    """Run ``prefect server start WORDS`` until the block ends."""
    env = {name: os.environ[name] for name in os.environ if name.startswith("COVERAGE_PROCESS")}
    env |= {"HOME": str(tmp_path), "TMPDIR": str(tmp_path), "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}
    command: list[str | Path] = [OWN_PREFECT, "server", "start", "--port", "0", *words]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            said = "".join(process.stdout.readline() for _ in range(6))
            url, path = re.findall(r"http://\S+:\d+", said), re.findall(r"data in (.+)", said)
            yield Started(process, said, url[0], Path(path[0]))
        finally:
            if process.poll() is None:
                process.terminate()
