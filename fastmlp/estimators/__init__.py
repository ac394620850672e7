"""Estimators with scikit-learn's interface: its MLPClassifier and MLPRegressor, and more."""

from fastmlp.estimators.classifier import MLPClassifier
from fastmlp.estimators.regressor import MLPRegressor

__all__ = ["MLPClassifier", "MLPRegressor"]
