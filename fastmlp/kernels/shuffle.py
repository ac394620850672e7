"""Random orders: of a few samples drawn at once, of many made piece by piece in constant memory.

For many, a keyed bijection of 0 .. 2^b - 1 is applied to 0, 1, 2, ... and what is not below n is
left out (Mitchell et al., "Bandwidth-optimal random shuffling for GPUs", ACM TOPC 9, 2022, with
the finaliser of SplitMix64 as the round function of a Feistel network).
"""

from __future__ import annotations

import numpy as np

from fastmlp.kernels.jit import entry_kernel, inlined

N_KEYS = 8


@inlined
def _mix(x, key):
    x = (x ^ key) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@entry_kernel
def shuffle(keys, n, place, out):
    """Write the order's next entries into out; return the place after the last that was tried.

    keys (N_KEYS,) uint64; place 0 at first, then what was returned; out (any,) int64. Over all of
    2^b places, 2^b the least power of 2 not below n, each of 0 .. n - 1 comes exactly once.
    """
    one = np.uint64(1)
    n_bits = np.uint64(1)
    while (one << n_bits) < np.uint64(n):
        n_bits += one
    n_right = (n_bits + one) >> one
    right_mask = (one << n_right) - one
    left_mask = (one << (n_bits - n_right)) - one
    at = np.uint64(place)
    filled = 0
    while filled < out.size:
        left, right = at >> n_right, at & right_mask
        for i in range(0, N_KEYS, 2):
            left ^= _mix(right, keys[i]) & left_mask
            right ^= _mix(left, keys[i + 1]) & right_mask
        drawn = (left << n_right) | right
        if drawn < np.uint64(n):
            out[filled] = np.int64(drawn)
            filled += 1
        at += one
    return np.int64(at)


@entry_kernel
def permute(keys, out):
    """Write a uniform permutation of 0 .. n - 1 into out (n,) int64, n < 2^32.

    Fisher and Yates' shuffle, with draws from SplitMix64's finaliser of a counter. keys: see
    `shuffle`.
    """
    out[0] = 0
    for i in range(1, out.size):
        drawn = _mix(_mix(np.uint64(i), keys[0]), keys[1]) >> np.uint64(32)
        # A multiple of (i + 1) / 2^32: uneven by less than 2^-16 of itself for i < 2^16.
        j = np.int64((drawn * np.uint64(i + 1)) >> np.uint64(32))
        out[i] = out[j]
        out[j] = i
