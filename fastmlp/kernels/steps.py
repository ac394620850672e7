"""Batches one after the other: each phase of each, shared out among workers."""

from __future__ import annotations

import numpy as np
from numba import prange

from fastmlp.kernels import dropout, rules
from fastmlp.kernels.batch import (
    AVERAGE,
    LOSS,
    LOSSES,
    SAMPLE_WEIGHTS,
    SLOPE,
    SLOPES,
    SQUARES,
    UPDATE,
    WRITE_AND_APPLY,
)
from fastmlp.kernels.jit import call_at, entry_kernel, inlined, like, parallel_kernel


@parallel_kernel
def _share_out(phase, layer, n_workers, model, data, start, n_rows, mode, step, scale):
    for worker in prange(n_workers):
        call_at(
            model.addresses[phase],
            (layer, np.int64(worker), n_workers, model, data, start, n_rows, mode, step, scale),
        )


@inlined
def _batch_weight(data, first, n_rows, total):
    """Return the sum of the weights of a batch's samples, in float64; add each to `total` too.

    Both in order, so that neither depends on how batches are cut into blocks.
    """
    if data.weights.size == 0:
        total[SAMPLE_WEIGHTS] += n_rows
        return float(n_rows)
    batch_weight = 0.0
    for r in range(first, first + n_rows):
        weight = np.float64(data.weights[data.y_index[r]])
        batch_weight += weight
        total[SAMPLE_WEIGHTS] += weight
    return batch_weight


@inlined
def _clip_norm(coefficients):
    """Set the factor that brings the gradient to its largest norm, from its squares' sums."""
    total = 0.0
    for k in range(rules.N_COEFFICIENTS, len(coefficients)):
        total += coefficients[k]
    norm, most = np.sqrt(total), coefficients[rules.CLIP_NORM]
    coefficients[rules.FACTOR] = most / norm if norm > most else 1.0


@entry_kernel
def run(model, data, schedule, start, stop, batch_size, mode, scale, table, total, done):
    """Do the phases of `schedule` for a batch, once for each row of `table`; count them in done[0].

    schedule has a row (phase, layer, n_workers) for each phase; a row of `table` the coefficients
    of an update, the step size first, or nothing else. The samples are the order's entries from
    `start` on, none beyond `stop`. Deltas are multiplied by `scale`, where 0 stands for one over
    the sum of the batch's weights. Each sample's loss is added to total[LOSSES], and so on; in a
    mode of updates, a total that is not finite ends the run, that step not done.
    """
    updates = mode == UPDATE or mode == WRITE_AND_APPLY
    for k in range(len(table)):
        first = start + k * batch_size
        n_rows = min(batch_size, stop - first)
        weight = _batch_weight(data, first, n_rows, total)
        is_empty = weight == 0 and n_rows > 0 and updates  # as if there were no samples
        factor = 1 / weight if scale == 0 else scale
        step = like(table[k, 0], model.w[0])
        for i in range(table.shape[1] if model.coefficients.size > 0 else 0):
            model.coefficients[i] = table[k, i]
        if updates and model.counters.size > 0:
            model.counters[dropout.N_UPDATES] = done[0]
        for p in range(len(schedule)):
            phase, layer, n_workers = schedule[p]
            if is_empty and phase != AVERAGE:
                continue
            if n_workers > 1:
                _share_out(phase, layer, n_workers, model, data, first, n_rows, mode, step, factor)
            else:
                call_at(
                    model.addresses[phase],
                    (layer, 0, 1, model, data, first, n_rows, mode, step, factor),
                )
            if phase == LOSS:
                for r in range(n_rows):
                    total[LOSSES] += model.sample_losses[r]
                if updates and not np.isfinite(total[LOSSES]):
                    return
            elif phase == SLOPE:
                half = len(model.sample_losses) // 2
                for r in range(half, half + n_rows):
                    total[SLOPES] += model.sample_losses[r]
            elif phase == SQUARES:
                _clip_norm(model.coefficients)
        done[0] += 1
