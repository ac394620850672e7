"""How the peers train with an update rule: PyTorch and JAX, as their users write it.

Both start from the parameters that fastmlp starts from. A call trains for whole epochs, in a new
order each unless told otherwise, leaving out an epoch's last, smaller batch.
"""

from __future__ import annotations

from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from bench.works import STEP, Ours, Work, n_cores

# PyTorch's optimisers by fastmlp's names, whose default parameters are the same.
OPTIMIZERS: dict[str, tuple[str, dict[str, Any]]] = {
    "sgd": ("SGD", {}),
    "momentum": ("SGD", {"momentum": 0.9}),
    "nesterov": ("SGD", {"momentum": 0.9, "nesterov": True}),
    "adagrad": ("Adagrad", {}),
    "rmsprop": ("RMSprop", {}),
    "adam": ("Adam", {}),
    "amsgrad": ("Adam", {"amsgrad": True}),
    "adamw": ("AdamW", {}),
}


class Torch:
    """A loop over batches in Python; `how` chooses the optimiser's implementation."""

    def __init__(self, work: Work, rule: str = "sgd", compiled: bool = False, **how: bool) -> None:
        import torch
        from torch import nn

        torch.set_num_threads(n_cores())
        self.torch, self.work = torch, work
        self.X, self.y = map(torch.from_numpy, work.data())
        layers = [nn.Linear(n_in, n_out) for n_in, n_out in pairwise(work.widths)]
        hidden = [part for layer in layers[:-1] for part in (layer, nn.ReLU())]
        self.layers, self.model = layers, nn.Sequential(*hidden, layers[-1])
        self.predict = torch.compile(self.model) if compiled else self.model
        self.cross_entropy = nn.CrossEntropyLoss()
        name, options = OPTIMIZERS[rule]
        self.optimizer = getattr(torch.optim, name)(
            self.model.parameters(), lr=STEP, **options, **how
        )
        self.restart()

    def restart(self) -> None:
        """Go back to the start, with the optimiser's state where it was allocated."""
        with self.torch.no_grad():
            for layer, (W, b) in zip(self.layers, Ours(self.work).start(), strict=True):
                layer.weight.copy_(self.torch.from_numpy(W.T))
                layer.bias.copy_(self.torch.from_numpy(b))
            for states in self.optimizer.state.values():
                for state in states.values():
                    state.zero_()

    def __call__(self, epochs: int, order: str = "shuffled") -> int:
        n, size = self.work.n_in_whole_batches, self.work.batch_size
        indices = self.torch.randperm if order == "shuffled" else self.torch.arange
        for _ in range(epochs):
            index = indices(len(self.X))
            for start in range(0, n, size):
                batch = index[start : start + size]
                self.optimizer.zero_grad(set_to_none=True)
                self.cross_entropy(self.predict(self.X[batch]), self.y[batch]).backward()
                self.optimizer.step()
        return epochs * n

    def loss(self) -> float:
        """Return the mean loss over all samples."""
        with self.torch.no_grad():
            return float(self.cross_entropy(self.model(self.X), self.y))


class Jax:
    """An epoch is one compiled call, a scan over its batches, which reuses its arguments' memory.

    The rules are written out, as optax writes them, with PyTorch's definitions.
    """

    def __init__(self, work: Work, rule: str = "sgd") -> None:
        import jax
        import jax.numpy as jnp

        jax.config.update("jax_platforms", "cpu")
        self.jax, self.jnp, self.work = jax, jnp, work
        X, y = work.data()
        self.X, self.y = jnp.asarray(X), jnp.asarray(y.astype(np.int32))
        self.rng = np.random.default_rng(0)
        self.n_states, self.rule = self._rules()[rule]
        self.restart()

    def restart(self) -> None:
        """Go back to the start, with states of zero."""
        jax, jnp = self.jax, self.jnp
        parameters = jax.tree.map(lambda x: jnp.array(x, copy=True), Ours(self.work).start())
        states = [jax.tree.map(jnp.zeros_like, parameters) for _ in range(self.n_states)]
        self.trained = jax.block_until_ready((parameters, states, jnp.zeros(())))

    def __call__(self, epochs: int, order: str = "shuffled") -> int:
        n, size = self.work.n_in_whole_batches, self.work.batch_size
        indices = self.rng.permutation if order == "shuffled" else np.arange
        for _ in range(epochs):
            batches = self.jnp.asarray(indices(len(self.X))[:n].reshape(-1, size).astype(np.int32))
            self.trained = self.jax.block_until_ready(
                self._epoch(self.trained, self.X, self.y, batches)
            )
        return epochs * n

    def loss(self) -> float:
        """Return the mean loss over all samples."""
        return float(self.jax.jit(self._loss)(self.trained[0], self.X, self.y))

    def _loss(self, parameters: Any, X: Any, y: Any) -> Any:
        jax, jnp = self.jax, self.jnp
        *hidden, (W_last, b_last) = parameters
        for W, b in hidden:
            X = jax.nn.relu(X @ W + b)
        log_p = jax.nn.log_softmax(X @ W_last + b_last)
        # Faster, where batches are small, than picking out the label's entry.
        return -jnp.mean(jnp.sum(log_p * jax.nn.one_hot(y, self.work.widths[-1]), axis=1))

    @cached_property
    def _epoch(self) -> Any:
        jax = self.jax

        def epoch(trained: Any, X: Any, y: Any, batches: Any) -> Any:
            def update(trained: Any, batch: Any) -> Any:
                parameters, states, t = trained
                gradient = jax.grad(self._loss)(parameters, X[batch], y[batch])
                leaves, tree = jax.tree.flatten(parameters)
                changed = [
                    self.rule(w, g, s, t + 1)
                    for w, g, *s in zip(
                        leaves, *map(jax.tree.leaves, (gradient, *states)), strict=True
                    )
                ]
                parameters, *states = [
                    jax.tree.unflatten(tree, part) for part in zip(*changed, strict=True)
                ]
                return (parameters, states, t + 1), None

            return jax.lax.scan(update, trained, batches)[0]

        return jax.jit(epoch, donate_argnums=0)

    def _rules(self) -> dict[str, tuple[int, Any]]:
        """Return how many states each rule has, and (w, g, states, t) -> (w, *states)."""
        sqrt, maximum = self.jnp.sqrt, self.jnp.maximum

        def sgd(w, g, s, t):
            return (w - STEP * g,)

        def momentum(w, g, s, t):
            velocity = 0.9 * s[0] + g
            return w - STEP * velocity, velocity

        def nesterov(w, g, s, t):
            velocity = 0.9 * s[0] + g
            return w - STEP * (g + 0.9 * velocity), velocity

        def adagrad(w, g, s, t):
            total = s[0] + g * g
            return w - STEP * g / (sqrt(total) + 1e-10), total

        def rmsprop(w, g, s, t):
            square = 0.99 * s[0] + 0.01 * g * g
            return w - STEP * g / (sqrt(square) + 1e-8), square

        def adam(w, g, s, t):
            mean, square = 0.9 * s[0] + 0.1 * g, 0.999 * s[1] + 0.001 * g * g
            greatest = [maximum(s[2], square)] if len(s) == 3 else []
            root = sqrt([square, *greatest][-1] / (1 - 0.999**t)) + 1e-8
            return w - STEP * (mean / (1 - 0.9**t)) / root, mean, square, *greatest

        def adamw(w, g, s, t):
            return adam(w * (1 - STEP * 0.01), g, s, t)

        return {
            "sgd": (0, sgd), "momentum": (1, momentum), "nesterov": (1, nesterov),
            "adagrad": (1, adagrad), "rmsprop": (1, rmsprop), "adam": (2, adam),
            "amsgrad": (3, adam), "adamw": (2, adamw),
        }  # fmt: skip
