"""Who takes which file of the tests, when several processes run them."""

from support import schedule

PLANE = ["tests/contract/kubernetes/test_faults.py", "tests/contract/cli/test_install.py"]
PLAIN = ["tests/unit/test_makefile.py", "tests/contract/process/test_places.py"]


def test_files_that_ask_for_a_control_plane_are_known() -> None:
    """By their text: they name the marker or the fixture."""
    assert [schedule.needs_control_plane(file) for file in PLANE + PLAIN] == [True, True, False, False]


def test_a_file_that_is_not_there_needs_none() -> None:
    """Collected from a folder elsewhere, say."""
    assert not schedule.needs_control_plane("none/test_none.py")


def test_long_files_come_first_then_those_with_many_tests() -> None:
    """Seconds count before the number of tests."""
    slow, slower = sorted(schedule.SECONDS, key=lambda file: schedule.SECONDS[file])[:: len(schedule.SECONDS) - 1]

    assert schedule.longest_first({"b": 5, slow: 1, "a": 900, "c": 5, slower: 1}) == [slower, slow, "a", "b", "c"]


def test_every_file_whose_time_is_known_is_there() -> None:
    """One that was moved or renamed would come last without a word."""
    assert [file for file in schedule.SECONDS if not (schedule.ROOT / file).is_file()] == []


def test_the_first_worker_begins_with_the_control_plane() -> None:
    """What needs one is long in sum."""
    assert schedule.next_file([PLAIN[0], *PLANE], has_plane=False, is_plane_elsewhere=False) == PLANE[0]


def test_a_worker_with_a_control_plane_takes_all_that_need_one() -> None:
    """Then the longest of the others."""
    assert schedule.next_file([PLAIN[0], PLANE[1]], has_plane=True, is_plane_elsewhere=False) == PLANE[1]
    assert schedule.next_file([PLAIN[1], PLAIN[0]], has_plane=True, is_plane_elsewhere=False) == PLAIN[1]


def test_a_second_control_plane_is_started_only_when_nothing_else_is_left() -> None:
    """It costs a fifth of a core."""
    assert schedule.next_file([*PLANE, *PLAIN], has_plane=False, is_plane_elsewhere=True) == PLAIN[0]
    assert schedule.next_file(PLANE, has_plane=False, is_plane_elsewhere=True) == PLANE[0]


def test_a_worker_that_has_one_of_two_control_planes_goes_on_with_it() -> None:
    """It is there anyhow."""
    assert schedule.next_file([*PLAIN, *PLANE], has_plane=True, is_plane_elsewhere=True) == PLANE[0]
