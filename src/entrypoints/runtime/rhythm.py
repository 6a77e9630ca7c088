"""The pauses of the loops that no setting names."""

import attrs


@attrs.frozen(kw_only=True)
class Rhythm:
    """How closely the loops of one agent follow each other, in seconds. Tests set it short.

    Attributes:
        sweep_gap: Shortest pause between two sweeps, however many units end; and between two watches.
        watch: How long one watch lasts before it is renewed.
        report_gap: Reports that come within this time share requests.
    """

    sweep_gap: float = 1.0
    watch: float = 60.0
    report_gap: float = 0.25
