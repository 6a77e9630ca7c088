"""Volumes as ``--volume`` takes them."""

from pathlib import Path

import pytest

from prefect.agent.adapters.docker.volumes import Volume, parse_volume, parse_volumes
from prefect.agent.domain.errors import ConfigurationError

HERE = str(Path.cwd())
HOME = str(Path.home())


class TestVolumes:
    """``--volume``."""

    @pytest.mark.parametrize(
        ("spec", "external", "internal", "mode", "is_named"),
        [
            ("/data", "/data", "/data", "rw", False),
            ("/host:/cont", "/host", "/cont", "rw", False),
            ("/host:/cont:ro", "/host", "/cont", "ro", False),
            ("/host/../other/:/a//b/./c/", "/other", "/a/b/c", "rw", False),
            ("/host:/cont:ro,z", "/host", "/cont", "ro,z", False),
            ("./here:/cont", f"{HERE}/here", "/cont", "rw", False),
            ("~/mine:/cont", f"{HOME}/mine", "/cont", "rw", False),
            ("~/mine", f"{HOME}/mine", f"{HOME}/mine", "rw", False),
            ("named:/data", "named", "/data", "rw", True),
            ("named-1.a_b:/data:rw", "named-1.a_b", "/data", "rw", True),
        ],
    )
    def test_understood(self, spec: str, external: str, internal: str, mode: str, *, is_named: bool) -> None:
        """Paths are made absolute and normal; what does not look like a path is a name."""
        expected = Volume(external=external, internal=internal, mode=mode, is_named=is_named)
        assert parse_volume(spec) == expected
        assert expected.bind == f"{external}:{internal}:{mode}"

    @pytest.mark.parametrize(
        ("spec", "external", "internal", "mode"),
        [
            (r"C:\p", r"C:\p", "/c/p", "rw"),
            (r"C:\p:ro", r"C:\p", "/c/p", "ro"),
            (r"C:\p\..\q:/cont", r"C:\q", "/cont", "rw"),
            (r"d:/p:/cont:ro", r"d:\p", "/cont", "ro"),
            (r"C:\p:D:\q:rw", r"C:\p", "/d/q", "rw"),
            ("named:/data", "named", "/data", "rw"),
        ],
    )
    def test_understood_on_windows(self, spec: str, external: str, internal: str, mode: str) -> None:
        """A colon after a drive letter separates nothing; a last ``ro`` or ``rw`` is the mode."""
        volume = parse_volume(spec, windows=True)
        assert (volume.external, volume.internal, volume.mode) == (external, internal, mode)

    @pytest.mark.parametrize(
        "spec",
        ["", ":", "/a:", ":/b", "/a:/b:", "/a:/b:ro:x", "/a:b", "/a:/b:fast", "data", "named:/d:ro", "a/b:/d", "n_:d"],
    )
    @pytest.mark.parametrize("windows", [False, True])
    def test_refused(self, spec: str, *, windows: bool) -> None:
        """What makes no sense is refused at once, with the text."""
        with pytest.raises(ConfigurationError) as refusal:
            parse_volumes([spec], windows=windows)
        assert repr(spec) in str(refusal.value)

    def test_two_in_one_place_are_refused(self) -> None:
        """The engine would say so at every start."""
        with pytest.raises(ConfigurationError, match="another volume already has the path /c"):
            parse_volumes(["/a:/c", "/b:/c"], windows=False)

    def test_a_home_that_is_not_known_is_refused(self) -> None:
        """No traceback: a container's user often has no entry in ``/etc/passwd``."""
        with pytest.raises(ConfigurationError, match="whole path"):
            parse_volume("~no-such-user-at-all/data:/data")
