"""Ctrl-C at a line of Python within the library."""

import os
import sys
import warnings

import numpy as np

import fastmlp as fm

LIBRARY = os.path.dirname(fm.__file__)


class Lines:
    """Counts the lines of the library that run, and raises KeyboardInterrupt before one of them.

    Parameters
    ----------
    at : int, optional
        The line to interrupt at; with none, only counts.
    folder : str
        Whose files' lines are meant.
    within : sequence of code objects, optional
        Of which one must be running, directly or further out.

    Attributes
    ----------
    seen : list of (file, line)
    """

    def __init__(self, at=None, folder=LIBRARY, within=()):
        self.at, self.folder, self.within, self.seen = at, folder, within, []

    def __call__(self, frame, event, argument):
        if not frame.f_code.co_filename.startswith(self.folder):
            return None
        outer = frame
        while self.within and outer and outer.f_code not in self.within:
            outer = outer.f_back
        return self.line if outer else None

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
