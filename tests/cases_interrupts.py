"""Ctrl-C at a line of Python within the library."""

import os
import sys
import warnings

import numpy as np

import fastmlp as fm

LIBRARY = os.path.dirname(fm.__file__)


class Lines:
    """Counts the lines of the library that run, and raises KeyboardInterrupt before one of them.

    Attributes
    ----------
    seen : list of (file, line)
    """

    def __init__(self, at=None):
        self.at, self.seen = at, []

    def __call__(self, frame, event, argument):
        return self.line if frame.f_code.co_filename.startswith(LIBRARY) else None

    def line(self, frame, event, argument):
        if event == "line":
            self.seen.append((frame.f_code.co_filename, frame.f_lineno))
            if len(self.seen) - 1 == self.at:
                raise KeyboardInterrupt
        return self.line


def traced(lines, call):
    """Return what a call returns, or None after Ctrl-C."""
    before = sys.gettrace()
    sys.settrace(lines)
    try:
        # Where Ctrl-C comes just before a `with` is left, NumPy's settings stay as they are there.
        with warnings.catch_warnings(), np.errstate():
            warnings.simplefilter("ignore", RuntimeWarning)
            return call()
    except KeyboardInterrupt:
        return None
    finally:
        sys.settrace(before)


def one_of_each(seen, rng, most=300):
    """Return a random occurrence of each line, or of so many."""
    order = rng.permutation(len(seen))
    places = [*{seen[i]: int(i) for i in order}.values()]
    return sorted(places[:most])
