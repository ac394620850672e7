"""What an objective has answered, so that a run that is done again need not compute it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np

from fastmlp.files import FormatError

Answer = tuple[float, np.ndarray]  # a value and a vector


class Journal:
    """The questions and answers of a run, in order.

    SciPy's optimisers keep their state to themselves, but are functions of the answers they get:
    one that gets the same answers again comes to the same state.
    """

    def __init__(self) -> None:
        self.questions: list[str] = []
        self.values: list[float] = []
        self.vectors: list[np.ndarray] = []
        self.n_asked = 0

    @property
    def is_at_end(self) -> bool:
        """Whether all answers that are known have been asked for."""
        return self.n_asked == len(self.values)

    def ask(self, compute: Callable[[], Answer], *question: np.ndarray) -> tuple[Answer, bool]:
        """Return the answer to the next question, and whether it had to be computed.

        Raises
        ------
        ValueError
            Where an answer is known, but to another question.
        """
        k, asked = self.n_asked, _digest(*question)
        is_new = self.is_at_end
        if is_new:
            value, vector = compute()
            self.questions.append(asked)
            self.values.append(value)
            self.vectors.append(vector)
        elif self.questions[k] != asked:
            raise ValueError(
                "SciPy has taken another course than before the checkpoint: it or the BLAS it uses "
                "is of another version, or chosen for another CPU"
            )
        self.n_asked = k + 1
        return (self.values[k], self.vectors[k]), is_new

    def tree(self) -> dict[str, Any]:
        """Return all of it, as files hold it."""
        return {
            "questions": list(self.questions),
            "values": np.array(self.values),
            "vectors": list(self.vectors),
        }

    def load(self, tree: dict[str, Any], n: int, dtype: np.dtype[Any]) -> None:
        """Have what `tree` returned, of vectors (n,) of a dtype."""
        questions, values, vectors = tree["questions"], tree["values"], tree["vectors"]
        if not len(questions) == len(values) == len(vectors):
            raise FormatError("it has questions without answers")
        for vector in vectors:
            if vector.shape != (n,) or vector.dtype != dtype:
                raise FormatError(f"it has an answer of {vector.shape} {vector.dtype}")
        self.questions, self.vectors = list(map(str, questions)), list(vectors)
        self.values = np.asarray(values, np.float64).tolist()


def _digest(*arrays: np.ndarray) -> str:
    hashed = hashlib.sha256()
    for array in arrays:
        hashed.update(np.ascontiguousarray(array).view(np.uint8).data)
    return hashed.hexdigest()[:16]
