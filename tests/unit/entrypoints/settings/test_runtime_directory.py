"""Where sockets of running agents are; without a home there is none, never a folder that is called ``~``."""

from pathlib import Path

import pytest

from prefect.agent.domain.errors import ConfigurationError
from prefect.agent.entrypoints.settings.files import read_files
from prefect.agent.entrypoints.settings.runtime_directory import VARIABLE, looked_at, runtime_directory


@pytest.mark.parametrize(
    ("environ", "place"),
    [
        ({"HOME": "/home/ann"}, "/home/ann/.prefect-agent/run"),
        ({"HOME": "/home/ann", "XDG_RUNTIME_DIR": "/run/user/7"}, "/run/user/7/prefect-agent"),
        ({"HOME": "/home/ann", "RUNTIME_DIRECTORY": "/run/prefect-agent:/run/x"}, "/run/prefect-agent"),
        ({"HOME": "/home/ann", VARIABLE: "~/sockets"}, "/home/ann/sockets"),
        ({VARIABLE: "/sockets"}, "/sockets"),
    ],
)
def test_the_first_of_several_places_is_the_agents(environ: dict[str, str], place: str) -> None:
    """Its own variable, systemd's, the session's, home."""
    assert runtime_directory(environ) == Path(place)
    assert looked_at(environ)[0] == Path(place)


@pytest.mark.parametrize("home", [None, "", "~", "~/", "somewhere", "."])
def test_without_a_home_there_is_no_place(home: str | None) -> None:
    """Nothing is made below the current folder, and nothing is read there."""
    environ = {} if home is None else {"HOME": home}

    assert runtime_directory(environ) is None
    assert not [path for path in looked_at(environ) if not path.is_absolute()]
    assert all(path.is_absolute() for path in read_files(environ).paths)


@pytest.mark.parametrize("named", ["~/sockets", "~", "~no-such-user-here/sockets"])
def test_a_home_that_does_not_exist_is_an_error(named: str) -> None:
    """If a person has named it."""
    with pytest.raises(ConfigurationError, match="there is no such home: write the whole path"):
        runtime_directory({VARIABLE: named})
