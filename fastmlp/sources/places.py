"""Bytes from wherever they are in a file."""

from __future__ import annotations

import os
from typing import Any

# What all systems read in one call.
_MOST_BYTES = 2**30


def fill(file: Any, offset: int, buffer: memoryview) -> int:
    """Fill a buffer with what is in an open file from an offset on; return how much there was.

    The file's position is neither used nor moved where the system can do without: a process shares
    it with those forked from it, which may be reading at the same time.

    Parameters
    ----------
    file : binary file
        Of the operating system: with a file descriptor.
    offset : int
    buffer : memoryview of bytes
    """
    left = buffer
    while len(left):
        part = left[:_MOST_BYTES]
        if hasattr(os, "preadv"):
            n = os.preadv(file.fileno(), [part], offset + len(buffer) - len(left))
        else:
            file.seek(offset + len(buffer) - len(left))
            n = file.readinto(part)
        if not n:
            break
        left = left[n:]
    return len(buffer) - len(left)
