"""Settings of the unit tests."""

from hypothesis import settings

# A slow machine is no bug of ours: what a step may cost is measured in benchmarks/.
settings.register_profile("unit", deadline=None, database=None)
settings.load_profile("unit")
