"""Solvers: each takes a start w and returns a scipy OptimizeResult; w itself is not changed."""
