"""What tests of full-batch solvers share."""

from __future__ import annotations

import numpy as np
import pytest

import fastmlp as fm
from cases import DTYPES
from cases_curves import case_of

DIRECTIONS = ("steepest", "conjugate", "nesterov")
METHODS = ("L-BFGS-B", "CG", "BFGS", "Newton-CG", "trust-ncg", "trust-krylov")
ULPS = 4  # of float64: as much may two computations of E differ
every_direction = pytest.mark.parametrize("direction", DIRECTIONS)
every_method = pytest.mark.parametrize("method", METHODS)
every_dtype = pytest.mark.parametrize("dtype", DTYPES)
every_solver = pytest.mark.parametrize("name", [*DIRECTIONS, *METHODS])


def solve(name, objective, w, **options):
    """Run gradient_descent with this direction, or minimize with this method."""
    if name in DIRECTIONS:
        return fm.gradient_descent(objective, w, direction=name, **options)
    return fm.minimize(objective, w, name, **options)


def logistic(dtype="float64", l2=0.1):
    """A case that is strongly convex: its Hessian's least eigenvalue is at least l2."""
    net = fm.Network([4, 3], output="softmax", bias=False, dtype=dtype)
    return case_of(net, 60, np.random.default_rng(5), l2=l2)


def rises(values, n_ulps=0):
    """(k, by how much) for each value k that is more than so many ulps above the one before."""
    return [
        (k, rise)
        for k, rise in enumerate(np.diff(values), start=1)
        if rise > n_ulps * np.spacing(values[k - 1])
    ]
