"""Ids of rows: they grow with the time at which a row was inserted."""

import os
import time
from collections.abc import Generator


def new_ids() -> Generator[str]:
    """Ids that grow with time (UUID version 7), so that new rows lie beside each other in the file."""
    milliseconds, chance = time.time_ns() // 1_000_000, int.from_bytes(os.urandom(10), "big")
    head = f"{milliseconds:012x}"
    head = f"{head[:8]}-{head[8:]}-7{chance >> 68:03x}-"
    tail = chance & ((1 << 61) - 1)  # of 62 bits: the batch can count upwards from here
    while True:
        text = f"{0x8000000000000000 | tail:016x}"
        yield f"{head}{text[:4]}-{text[4:]}"
        tail += 1


def first_id_of(nanoseconds: int) -> str:
    """What ids of rows that are inserted at this time (since the epoch) begin with, or are greater than."""
    milliseconds = f"{nanoseconds // 1_000_000:012x}"
    return f"{milliseconds[:8]}-{milliseconds[8:]}"
