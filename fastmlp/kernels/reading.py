"""Rows from anywhere in a file: one call of the operating system for each, none of Python."""

from __future__ import annotations

from numba.core import types

from fastmlp.kernels.jit import entry_kernel

_pread = types.ExternalFunction(
    "pread", types.intp(types.int32, types.uintp, types.uintp, types.int64)
)


@entry_kernel
def read_rows(descriptor, offset, row_bytes, rows, address):
    """Write rows of an open file to an address; return how many were there before one was not.

    descriptor int32; the file's row i is of row_bytes bytes at offset + i row_bytes; rows (n,)
    int64; at the address is room for n rows.
    """
    for i in range(rows.size):
        place = address + types.uintp(i * row_bytes)
        if _pread(descriptor, place, row_bytes, offset + rows[i] * row_bytes) != row_bytes:
            return i
    return rows.size
