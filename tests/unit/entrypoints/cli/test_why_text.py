"""How ``prefect agent why`` prints what it found."""

from prefect.agent.entrypoints.cli.why import WIDEST, _aligned


def test_one_long_name_leaves_the_table_readable() -> None:
    """An agent may be called anything; the others stand in the same columns."""
    rows = [("agent", "lacks"), ("x" * 5000, "gpu"), ("vm", "gpu")]

    lines = [*_aligned(rows)]

    assert lines == [
        f"{'agent':<{WIDEST}}  lacks",
        f"{'x' * (WIDEST - 3)}...  gpu",
        f"{'vm':<{WIDEST}}  gpu",
    ]
