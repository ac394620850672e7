"""Noise keeps stochastic gradients where theory says: the claims of examples/noise.py."""

from __future__ import annotations

import numpy as np
import pytest

import fastmlp as fm
from examples_loader import load_example

example = load_example("noise")


@pytest.fixture(scope="module")
def problem():
    return example.least_squares(n_features=10, kappa=2)


@pytest.fixture(scope="module")
def runs(problem):
    return example.run(problem, 40_000, n_seeds=16, every=100)


def changed(runs, method, excess):
    return example.Runs(runs.k, {**runs.excesses, method: excess})


def refuted(problem, runs):
    """The methods of which a claim does not hold."""
    return {claim.method for claim in example.claims(problem, runs) if not claim.ok}


# The problem ---------------------------------------------------------------------------------


def test_the_minimiser_is_known(problem):
    """So the library's own loss, gradient and products with the Hessian say."""
    objective = fm.Objective(problem.net, problem.X, problem.y)
    w = problem.minimiser
    assert objective(w) == pytest.approx(problem.minimum, rel=1e-12)
    np.testing.assert_allclose(objective.gradient(w), 0, atol=1e-15)
    np.testing.assert_allclose(objective.hessian_vector(w, w), problem.hessian @ w, rtol=1e-12)
    gradients = problem.net.sample_gradients(w, problem.X, problem.y)
    covariance = gradients.T @ gradients / len(problem.X)
    np.testing.assert_allclose(covariance, problem.covariance, rtol=1e-12, atol=1e-16)


def test_the_floor_is_where_a_step_leaves_the_covariance_as_it_is(problem):
    """The iterates' covariance S is the solution of H S + S H = a (C + E[(x.S x) x x']).

    It is found here without approximation, up to the errors' correlation with the residuals, and
    its excess is the floor.
    """
    X, H, a = problem.X, problem.hessian, 0.5
    n = len(H)
    fourth = np.einsum("ij,ik,il,im->jklm", X, X, X, X, optimize=True).reshape(n * n, n * n)
    kept = np.kron(H, np.eye(n)) + np.kron(np.eye(n), H) - a * fourth / len(X)
    S = np.linalg.solve(kept, a * problem.covariance.ravel()).reshape(n, n)
    excess = np.trace(H @ S) / 2 / problem.minimum
    assert excess == pytest.approx(example.floor(a), rel=1e-10)


def test_excesses_are_those_of_the_objective(problem):
    objective, points = fm.Objective(problem.net, problem.X, problem.y), []
    record = example.Excess(problem, 100)
    callback = [record, lambda intermediate_result: points.append(intermediate_result.x.copy())]
    start = np.zeros(problem.net.n_params)
    fm.sgd(problem.net, problem.X, problem.y, start, step=0.1, epochs=2, rng=0, callback=callback)
    excess = [objective(w) / problem.minimum - 1 for w in points]
    assert len(record.values) == 20
    np.testing.assert_allclose(record.values[9::10], excess, rtol=1e-9)


# The claims ----------------------------------------------------------------------------------


def test_claims_hold(problem, runs):
    assert not refuted(problem, runs)
    assert {claim.method for claim in example.claims(problem, runs)} == set(runs.excesses)


@pytest.mark.parametrize(
    ("method", "like"),
    [
        ("constant, 0.05", "constant, 0.5"),
        (example.STAIRS, "constant, 0.05"),
        (example.INVERSE, example.SLOW),
        (example.TIMID, example.INVERSE),
        (example.SLOW, "constant, 0.05"),
        (example.AVERAGED, example.SLOW),
        (example.COSINE, "constant, 0.05"),
    ],
)
def test_claims_are_refuted_by_another_methods_excesses(problem, runs, method, like):
    assert refuted(problem, changed(runs, method, runs.excesses[like])) == {method}


def test_the_same_seeds_give_averages_and_iterates_of_one_run(problem, runs):
    """They are equal until averaging begins, one update late: a mean of one is the iterate."""
    begins = np.flatnonzero(runs.k > 40_000 // 100 + 1)[0]
    slow, averaged = runs.excesses[example.SLOW], runs.excesses[example.AVERAGED]
    np.testing.assert_allclose(averaged[:, :begins], slow[:, :begins], rtol=1e-9)
    assert np.all(averaged[:, begins:] != slow[:, begins:])


# The program ---------------------------------------------------------------------------------


def test_means_over_parts_of_a_decade_are_of_the_values_there():
    runs = example.Runs(np.arange(10, 1010, 10), {"method": np.arange(200.0).reshape(2, 100)})
    k, excess = example.smoothed(runs, "method", per_decade=1)  # 10 to 90, 100 to 990, 1000
    np.testing.assert_allclose(excess, [[4, 53.5, 99], [104, 153.5, 199]], rtol=1e-12)
    assert k[-1] == pytest.approx(1000)
    assert k[0] == pytest.approx(np.prod(np.arange(10.0, 100, 10)) ** (1 / 9))


@pytest.mark.parametrize("holds", [True, False])
def test_the_program_fails_where_a_claim_does(problem, runs, holds, monkeypatch, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    shown = runs if holds else changed(runs, example.AVERAGED, runs.excesses[example.SLOW])
    monkeypatch.setenv("MPLBACKEND", "Agg")
    monkeypatch.setattr(example, "run", lambda *args, **kwargs: shown)
    folder = tmp_path / "new"
    assert example.main(["--quick", "--out", str(folder)]) == (0 if holds else 1)
    assert (folder / "noise.png").stat().st_size > 10_000
    assert (" NO" in capsys.readouterr().out) == (not holds)
