"""Products with the Hessian; and the same bits of all that an objective computes, come what may."""

from __future__ import annotations

import hashlib
import json
import sys
from functools import cache

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import minimize

import fastmlp as fm
from cases import (
    AVX2_ONLY,
    COMBINATIONS,
    COMMON_PAIRS,
    DIFFERENTIABLE,
    DTYPES,
    PAIRS,
    STORED_PAIRS,
    check,
    check_same_results,
    needs_x86_with_fma,
    parameters,
    run_child,
    same_bits,
)
from cases_curves import (
    DEEP,
    Case,
    Expected,
    case_of,
    drawn_cases,
    every_result,
    mixed_case,
    random_case,
    random_networks,
    sample_weight,
)
from fastmlp import workspace
from fastmlp.kernels import batch

every_dtype = pytest.mark.parametrize("dtype", DTYPES)
every_pair = pytest.mark.parametrize(("output", "loss"), PAIRS)
every_combination = pytest.mark.parametrize(("hidden", "output", "loss"), COMBINATIONS)
law = settings(deadline=None, max_examples=40)

# Against the twin and differences ------------------------------------------------------------


def check_case(case):
    product = case.objective().hessian_vector(case.w, case.d)
    assert (product.dtype, product.shape) == (case.net.dtype, case.w.shape)
    check("H v", product, Expected(case).hessian_vector(), case.net.dtype)


@pytest.mark.parametrize(("net", "n"), list(random_networks(96, 22)), ids=str)
def test_random_network(net, n, rng):
    check_case(random_case(net, n, rng))


@every_combination
def test_every_activation_and_loss(hidden, output, loss, rng):
    for dtype in DTYPES:
        for bias in (True, False):
            net = fm.Network(
                [17, 9, 48, 5], hidden=hidden, output=output, loss=loss, dtype=dtype, bias=bias
            )
            check_case(random_case(net, 31, rng))


@every_dtype
@pytest.mark.parametrize("n", [1, 65])
@pytest.mark.parametrize("widths", DEEP, ids=str)
def test_deeper_than_a_panel(widths, n, dtype, rng):
    check_case(random_case(fm.Network(widths, hidden="tanh", dtype=dtype), n, rng))


def test_more_rows_than_a_block(rng):
    net = fm.Network([3, 8, 2], hidden="sigmoid", output="softmax")
    check_case(random_case(net, 2 * workspace.block_rows(net) + 13, rng))


@every_combination
def test_differences_of_gradients(hidden, output, loss, rng):
    for reduction, bias in (("mean", True), ("sum", False)):
        net = fm.Network(
            [5, 9, 4, 3], hidden=hidden, output=output, loss=loss, bias=bias, dtype="float64"
        )
        case = case_of(net, 4, rng, sample_weight=sample_weight(4, rng), l2=0.3)
        objective, w = case.objective(reduction=reduction), case.w
        for _ in range(3):
            v = rng.standard_normal(w.size) / 4
            step = 1e-5
            ahead, behind = objective.gradient(w + step * v), objective.gradient(w - step * v)
            differences = (ahead - behind) / (2 * step)
            atol = 1e-8 * max(1, abs(differences).max(), abs(ahead).max())
            assert_allclose(objective.hessian_vector(w, v), differences, rtol=0, atol=atol)


# Laws ----------------------------------------------------------------------------------------


@law
@given(drawn_cases())
def test_symmetry(case):
    objective, u = case.objective(), case.d
    v = parameters(case.net, np.random.default_rng(1))
    H_u, H_v = (objective.hessian_vector(case.w, x).astype(float) for x in (u, v))
    other = Case(case.net, case.X, case.y, case.w, v, case.options)
    E_u, E_v = (Expected(each).hessian_vector()[1] for each in (case, other))
    deviation = np.sqrt(((v * E_u) ** 2).sum()) + np.sqrt(((u * E_v) ** 2).sum())
    check("v . H u", H_u @ v, (H_v @ u, deviation), case.net.dtype)


@law
@given(drawn_cases(), st.integers(-20, 20))
def test_linearity(case, exponent):
    """A power of two changes only exponents."""
    objective, (u, w) = case.objective(), (case.d, case.w)
    v = parameters(case.net, np.random.default_rng(1))
    H_u, H_v, H_sum = (objective.hessian_vector(w, x) for x in (u, v, u + v))
    scale = case.net.dtype.type(2.0**exponent)
    assert_array_equal(objective.hessian_vector(w, scale * u), scale * H_u)
    assert_array_equal(objective.hessian_vector(w, -u), -H_u)
    assert_array_equal(objective.hessian_vector(w, 0 * u), 0)
    cases = [Case(case.net, case.X, case.y, w, x, case.options) for x in (u, v, u + v)]
    E = sum(Expected(each).hessian_vector()[1] for each in cases)
    check("H (u + v)", H_sum, (H_u.astype(float) + H_v, E), case.net.dtype)


@law
@given(drawn_cases(), st.floats(1e-6, 10))
def test_penalty(case, l2):
    """Its Hessian is l2 for weights, and 0 for biases."""
    net = case.net
    plain, penalised = (case.objective(l2=x).hessian_vector(case.w, case.d) for x in (0.0, l2))
    for b, b_penalised in zip(net.biases(plain), net.biases(penalised), strict=True):
        assert same_bits(b, b_penalised)
    eps = np.finfo(net.dtype).eps
    for H_v, more, V in zip(*map(net.weights, (plain, penalised, case.d)), strict=True):
        expected = H_v.astype(float) + l2 * V.astype(float)
        assert_allclose(more, expected, rtol=0, atol=4 * eps * (abs(H_v) + l2 * abs(V)).max())


@law
@given(drawn_cases())
def test_mean_of_samples(case):
    """The weighted sum of the products of each sample alone."""
    plain = {"l2": 0.0, "reduction": "sum", "sample_weight": None}
    total, deviation = 0, 0
    for i, factor in enumerate(case.twin.factors()):
        row = slice(i, i + 1)
        alone = Case(case.net, case.X[row], case.y[row], case.w, case.d, plain)
        total += factor * alone.objective().hessian_vector(case.w, case.d).astype(float)
        deviation += factor * Expected(alone).hessian_vector()[1]
    together = Case(case.net, case.X, case.y, case.w, case.d, {**case.options, "l2": 0.0})
    E = Expected(together).hessian_vector()[1] + deviation
    found = together.objective().hessian_vector(case.w, case.d)
    check("H v", found, (total, E), case.net.dtype)


@every_dtype
@pytest.mark.parametrize(
    ("output", "loss"), [("identity", "squared_error"), *PAIRS[-2:]], ids=lambda name: name
)
def test_one_layer_is_convex(output, loss, dtype, rng):
    net = fm.Network([6, 3], output=output, loss=loss, dtype=dtype)
    case = case_of(net, 40, rng)
    objective = case.objective()
    for _ in range(20):
        v = parameters(net, rng)
        assert objective.hessian_vector(case.w, v).astype(float) @ v > 0
    if loss == "squared_error":  # H = 2 X^T X for each output, wherever w
        inputs = np.column_stack([case.X, np.ones(40)]).astype(float)
        v = case.d.astype(float).reshape(7, 3)
        expected = 2 / 40 * (inputs.T @ inputs @ v)
        for w in (case.w, 100 * case.w):
            found = objective.hessian_vector(w, case.d).reshape(7, 3)
            atol = 1e-5 if dtype == "float32" else 1e-13
            assert_allclose(found, expected, rtol=0, atol=atol)


@pytest.mark.parametrize("method", ["Newton-CG", "trust-ncg"])
def test_scipy_s_newton_methods(method, rng):
    net = fm.Network([5, 7, 2], hidden="tanh", output="softmax", dtype="float64")
    case = case_of(net, 40, rng, sample_weight=sample_weight(40, rng), l2=0.05)
    objective = case.objective()
    result = minimize(
        objective.value_and_gradient, case.w, jac=True, hessp=objective.hessian_vector,
        method=method, options={} if method == "Newton-CG" else {"gtol": 1e-8},
    )  # fmt: skip
    assert result.success
    assert np.linalg.norm(objective.gradient(result.x)) < 1e-6
    assert objective.nhev > 5


# The same bits -------------------------------------------------------------------------------


def all_results(case):
    """Of kept products and of others; phi'(0) as the gradient . d too."""
    results = every_result(case)
    for name, values in every_result(case, case.objective(kept_bytes=0)).items():
        assert same_bits(values, results[name]), name
    objective = case.objective()
    objective.value_and_gradient(case.w)
    results["phi'(0)"] = np.float64(objective.along(case.w, case.d).derivative(0))
    return results


@every_dtype
@every_pair
def test_blocks_of_rows(output, loss, dtype, rng, monkeypatch):
    case = mixed_case(rng, (output, loss), dtype)
    expected = all_results(case)
    for size in (1, 2, 7, 8, 13, 64, 100, 101, 4096):
        monkeypatch.setattr(workspace, "FEWEST_ROWS", size)
        monkeypatch.setattr(workspace, "MOST_ROWS", size)
        assert workspace.block_rows(case.net) == size
        check_same_results(all_results(case), expected)


@every_dtype
def test_blocks_of_few_bytes(dtype, rng, monkeypatch):
    case = mixed_case(rng, dtype=dtype, n=700)
    expected = all_results(case)
    for name in ("BLOCK_BYTES", "PASS_BYTES", "BLOCK_FLOPS"):
        monkeypatch.setattr(workspace, name, 1)
    check_same_results(all_results(case), expected)


# Every phase of the first is worth several threads.
SHAPES = [((200, 49, 300, 130), 263), ((1200, 1), 263), ((3, 300, 7), 700), ((700, 700), 5)]


def big_cases():
    """Cases that run in parallel; every hidden activation and pair among them."""
    rng = np.random.default_rng(0)
    for dtype in DTYPES:
        for number, pair in enumerate([*STORED_PAIRS[::2], *COMMON_PAIRS]):
            widths, n = SHAPES[0 if number < 8 else number % len(SHAPES)]
            hidden = [
                DIFFERENTIABLE[(number + k) % len(DIFFERENTIABLE)] for k in range(len(widths) - 2)
            ]
            net = fm.Network(
                widths, hidden=hidden, output=pair[0], loss=pair[1], dtype=dtype,
                bias=number % 3 > 0,
            )  # fmt: skip
            yield case_of(net, n, rng, sample_weight=sample_weight(n, rng), l2=0.1)


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="needs 2 threads")
def test_threads(monkeypatch):
    shared = {}
    schedule = workspace.Workspace.schedule

    def recorded(self, *arguments):
        rows = schedule(self, *arguments)
        for phase, _, n_workers in rows:
            shared[int(phase)] = max(shared.get(int(phase), 0), int(n_workers))
        return rows

    monkeypatch.setattr(workspace.Workspace, "schedule", recorded)
    before = numba.get_num_threads()
    cases = list(big_cases())
    try:
        numba.set_num_threads(1)
        expected = [all_results(case) for case in cases]
        assert set(shared.values()) == {1}
        numba.set_num_threads(2)
        for case, results in zip(cases, expected, strict=True):
            check_same_results(all_results(case), results)
    finally:
        numba.set_num_threads(before)
    assert set(shared.values()) == {2}
    assert {batch.FORWARD, batch.LOSS, batch.BACKWARD, batch.WEIGHTS} < {*shared}


def report():
    """Print hashes of all results' bits."""
    hashes = []
    for case in big_cases():
        for name, values in all_results(case).items():
            assert np.isfinite(values).all(), (case, name)
            digest = hashlib.sha256(np.asarray(values).tobytes()).hexdigest()
            hashes.append([f"{case!r}: {name}", digest])
    print(json.dumps(hashes))


@cache
def report_with(n_threads, avx2_only=False):
    environment = AVX2_ONLY if avx2_only else {}
    return run_child(__file__, "report", NUMBA_NUM_THREADS=str(n_threads), **environment)


@needs_x86_with_fma
def test_avx2_only():
    found, expected = report_with(2, avx2_only=True), report_with(1)
    assert len(expected) > 200
    assert [a for a, b in zip(found, expected, strict=True) if a != b] == []


@pytest.mark.parametrize("n", [1, 40])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("pair", PAIRS, ids=str)
def test_poisoned_workspace(pair, dtype, n, rng, monkeypatch):
    """Fresh memory is all ones, bit for bit: NaN, and -1 as an integer."""
    case = mixed_case(rng, pair, dtype, n)
    expected = all_results(case)
    assert all(np.isfinite(values).all() for values in expected.values())
    empty, sizes = np.empty, []

    def filled(*args, **kws):
        array = empty(*args, **kws)
        array.view(np.uint8)[...] = 255
        sizes.append(array.size)
        return array

    monkeypatch.setattr(np, "empty", filled)
    assert np.isnan(workspace.allocate(3, np.float32)).all()
    found = all_results(case)
    assert len(sizes) > 10
    check_same_results(found, expected)


if __name__ == "__main__":
    globals()[sys.argv[1]]()
