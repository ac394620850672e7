"""Solvers: each takes a start w and returns a scipy OptimizeResult; w itself is not changed."""

from fastmlp.solvers.gradient_descent import gradient_descent
from fastmlp.solvers.minimize import minimize
from fastmlp.solvers.stochastic import minibatch_sgd, sgd

__all__ = ["gradient_descent", "minibatch_sgd", "minimize", "sgd"]
