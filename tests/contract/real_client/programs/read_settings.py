"""Let the real Prefect read settings: JSON cases in, JSON values out."""

import json
import os
import sys
import tempfile
from pathlib import Path

from prefect import configuration

cases = json.load(sys.stdin)
path = Path(tempfile.mkdtemp()) / "config.toml"
before = dict(os.environ)
found = []
for case in cases:
    os.environ.clear()
    os.environ.update(case["environ"])
    path.write_text(case["file"], encoding="utf-8")
    try:
        config = configuration.load_configuration(configuration.DEFAULT_CONFIG, str(path), None, "PREFECT")
        value = config
        for part in case["setting"].split("."):
            value = value[part]
        value = json.loads(json.dumps(value, default=list))
    except Exception as problem:  # noqa: BLE001
        value = {"failed": type(problem).__name__}
    found.append(value)
os.environ.clear()
os.environ.update(before)
path.unlink()
path.parent.rmdir()
print(json.dumps(found))
