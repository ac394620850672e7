"""The library's kernels one by one: ready to be called, with the flops and bytes of a call.

Each function below makes a `Call` of a name in the dictionary or tuple above it. What the modules
of `fastmlp.kernels` have may change from commit to commit: they are imported where a call is made.

Flops count a fused multiply-add as two, a division or a root as one. Bytes count each array that a
kernel reads or writes, once for each; what a cache spares or a write fetches besides is left out.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from bench.call import Call
from bench.phase_calls import (
    LAYER_PHASES,
    LOSSES,
    NETWORK_PASSES,
    UPDATES,
    layer_call,
    loss_call,
    network_call,
    update_call,
)

# Register tiles ------------------------------------------------------------------------------

# By name: the kernel, and the rows and vectors of columns of C, from those of a full tile.
TILES: dict[str, tuple[str, Callable[[int, int], tuple[int, int]]]] = {
    "full": ("multiply", lambda rows, vectors: (rows, vectors)),
    "full, accumulated": ("accumulate", lambda rows, vectors: (rows, vectors)),
    "full, transposed": ("multiply_transposed", lambda rows, vectors: (rows, vectors)),
    "half the rows": ("multiply", lambda rows, vectors: (rows // 2, vectors)),
    "one row": ("multiply", lambda rows, vectors: (1, vectors)),
    "one vector": ("multiply", lambda rows, vectors: (rows, 1)),
    "one vector, transposed": ("multiply_transposed", lambda rows, vectors: (rows, 1)),
    "row tail": ("multiply", lambda rows, vectors: (rows - 1, vectors)),
    "row tail, transposed": ("multiply_transposed", lambda rows, vectors: (rows - 1, vectors)),
    "row of a sample": ("multiply_row", lambda rows, vectors: (1, 16)),
    "row of a sample, tail": ("multiply_row", lambda rows, vectors: (1, 15)),
}


def tile_call(name: str, dtype: str = "float32", depth: int = 256) -> Call:
    """Return C = A B, or C + A B, over `depth` terms, all in the core's caches, B packed."""
    from bench import kernel_loops as loops
    from fastmlp.kernels.tile import ROWS, VECTOR_BYTES, VECTORS
    from fastmlp.workspace import allocate

    kind, shape = TILES[name]
    n_rows, n_vectors = shape(ROWS, VECTORS)
    width = n_vectors * VECTOR_BYTES // np.dtype(dtype).itemsize
    rng = np.random.default_rng(0)
    A, B, C = (allocate(size, dtype) for size in (n_rows * depth, depth * width, n_rows * width))
    # Terms in pairs that cancel: sums do not grow, however often they are added to.
    half = rng.standard_normal((depth // 2, n_rows))
    terms = np.stack([half, -half], axis=1).reshape(-1, n_rows)[:depth]
    A[:] = (terms if kind == "multiply_transposed" else terms.T).ravel()
    B[:] = np.repeat(rng.standard_normal((depth // 2, width)), 2, axis=0)[:depth].ravel()

    C[:] = 0

    def repeat(n: int) -> None:
        if kind == "multiply_row":
            loops.multiply_row(A, B, width, C, depth, n_vectors, n)
        elif kind == "multiply_transposed":
            loops.multiply_transposed(
                A, n_rows, B, width, C, width, n_rows, depth, n_vectors, False, n
            )
        else:
            accumulate = kind == "accumulate"
            loops.multiply(A, depth, B, width, C, width, n_rows, depth, n_vectors, accumulate, n)

    n_bytes = A.nbytes + B.nbytes + C.nbytes * (2 if kind == "accumulate" else 1)
    return Call(repeat, 2 * n_rows * width * depth, n_bytes, n_rows * width, (C,))


# Packing -------------------------------------------------------------------------------------

# By name: whether transposed, and how many columns a panel lacks of whole vectors.
PACKS = {
    "as it is": (False, 0),
    "as it is, column tail": (False, 1),
    "transposed": (True, 0),
    "transposed, tails": (True, 1),
}


def pack_call(name: str, dtype: str = "float32", depth: int = 256) -> Call:
    """Return the packing of a panel of `depth` rows, of weights of 1024 columns.

    With tails, the panel ends with the weights, and neither side is whole vectors.
    """
    from bench import kernel_loops as loops
    from fastmlp.kernels.tile import VECTOR_BYTES, VECTORS
    from fastmlp.workspace import allocate

    transposed, missing = PACKS[name]
    lanes = VECTOR_BYTES // np.dtype(dtype).itemsize
    width, n = VECTORS * lanes - missing, depth - (missing if transposed else 0)
    w = np.random.default_rng(0).standard_normal((1024, 1024)).astype(dtype).ravel()
    stride = 1024
    P = allocate((depth + 2 * lanes) * VECTORS * lanes, dtype)
    if transposed:
        offset = w.size - (width - 1) * stride - n if missing else 0
        loop = loops.pack_transposed_panel
    else:
        offset = w.size - (n - 1) * stride - width if missing else 0
        loop = loops.pack_panel

    def repeat(n_times: int) -> None:
        loop(w, offset, stride, n, width, P, n_times)

    return Call(repeat, 0, 2 * n * width * w.itemsize, n * width)


# Elementary functions ------------------------------------------------------------------------

# By name: flops in float32 and float64, as the formulas are written.
ELEMENTARY = {
    "exp": (23, 33),
    "exp_and_expm1": (25, 35),
    "log": (26, 36),
    "sigmoid": (25, 35),
    "tanh": (26, 36),
    "softplus": (46, 66),
    "log_cosh": (102, 142),
}


def elementary_call(name: str, dtype: str = "float32", n: int = 2048) -> Call:
    """Return a function of n numbers, in the first-level cache."""
    from bench import kernel_loops as loops
    from fastmlp.workspace import allocate

    code = loops.ELEMENTARY.index(name)
    x, y = allocate(n, dtype), allocate(n, dtype)
    x[:] = np.random.default_rng(0).uniform(-5, 5, n)
    if name == "log":
        np.abs(x, out=x)

    def repeat(n_times: int) -> None:
        loops.apply(code, x, y, n_times)

    flops = ELEMENTARY[name][np.dtype(dtype) == np.float64]
    return Call(repeat, n * flops, x.nbytes + y.nbytes, n)


# Passes over vectors -------------------------------------------------------------------------

VECTOR_PASSES = ("dot", "descend")


def vector_call(name: str, n: int, dtype: str = "float32", threads: int = 1) -> Call:
    """Return x . y, on one thread, or x - step y in place."""
    from fastmlp.kernels import updates
    from fastmlp.threads import limited, workers
    from fastmlp.workspace import allocate

    x, y = allocate(n, dtype), allocate(n, dtype)
    y[:] = np.random.default_rng(0).standard_normal(n)

    x[:] = 1

    def repeat(n_times: int) -> None:
        with limited(threads), workers() as n_workers:
            for _ in range(n_times):
                if name == "dot":
                    updates.dot(x, y)
                else:
                    updates.descend(x, y, 1e-6, n_workers)

    n_arrays, elements = (2, 1) if name == "dot" else (3, n)
    return Call(repeat, 2 * n, n_arrays * x.nbytes, elements, (x,))


# All of them: KERNELS[name](dtype=..., ...) makes the call ---------------------------------------

KERNELS: dict[str, Callable[..., Call]] = {
    **{f"tile: {name}": partial(tile_call, name) for name in TILES},
    **{f"pack: {name}": partial(pack_call, name) for name in PACKS},
    **{f"function: {name}": partial(elementary_call, name) for name in ELEMENTARY},
    **{f"layer: {name}": partial(layer_call, name) for name in LAYER_PHASES},
    **{f"loss: {name}": partial(loss_call, name) for name in LOSSES},
    **{f"network: {name}": partial(network_call, name) for name in NETWORK_PASSES},
    **{f"update: {name}": partial(update_call, name) for name in UPDATES},
    **{f"vector: {name}": partial(vector_call, name) for name in VECTOR_PASSES},
}
