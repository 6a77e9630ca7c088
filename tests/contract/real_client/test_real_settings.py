"""How the real 1.4.1 reads settings, and how this agent does, on a generated table of inputs."""

import itertools
import json
from pathlib import Path
from typing import Any, Final

import attrs
import pytest

from prefect.agent.domain.errors import ConfigurationError
from prefect.agent.entrypoints.settings.configuration import Configuration, env_vars, labels
from support.real_prefect import RealPrefect

pytestmark = pytest.mark.real_prefect

PROGRAM: Final = Path(__file__).parent / "programs" / "read_settings.py"

TEXTS: Final = (
    *("plain", "two words", " padded ", "true", "False", "3", "1.5", "007", "0x10", "1_000", "None", "-"),
    *("'quoted'", '"quoted"', "it's", "a=b", "a,b", "[]", "{}", "['a']", '["a"]', "['a', 'b']", "[a, b]", "('a', 'b')"),
    *("$WHO", "${WHO}", "$NOT_SET", "$WHO/$WHO", "~", "~/x", "x~", "${server.host}", "${server.host}:${server.port}"),
    *("${${backend}.endpoint}", "${not.there}", "x${NOT_THERE}", "100%", "päss", "{'A': 'b'}", '{"A": "$WHO"}'),
    *("\"['a','b']\"", "http://h:1/x?y=${WHO}"),
)
SETTINGS: Final = ("cloud.api", "cloud.api_key", "cloud.agent.name", "cloud.agent.labels", "cloud.agent.env_vars")
ENVIRON: Final = {"WHO": "me", "HOME": "/home/u"}

REASONS: Final = {
    "typed": "what must be a text stays as it was written; 1.x makes a number, True or a list of some texts",
    "brackets": "brackets without quotes are a list, and quotes around a list are taken away; 1.x makes a text of it",
    "words": "words with commas are labels; 1.x goes through the letters of the text",
    "pairs": "NAME=value is a variable; 1.x cannot use such a text",
    "refused": "what is no value of the setting, or refers to what is not there, is refused by name; 1.x goes on",
    "stripped": "white space around a value is taken away; 1.x keeps it",
}
"""Why we differ; docs/reference.md has the same list."""


@attrs.frozen
class Case:
    """A text in a place."""

    setting: str
    text: str
    in_file: bool

    @property
    def environ(self) -> dict[str, str]:
        """The variables."""
        name = "PREFECT__" + self.setting.upper().replace(".", "__")
        return ENVIRON if self.in_file else {**ENVIRON, name: self.text}

    @property
    def file(self) -> str:
        """The content of config.toml."""
        section, _, key = self.setting.rpartition(".")
        return f"[{section}]\n{key} = {json.dumps(self.text)}\n" if self.in_file else ""

    def ours(self, folder: Path) -> Any:
        """What this agent makes of it."""
        path = folder / "config.toml"
        path.write_text(self.file, encoding="utf-8")
        found = Configuration.load({**self.environ, "PREFECT__USER_CONFIG_PATH": str(path)})
        try:
            if self.setting.endswith("labels"):
                return labels(found, ())
            return env_vars(found, ()) if self.setting.endswith("env_vars") else found.text(self.setting)
        except ConfigurationError as problem:
            return "refused" if self.setting in str(problem) else repr(problem)


CASES: Final = tuple(Case(*each) for each in itertools.product(SETTINGS, TEXTS, (False, True)))


def reason(case: Case, ours: Any, theirs: Any) -> str | None:
    """Why *ours* and *theirs* may differ; None if they may not."""
    if ours == "refused":
        wanted = dict if case.setting.endswith("env_vars") else list if case.setting.endswith("labels") else str
        return "refused" if "not.there" in case.text.lower().replace("_", ".") or type(theirs) is not wanted else None
    if case.setting.endswith("labels"):
        if not isinstance(theirs, str):
            return "typed" if not isinstance(theirs, list) else None
        return "brackets" if case.text.strip("\"'")[:1] == "[" else "words"
    if case.setting.endswith("env_vars"):
        return "pairs" if isinstance(theirs, str) and "=" in theirs else "typed" if ours == {} else None
    if not isinstance(theirs, str):
        return "typed"
    return "stripped" if ours == theirs.strip() else None


def test_settings_are_read_as_the_real_client_reads_them(prefect_python: Path, tmp_path: Path) -> None:
    """Where they differ there is a reason, and each reason is in the documentation."""
    real = RealPrefect(prefect_python, "http://127.0.0.1:1", tmp_path)
    theirs = real.program(PROGRAM, [{"setting": c.setting, "environ": c.environ, "file": c.file} for c in CASES])
    used = set()
    for case, their in zip(CASES, theirs, strict=True):
        ours = case.ours(tmp_path)
        if ours == their or (not ours and their in ("", None)):
            continue
        why = reason(case, ours, their)
        assert why is not None, f"{case}: {ours!r}, but 1.4.1 has {their!r}"
        used.add(why)
    assert used == REASONS.keys()
    page = (Path(__file__).parents[3] / "docs" / "reference.md").read_text(encoding="utf-8")
    for why in REASONS.values():
        assert " ".join(why.split()) in " ".join(page.split())
