"""What tests of the embedded Cloud's storage share."""

import pytest

from support.embedded import Embedded


@pytest.fixture
def names(cloud: Embedded) -> Embedded:
    """Projects p (flows a1, b1, b_1) and q (flow a2, without description), and runs r1 to r3 of a1."""
    p, q = cloud.project("p"), cloud.project("q")
    a1 = cloud.flow(p, "a1", description="first", tasks=2)
    cloud.flow(p, "b1", description="Second")
    cloud.flow(p, "b_1", description="third")
    cloud.flow(q, "a2")
    for name, when, labels in (("r2", "2020-01-02", ["x"]), ("r1", "2020-01-01", []), ("r3", "2020-01-03", ["x", "y"])):
        cloud.run(a1, flow_run_name=name, scheduled_start_time=f"{when}T00:00:00Z", labels=labels)
    return cloud
