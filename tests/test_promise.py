"""Same seed, same bits: results of all kinds, computed in processes of their own.

A process takes the CPU for another one, has other threads, or finds X and y elsewhere. More
networks and kernels: test_bits.py; more rules and ways to cut the work up: test_rule_bits.py.
"""

from __future__ import annotations

import json
import platform
import sys
import warnings
from functools import cache

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cases_promise
import fastmlp as fm
from cases import AVX2_ONLY, DTYPES, needs_x86_with_fma, run_child, same_bits
from cases_promise import WAYS, machine

BY_SCIPY = "by_scipy"
OTHERS = [name for name in WAYS if name != "plain"]


def report(*names):
    """Print the hashes of all results, computed in the ways of these names."""
    warnings.simplefilter("ignore")  # of fits that have not converged
    hashes, workers = {}, {}
    for name in names:
        kinds = [cases_promise.by_scipy] if name == BY_SCIPY else cases_promise.KINDS
        way = WAYS["plain" if name == BY_SCIPY else name]
        hashes[name], workers[name] = cases_promise.hashes(way, kinds)
    n_threads = numba.get_num_threads()
    found = {"threads": n_threads, "machine": machine(), "hashes": hashes, "workers": workers}
    print(json.dumps(found))


@cache
def report_of(*names, threads=1, **environment):
    """Run `report` in a process of its own; BLAS is the CPU's unless the environment says else."""
    environment = {
        "OPENBLAS_CORETYPE": None,
        "NUMBA_NUM_THREADS": str(threads),
        "OMP_WAIT_POLICY": "passive",  # 7 threads on 2 cores
        **environment,
    }
    return run_child(__file__, *names, **environment)


def alone():
    """The report that others are compared with: one thread, all that the CPU has."""
    return report_of("plain", BY_SCIPY)


def check_same_hashes(found, expected, at_least=400):
    assert found.keys() == expected.keys()
    assert len(expected) > at_least
    assert [name for name in expected if found[name] != expected[name]] == []


# Threads and places ---------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [2, 7])
def test_threads(threads):
    found, expected = report_of("plain", BY_SCIPY, threads=threads), alone()
    for each, n in ((found, threads), (expected, 1)):
        assert each["threads"] == n
        assert set(each["workers"]["plain"].values()) == {n}
    check_same_hashes(found["hashes"]["plain"], expected["hashes"]["plain"])
    check_same_hashes(found["hashes"][BY_SCIPY], expected["hashes"][BY_SCIPY], at_least=50)


@pytest.mark.parametrize("name", OTHERS)
def test_ways(name):
    found = report_of(*OTHERS, threads=2)
    check_same_hashes(found["hashes"][name], alone()["hashes"]["plain"])


# CPUs -----------------------------------------------------------------------------------------


def of_avx512(names):
    return sorted(name for name in names if "avx512" in name.lower() or name == "X86_V4")


def on_avx2():
    """The report of a CPU without AVX-512: for Numba, NumPy, BLAS and the C library."""
    return report_of(
        "plain", BY_SCIPY, threads=2, **AVX2_ONLY, OPENBLAS_CORETYPE="Haswell",
        NPY_DISABLE_CPU_FEATURES=" ".join(of_avx512(machine()["numpy"])) or None,
        GLIBC_TUNABLES="glibc.cpu.hwcaps=-AVX512F,-AVX512VL,-AVX512BW,-AVX512DQ,-AVX512CD",
    )  # fmt: skip


@needs_x86_with_fma
def test_avx2_only():
    found = on_avx2()
    assert of_avx512(found["machine"]["numpy"] + found["machine"]["numba"]) == []
    check_same_hashes(found["hashes"]["plain"], alone()["hashes"]["plain"])


@needs_x86_with_fma
def test_scipy_on_avx2_by_the_same_blas():
    """All that differs by CPU in SciPy's methods is BLAS."""
    found, expected = on_avx2(), report_of(BY_SCIPY, OPENBLAS_CORETYPE="Haswell")
    for each in (found, expected):
        if each["machine"]["blas"] != ["Haswell"]:
            pytest.skip(f"BLAS is not OpenBLAS for Haswell: {each['machine']['blas']}")
    check_same_hashes(found["hashes"][BY_SCIPY], expected["hashes"][BY_SCIPY], at_least=50)


@needs_x86_with_fma
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_another_c_library():
    """glibc's functions for CPUs without FMA stand for those of another C library."""
    variant = "glibc.cpu.hwcaps=-FMA,-FMA4,-AVX2"
    found, expected = report_of("plain", GLIBC_TUNABLES=variant), alone()
    if found["machine"]["libm"] == expected["machine"]["libm"]:
        pytest.skip("this C library has one variant only")
    check_same_hashes(found["hashes"]["plain"], expected["hashes"]["plain"])


# A row's place --------------------------------------------------------------------------------


@cache
def fitted(kind, dtype):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((200, 19), np.float32).astype(dtype)
    y = X[:, :2] if kind is fm.MLPRegressor else (X[:, 0] > 0) + (X[:, 1] > 0.5)
    model = kind(hidden_layer_sizes=(50, 33), max_iter=2, tol=1e9, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(X, y), X


@settings(max_examples=60)
@given(
    st.sampled_from([fm.MLPClassifier, fm.MLPRegressor]),
    st.sampled_from(DTYPES),
    st.lists(st.integers(0, 199), min_size=1, max_size=70),
    st.sampled_from([np.ascontiguousarray, np.asfortranarray, np.float64]),
)
def test_estimators_predict_a_row_alike_wherever_it_is(kind, dtype, rows, given_as):
    model, X = fitted(kind, dtype)
    if kind is fm.MLPRegressor:
        methods = ["predict", "transform"]
    else:
        methods = ["predict", "predict_proba", "predict_log_proba", "transform"]
    for method in methods:
        predict = getattr(model, method)
        found = predict(given_as(X[rows]))
        assert same_bits(found, predict(X)[rows])
        assert same_bits(found[-1:], predict(X[rows[-1:]]))


if __name__ == "__main__":
    report(*sys.argv[1:])
