"""Solvers: each takes a start w and returns a scipy OptimizeResult; w itself is not changed."""

from fastmlp.solvers.stochastic import minibatch_sgd, sgd

__all__ = ["minibatch_sgd", "sgd"]
