"""Workspace: every buffer a computation needs, allocated once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numba
import numpy as np
from numba.core import types

from fastmlp import loss_kernels
from fastmlp.kernels import activations, batch, dropout, rules, stored, tangent, updates
from fastmlp.kernels.jit import address_of
from fastmlp.kernels.losses import is_elementwise, takes_z
from fastmlp.kernels.tile import ROWS, VECTOR_BYTES, VECTORS
from fastmlp.layout import layout

if TYPE_CHECKING:
    from fastmlp.network import Network

LINE_BYTES = 64
# Memory for activations and deltas of a batch, beyond which it is done in blocks of rows, and the
# limits of such a block.
BLOCK_BYTES = 64 * 2**20
FEWEST_ROWS, MOST_ROWS = 256, 4096
# Where every block is one of many anyway: these stay in the last-level cache.
PASS_BYTES = 16 * 2**20
# No block takes more flops, so that Ctrl-C is heard soon.
BLOCK_FLOPS = 50 * 10**9
# Below this much work a phase ends sooner than a second thread would begin.
PARALLEL_FLOPS = 1_000_000
PARALLEL_BYTES = 100_000
# What a phase without matrix products costs for each number, in flops, roughly.
FLOPS_PER_OUTPUT = 32
# Of a workspace that serves batches of many sizes.
MOST_SCHEDULES = 64
OVER_PARAMETERS = {batch.APPLY, batch.MAX_NORM}
# Purposes of a workspace whose output layer computes what the loss takes.
WITH_LOSS = ("loss", "gradient")
WITHOUT_PRODUCTS = {batch.SOFTMAX, batch.LOSS, batch.LINE, batch.SLOPE, batch.LOSS_TANGENT}


def allocate(size: int, dtype: Any) -> np.ndarray:
    """Return an uninitialised flat array that begins at a cache line."""
    n_bytes = size * np.dtype(dtype).itemsize
    raw = np.empty(n_bytes + LINE_BYTES, np.uint8)
    start = -raw.ctypes.data % LINE_BYTES
    return raw[start : start + n_bytes].view(dtype)


def parameter_buffer(w: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    """Return a copy of w with room behind its end for a vector read past the last row."""
    buffer = allocate(w.size + LINE_BYTES, dtype)
    buffer[: w.size] = w
    buffer[w.size :] = 0
    return buffer


def block_rows(net: Network, n_bytes: int | None = None) -> int:
    """Return how many rows may be in the workspace at once: as many as BLOCK_BYTES hold."""
    row_bytes = 2 * sum(net.widths) * net.dtype.itemsize
    rows = (n_bytes or BLOCK_BYTES) // row_bytes // ROWS * ROWS
    return int(min(max(rows, FEWEST_ROWS), MOST_ROWS))


def pass_rows(net: Network) -> int:
    """Return how many rows a pass over many takes at once."""
    rows = min(block_rows(net, PASS_BYTES), BLOCK_FLOPS // flops(net) // ROWS * ROWS)
    return max(rows, FEWEST_ROWS)


def flops(net: Network) -> int:
    """Return the flops that one sample's gradient takes, in matrix products."""
    products = [n_in * n_out for n_in, n_out in zip(net.widths, net.widths[1:], strict=False)]
    return 6 * sum(products) - 2 * products[0]


def row_stride(n: int, dtype: np.dtype[Any]) -> int:
    """Return n rounded up to an odd number of lines, so that rows spread over the cache's sets."""
    line = LINE_BYTES // dtype.itemsize
    n_lines = -(-n // line)
    return (n_lines | 1) * line if n_lines > 1 else line


def _layer_table(net: Network, n_rows: int) -> tuple[np.ndarray, int]:
    """Return the kernels' description of the layers and the size of all their outputs."""
    table = np.empty((net.n_layers, batch.N_LAYER_COLUMNS), np.int64)
    output = 0
    a_offset, a_stride = 0, row_stride(net.widths[0], net.dtype)
    layers = layout(net.widths, net.bias)
    for row, layer, activation in zip(table, layers, net.activations, strict=True):
        bias = layer.biases.start if net.bias else -1
        z_stride = row_stride(layer.shape[1], net.dtype)
        row[:] = (
            *layer.shape, layer.weights.start, bias, activations.CODES[activation], 0,
            a_offset, a_stride, output, z_stride,
        )  # fmt: skip
        a_offset, a_stride = output, z_stride
        output += n_rows * z_stride
    return table, output


PHASES = batch.PHASES | tangent.PHASES | updates.PHASES
# What the phases of `steps.run` are, one after the other: (phase, layer).
Program = tuple[tuple[int, int], ...]


# Where the phases compiled so far are, by phase and dtype: Numba's types are slow to find and hash.
_addresses: dict[tuple[int, np.dtype[Any]], int] = {}


def _phase_address(phase: int, model: batch.Model) -> int:
    dtype = model.w.dtype
    if (phase, dtype) not in _addresses:
        i, f, number = types.int64, types.float64, numba.from_dtype(dtype)
        known = i, i, i, numba.typeof(model), _data_type(dtype), i, i, i, number, f
        _addresses[phase, dtype] = address_of(PHASES[phase], known)
    return _addresses[phase, dtype]


@cache
def _update_address(vector_type: Any) -> int:
    i, v = types.int64, vector_type
    coefficients = numba.typeof(np.empty(0))
    return address_of(rules.update, (i, v, i, i, v, i, v, i, i, i, i, coefficients, types.boolean))


@cache
def _dropout_address(vector_type: Any) -> int:
    i, v = types.int64, vector_type
    counters = numba.typeof(np.empty(0, np.int64))
    return address_of(dropout.drop, (i, v, v, i, i, i, i, i, i, i, counters))


@cache
def _stored_address(array_type: Any) -> int:
    i = types.int64
    return address_of(stored.activate, (i, i, array_type, i, array_type, i, i, i))


def program(net: Network, purpose: str) -> Program:
    """Return the phases that predict ("predict"), "loss", or loss and "gradient" take.

    "jacobian" is as "predict".
    """
    last = net.n_layers - 1
    phases = [(batch.GATHER, 0), *((batch.FORWARD, layer) for layer in range(last + 1))]
    if purpose in WITH_LOSS:
        phases.append((batch.LOSS, last))
    elif net.activations[-1] == "softmax":
        phases.append((batch.SOFTMAX, last))
    if purpose == "gradient":
        phases += backward(net)
    return tuple(phases)


def backward(net: Network) -> Program:
    """Return the phases that the gradient takes, once the output layer's deltas are there."""
    phases = []
    for layer in range(net.n_layers - 1, -1, -1):
        if layer > 0:  # first, as an update changes the weights
            phases.append((batch.BACKWARD, layer))
        phases.append((batch.WEIGHTS, layer))
    return tuple(phases)


def scratch_rows() -> int:
    """Return the most workers there can be: each has scratch of its own."""
    return int(numba.config.NUMBA_NUM_THREADS)


class Workspace:
    """The buffers for batches of at most `n_rows` rows of a network.

    Parameters
    ----------
    net : Network
    n_rows : int
        The most rows of a batch.
    w : ndarray of shape (n_params,) or longer
        The parameters, of the network's dtype; not copied.
    phases : {"predict", "jacobian", "loss", "gradient"}
        What it is for.
    gradient : ndarray of shape (n_params,), optional
        Where gradients are written; without one, they can only be used for updates.
    tangent : bool, default=False
        Whether derivatives along a direction are wanted too. w has the direction as second half.
    """

    def __init__(
        self,
        net: Network,
        n_rows: int,
        w: np.ndarray,
        phases: str,
        gradient: np.ndarray | None = None,
        tangent: bool = False,
    ) -> None:
        self.net = net
        self.n_rows = n_rows
        self.program = program(net, phases)
        self._schedules: dict[tuple[int, int, Program], np.ndarray] = {}
        layers, n_outputs = _layer_table(net, n_rows)
        loss = loss_kernels.code(net.loss_function)
        if phases in WITH_LOSS and takes_z.py_func(loss):
            layers[-1, batch.ACTIVATION] = activations.IDENTITY
        dtype, lanes = net.dtype, VECTOR_BYTES // net.dtype.itemsize
        panel = VECTORS * lanes
        n_threads = scratch_rows()
        halves = 2 if tangent else 1
        addresses = np.zeros(batch.N_ADDRESSES, np.int64)
        is_stored = layers[:, batch.ACTIVATION] >= activations.LEAKY_RELU
        if is_stored.any():
            addresses[batch.ACTIVATE] = _stored_address(numba.typeof(w))
        if phases != "predict":
            layers[:, batch.STORES] = halves * is_stored
        n_slopes = halves * n_outputs if layers[:, batch.STORES].any() else 0
        depth = min(halves * max(net.widths), batch.DEPTH) + halves * lanes

        def per_thread(n_rows: int) -> np.ndarray:
            return allocate(n_threads * n_rows * panel, dtype).reshape(n_threads, n_rows * panel)

        self.model = batch.Model(
            layers=layers,
            loss=np.int64(loss),
            loss_parameter=np.float64(net.loss_function.parameter),
            addresses=addresses,
            w=w,
            inputs=allocate(n_rows * layers[0, batch.A_STRIDE], dtype),
            outputs=allocate(halves * n_outputs, dtype),
            slopes=allocate(n_slopes, dtype),
            deltas=allocate(halves * n_outputs, dtype),
            packed=per_thread(depth),
            scratch=per_thread(batch.BLOCK + 1),
            gradient=np.empty(0, dtype) if gradient is None else gradient,
            no_bias=np.zeros(max(net.widths) + lanes, dtype),
            sample_losses=allocate(halves * n_rows, np.float64),
            kept=np.empty(0, dtype),
            rule=np.int64(rules.SGD),
            states=np.empty(0, dtype),
            coefficients=np.empty(0),
            counters=np.empty(0, np.int64),
        )
        if phases in WITH_LOSS:
            self._compile_loss(batch.ELEMENTWISE)

    def _compile_loss(self, purpose: int) -> None:
        """Compile what a loss of its own kernel needs; TypeError where the user's does not."""
        if is_elementwise.py_func(self.model.loss) and not self.model.addresses[purpose]:
            number_type = numba.typeof(self.model.w).dtype
            address = loss_kernels.address(self.net.loss_function, purpose, number_type)
            self.model.addresses[purpose] = address

    def begin_updates(self, rule: int, n_vectors: int) -> None:
        """Let updates follow a rule, with so many vectors of states, all zero; compile it."""
        dtype, n_params = self.net.dtype, self.net.n_params
        states = allocate(n_vectors * n_params, dtype)
        states[:] = 0
        n_sums = -(-n_params // updates.SUMMED)
        self.model = self.model._replace(
            rule=np.int64(rule),
            states=states,
            coefficients=np.zeros(rules.N_COEFFICIENTS + n_sums),
        )
        self.model.addresses[batch.RULE] = _update_address(numba.typeof(states))

    def begin_dropout(self, probabilities: Sequence[float], seed: int) -> None:
        """Let passes drop inputs of each layer with these probabilities; compile what does."""
        most = dropout.ONE - 1
        thresholds = [min(round(p * dropout.ONE), most) for p in probabilities]
        counters = np.array([seed, 0, 0, *thresholds], np.int64)
        self.model.layers[:-1, batch.STORES] |= counters[dropout.THRESHOLDS + 1 :] > 0
        slopes = self.model.slopes
        if slopes.size == 0 and any(thresholds[1:]):
            slopes = allocate(self.model.outputs.size, self.net.dtype)
        self.model = self.model._replace(slopes=slopes, counters=counters)
        self.model.addresses[batch.DROPOUT] = _dropout_address(numba.typeof(slopes))

    def schedule(self, n_rows: int, n_workers: int, phases: Program | None = None) -> np.ndarray:
        """Return the rows (phase, layer, n_workers) that `steps.run` does for each batch.

        Compiles the phases that are not compiled yet.

        Parameters
        ----------
        n_rows : int
            Rows of a batch, to tell which phases are worth several threads.
        n_workers : int
            The most workers of a phase.
        phases : tuple of (phase, layer), optional
            By default the program of the workspace's purpose.
        """
        phases = self.program if phases is None else phases
        n_workers = min(n_workers, len(self.model.packed))
        key = (n_rows, n_workers, phases)
        if key not in self._schedules:
            if len(self._schedules) == MOST_SCHEDULES:
                self._schedules.clear()
            self._schedules[key] = self._new_schedule(*key)
        return self._schedules[key]

    def _new_schedule(self, n_rows: int, n_workers: int, phases: Program) -> np.ndarray:
        rows = []
        for phase, layer in phases:
            if phase == batch.LOSS_TANGENT:
                self._compile_loss(batch.ELEMENTWISE_CURVATURE)
            if not self.model.addresses[phase]:
                self.model.addresses[phase] = _phase_address(phase, self.model)
            shared = self._is_worth_sharing(phase, layer, n_rows)
            rows.append((phase, layer, n_workers if shared else 1))
        return np.array(rows, np.int64).reshape(-1, 3)

    def _is_worth_sharing(self, phase: int, layer: int, n_rows: int) -> bool:
        n_in, n_out = self.net.widths[layer : layer + 2]
        if phase in OVER_PARAMETERS:
            return n_in * n_out * FLOPS_PER_OUTPUT >= PARALLEL_FLOPS
        if phase in (batch.SQUARES, batch.AVERAGE):
            return self.net.n_params * FLOPS_PER_OUTPUT >= PARALLEL_FLOPS
        if phase == batch.GATHER:
            return n_rows * n_in * self.net.dtype.itemsize >= PARALLEL_BYTES
        if phase in WITHOUT_PRODUCTS or (phase, layer) == (batch.TANGENT, 0):
            return n_rows * n_out * FLOPS_PER_OUTPUT >= PARALLEL_FLOPS
        return 2 * n_rows * n_in * n_out >= PARALLEL_FLOPS

    def inputs(self, n_rows: int) -> np.ndarray:
        """Return the view (n_rows, n_0) of the rows that the first layer reads."""
        stride = self.model.layers[0, batch.A_STRIDE]
        rows = self.model.inputs[: n_rows * stride].reshape(n_rows, stride)
        return rows[:, : self.net.widths[0]]

    def predictions(self, n_rows: int) -> np.ndarray:
        """Return the view (n_rows, n_L) of the output layer's A."""
        z, stride = self.model.layers[-1, batch.Z_OFFSET :]
        rows = self.model.outputs[z : z + n_rows * stride].reshape(n_rows, stride)
        return rows[:, : self.net.widths[-1]]


def samples(
    net: Network,
    X: np.ndarray,
    y: np.ndarray | None,
    x_index: Any,
    y_index: Any = None,
    weights: np.ndarray | None = None,
) -> batch.Data:
    """Bundle rows for the kernels: X and y of their dtypes and C order, and the order of each.

    y is (n,) int64 labels, (n, n_L) targets or None; weights (n,), in the order of y, or None.
    """
    no_labels, no_targets = np.empty(0, np.int64), np.empty((0, net.widths[-1]), net.dtype)
    labels = no_labels if y is None or y.ndim == 2 else writeable(y)
    targets = writeable(y) if y is not None and y.ndim == 2 else no_targets
    no_weights = np.empty(0, net.dtype)
    return batch.Data(
        writeable(X),
        labels,
        targets,
        no_weights if weights is None else writeable(weights),
        x_index,
        x_index if y_index is None else y_index,
    )


class _Interface:
    def __init__(self, interface: dict[str, Any], owner: Any) -> None:
        self.__array_interface__ = interface
        self.owner = owner


def writeable(array: np.ndarray) -> np.ndarray:
    """Return a view that is not marked read-only: to Numba that would be another type.

    The kernels write neither X nor y, and are compiled once for both kinds.
    """
    array = np.asarray(array)
    if array.flags.writeable:
        return array
    interface = dict(array.__array_interface__)
    interface["data"] = (interface["data"][0], False)
    return np.asarray(_Interface(interface, array))


def _data_type(dtype: np.dtype[Any]) -> Any:
    index, table = np.empty(0, np.int64), np.empty((0, 0), dtype)
    return numba.typeof(batch.Data(table, index, table, np.empty(0, dtype), index, index))


def blocks(n: int, size: int) -> Iterable[tuple[int, int]]:
    """Yield (start, stop) of consecutive runs of at most `size` of n things."""
    for start in range(0, n, size):
        yield start, min(start + size, n)
