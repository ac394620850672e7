"""How the peers train: scikit-learn, PyTorch and JAX, as their users write it when speed counts.

All start from the parameters that fastmlp starts from. A call trains for whole epochs, in a new
order each unless told otherwise; PyTorch and JAX leave out an epoch's last, smaller batch, which
would cost them a second compilation.
"""

from __future__ import annotations

import sys
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from bench.works import STEP, Work, n_cores, timed

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
# Of PyTorch's optimisers, besides loops over parameters (on CPUs the default).
IMPLEMENTATIONS = ("foreach", "fused")

Layers = list[tuple[np.ndarray, np.ndarray]]  # weights (n_in, n_out) and biases of each layer


class ScikitLearn:
    """MLPClassifier: `fit` for so many epochs, which goes on from given parameters.

    For two classes it has one logistic output, which is the difference of the softmax's two.
    """

    def __init__(self, work: Work) -> None:
        from sklearn.neural_network import MLPClassifier

        self.work = work
        self.X, self.y = work.data()
        solvers: dict[str, dict[str, Any]] = {
            "sgd": {"solver": "sgd", "momentum": 0.0, "nesterovs_momentum": False},
            "adam": {"solver": "adam"},
        }
        self.model = MLPClassifier(
            work.widths[1:-1], activation=work.hidden, alpha=0.0, batch_size=work.batch_size,
            learning_rate_init=STEP, n_iter_no_change=sys.maxsize, random_state=0,
            **solvers[work.rule],
        )  # fmt: skip
        n_few = min(len(self.X), work.batch_size)
        self.classes = np.arange(work.widths[-1])
        self.model.partial_fit(self.X[:n_few], self.y[:n_few], classes=self.classes)
        self.model.set_params(warm_start=True)  # not before: it wants all classes
        self.restart()

    def restart(self) -> None:
        """Go back to the start; `fit` makes its optimiser anew."""
        layers = self.work.start()
        if self.work.widths[-1] == 2:
            W, b = layers[-1]
            layers[-1] = W[:, 1:] - W[:, :1], b[1:] - b[:1]
        self.model.coefs_ = [np.array(W, order="C") for W, _ in layers]
        self.model.intercepts_ = [np.array(b) for _, b in layers]
        if hasattr(self.model, "_optimizer"):
            del self.model._optimizer  # `partial_fit` makes it anew, too

    def __call__(self, epochs: int) -> int:
        self.model.set_params(max_iter=epochs)
        self.model.fit(self.X, self.y)
        assert self.model.n_iter_ == epochs
        return epochs * len(self.X)

    def next_epoch(self, step: float) -> None:
        """Train for an epoch more with this step; what the optimiser knows is kept."""
        self.model.learning_rate_init = step
        if hasattr(self.model, "_optimizer"):
            self.model._optimizer.learning_rate_init = step  # there is no public way
        self.model.partial_fit(self.X, self.y)

    def layers(self) -> Layers:
        layers = list(zip(self.model.coefs_, self.model.intercepts_, strict=True))
        if self.work.widths[-1] == 2:
            W, b = layers[-1]
            layers[-1] = np.hstack([0 * W, W]), np.hstack([0 * b, b])
        return layers

    def classify(self, X: np.ndarray) -> np.ndarray:
        """Return the classes of samples."""
        return self.model.predict(X)


class TorchSettings(NamedTuple):
    """How the loss is computed, whether rows are put in order for a whole epoch, the optimiser."""

    form: str
    gather_once: bool = False
    implementation: str = ""


class Torch:
    """A loop over batches in Python; `forms` are the ways to compute the loss that may be taken:
    "eager", "compiled", or "model compiled", without the loss itself.

    With `bf16`, matrix products are of bfloat16 (autocast); parameters and updates stay float32.
    """

    def __init__(
        self,
        work: Work,
        implementation: str = "",
        forms: tuple[str, ...] = ("eager",),
        bf16: bool = False,
    ) -> None:
        import torch
        from torch import nn

        torch.manual_seed(0)
        torch.set_num_threads(n_cores())
        self.torch, self.work, self.bf16 = torch, work, bf16
        self.X, self.y = map(torch.from_numpy, work.data())
        activation = {"relu": nn.ReLU, "tanh": nn.Tanh}[work.hidden]
        linear = [nn.Linear(n_in, n_out) for n_in, n_out in pairwise(work.widths)]
        hidden = [part for layer in linear[:-1] for part in (layer, activation())]
        self.linear, self.model = linear, nn.Sequential(*hidden, linear[-1])
        self.cross_entropy = nn.CrossEntropyLoss()
        self.forms = {form: self._form(form) for form in forms}
        self.use(TorchSettings(forms[0], False, implementation))
        self.restart()

    def _objective(self, X: Any, y: Any) -> Any:
        return self.cross_entropy(self.model(X), y)

    def _form(self, name: str) -> Any:
        if name == "eager":
            return self._objective
        if name == "compiled":
            return self.torch.compile(self._objective)
        predict = self.torch.compile(self.model)
        return lambda X, y: self.cross_entropy(predict(X), y)

    def use(self, settings: TorchSettings) -> None:
        """Train so, with a new optimiser."""
        self.settings, self.objective = settings, self.forms[settings.form]
        name, options = OPTIMIZERS[self.work.rule]
        if settings.implementation:
            options = options | {settings.implementation: True}
        self.optimizer = getattr(self.torch.optim, name)(
            self.model.parameters(), lr=STEP, **options
        )

    def use_fastest(self) -> None:
        """Take the fastest settings, one after the other, as measured by epochs."""
        best, times = self.settings, {}
        for changes in (
            [{"form": form} for form in self.forms],
            [{"gather_once": True}],
            [{"implementation": name} for name in IMPLEMENTATIONS],
        ):
            for settings in (best._replace(**change) for change in changes):
                if settings not in times:
                    self.use(settings)
                    self(1)  # allocates; the first one compiles
                    times[settings] = min(timed(self, 1)[0] for _ in range(2))
            best = min(times, key=times.__getitem__)
        self.use(best)
        self(1)
        self.restart()

    def restart(self) -> None:
        """Go back to the start, with the optimiser's state where it was allocated."""
        with self.torch.no_grad():
            for layer, (W, b) in zip(self.linear, self.work.start(), strict=True):
                layer.weight.copy_(self.torch.from_numpy(W.T))
                layer.bias.copy_(self.torch.from_numpy(b))
            for states in self.optimizer.state.values():
                for state in states.values():
                    state.zero_()

    def __call__(self, epochs: int, order: str = "shuffled") -> int:
        n, size = self.work.n_in_whole_batches, self.work.batch_size
        indices = self.torch.randperm if order == "shuffled" else self.torch.arange
        for _ in range(epochs):
            index = indices(len(self.X))[:n]
            if self.settings.gather_once:
                X, y = self.X[index], self.y[index]
                batches = zip(X.split(size), y.split(size), strict=True)
            else:
                batches = ((self.X[some], self.y[some]) for some in index.split(size))
            for X, y in batches:
                self.optimizer.zero_grad(set_to_none=True)
                with self.torch.autocast("cpu", self.torch.bfloat16, enabled=self.bf16):
                    loss = self.objective(X, y)
                loss.backward()
                self.optimizer.step()
        return epochs * n

    def next_epoch(self, step: float) -> None:
        """Train for an epoch more with this step."""
        for group in self.optimizer.param_groups:
            group["lr"] = step
        self(1)

    def loss(self) -> float:
        """Return the mean loss over all samples."""
        with self.torch.no_grad():
            return float(self._objective(self.X, self.y))

    def layers(self) -> Layers:
        return [
            (layer.weight.detach().numpy().T, layer.bias.detach().numpy()) for layer in self.linear
        ]

    def classify(self, X: np.ndarray) -> np.ndarray:
        """Return the classes of samples."""
        torch = self.torch
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            return self.model(torch.from_numpy(X)).argmax(1).numpy()


class Settings(NamedTuple):
    """JAX's: whether rows are put in order for a whole epoch, and how far its scan is unrolled."""

    gather_once: bool
    unroll: int = 1


UNROLLS, LONG_STEP = (4, 16), 5e-4  # seconds: longer steps gain nothing by unrolling


class Jax:
    """An epoch is one compiled call, a scan over its batches, which reuses its arguments' memory.

    The rules are written out, as optax writes them, with PyTorch's definitions.
    """

    def __init__(self, work: Work) -> None:
        import jax
        import jax.numpy as jnp

        jax.config.update("jax_platforms", "cpu")
        self.jax, self.jnp, self.work = jax, jnp, work
        X, y = work.data()
        self.X, self.y = jnp.asarray(X), jnp.asarray(y.astype(np.int32))
        self.rng = np.random.default_rng(0)
        self.step, self.settings = STEP, Settings(False)
        self._epochs: dict[Settings, Any] = {}
        self.restart()

    def restart(self) -> None:
        """Go back to the start, with states of zero."""
        jax, jnp = self.jax, self.jnp
        parameters = jax.tree.map(lambda x: jnp.array(x, copy=True), self.work.start())
        n_states = self._rules(STEP)[self.work.rule][0]
        states = [jax.tree.map(jnp.zeros_like, parameters) for _ in range(n_states)]
        self.trained = jax.block_until_ready((parameters, states, jnp.zeros(())))

    def __call__(self, epochs: int, order: str = "shuffled") -> int:
        n, size = self.work.n_in_whole_batches, self.work.batch_size
        indices = self.rng.permutation if order == "shuffled" else np.arange
        if self.settings not in self._epochs:
            self._epochs[self.settings] = self._compiled()
        for _ in range(epochs):  # the next order is drawn while an epoch runs
            batches = self.jnp.asarray(indices(len(self.X))[:n].reshape(-1, size).astype(np.int32))
            self.trained = self._epochs[self.settings](
                self.trained, self.step, self.X, self.y, batches
            )
        self.jax.block_until_ready(self.trained)
        return epochs * n

    def use_fastest(self) -> None:
        """Take the fastest settings, as measured by epochs."""

        def seconds(settings: Settings) -> float:
            self.settings = settings
            self(1)  # compiles
            return min(timed(self, 1)[0] for _ in range(3))

        times = {settings: seconds(settings) for settings in (Settings(False), Settings(True))}
        best = min(times, key=times.__getitem__)
        if times[best] < LONG_STEP * self.work.n_samples / self.work.batch_size:
            times |= {more: seconds(more) for more in (best._replace(unroll=n) for n in UNROLLS)}
        self.settings = min(times, key=times.__getitem__)
        self.restart()

    def next_epoch(self, step: float) -> None:
        """Train for an epoch more with this step."""
        self.step = step
        self(1)

    def loss(self) -> float:
        """Return the mean loss over all samples."""
        return float(self.jax.jit(self._loss)(self.trained[0], self.X, self.y))

    def layers(self) -> Layers:
        return [(np.asarray(W), np.asarray(b)) for W, b in self.trained[0]]

    def classify(self, X: np.ndarray) -> np.ndarray:
        """Return the classes of samples."""
        return np.asarray(self._classes(self.trained[0], X))

    @cached_property
    def _classes(self) -> Any:
        return self.jax.jit(lambda parameters, X: self.logits(parameters, X).argmax(1))

    def logits(self, parameters: Any, X: Any) -> Any:
        activation = {"relu": self.jax.nn.relu, "tanh": self.jnp.tanh}[self.work.hidden]
        *hidden, (W_last, b_last) = parameters
        for W, b in hidden:
            X = activation(X @ W + b)
        return X @ W_last + b_last

    def _loss(self, parameters: Any, X: Any, y: Any) -> Any:
        jax, jnp = self.jax, self.jnp
        log_p = jax.nn.log_softmax(self.logits(parameters, X))
        # Faster, where batches are small, than picking out the label's entry.
        return -jnp.mean(jnp.sum(log_p * jax.nn.one_hot(y, self.work.widths[-1]), axis=1))

    def _compiled(self) -> Any:
        jax, settings = self.jax, self.settings

        def epoch(trained: Any, step: Any, X: Any, y: Any, batches: Any) -> Any:
            _, rule = self._rules(step)[self.work.rule]

            def update(trained: Any, batch: Any) -> Any:
                parameters, states, t = trained
                rows, labels = batch if settings.gather_once else (X[batch], y[batch])
                gradient = jax.grad(self._loss)(parameters, rows, labels)
                leaves, tree = jax.tree.flatten(parameters)
                changed = [
                    rule(w, g, s, t + 1)
                    for w, g, *s in zip(
                        leaves, *map(jax.tree.leaves, (gradient, *states)), strict=True
                    )
                ]
                parameters, *states = [
                    jax.tree.unflatten(tree, part) for part in zip(*changed, strict=True)
                ]
                return (parameters, states, t + 1), None

            over = (X[batches], y[batches]) if settings.gather_once else batches
            return jax.lax.scan(update, trained, over, unroll=settings.unroll)[0]

        return jax.jit(epoch, donate_argnums=0)

    def _rules(self, step: Any) -> dict[str, tuple[int, Any]]:
        """Return how many states each rule has, and (w, g, states, t) -> (w, *states)."""
        sqrt, maximum = self.jnp.sqrt, self.jnp.maximum

        def sgd(w, g, s, t):
            return (w - step * g,)

        def momentum(w, g, s, t):
            velocity = 0.9 * s[0] + g
            return w - step * velocity, velocity

        def nesterov(w, g, s, t):
            velocity = 0.9 * s[0] + g
            return w - step * (g + 0.9 * velocity), velocity

        def adagrad(w, g, s, t):
            total = s[0] + g * g
            return w - step * g / (sqrt(total) + 1e-10), total

        def rmsprop(w, g, s, t):
            square = 0.99 * s[0] + 0.01 * g * g
            return w - step * g / (sqrt(square) + 1e-8), square

        def adam(w, g, s, t):
            mean, square = 0.9 * s[0] + 0.1 * g, 0.999 * s[1] + 0.001 * g * g
            greatest = [maximum(s[2], square)] if len(s) == 3 else []
            # Numbers first, then one multiplication for each parameter.
            root = sqrt([square, *greatest][-1]) * (1 / sqrt(1 - 0.999**t)) + 1e-8
            return w - (step / (1 - 0.9**t)) * (mean / root), mean, square, *greatest

        def adamw(w, g, s, t):
            return adam(w * (1 - step * 0.01), g, s, t)

        return {
            "sgd": (0, sgd), "momentum": (1, momentum), "nesterov": (1, nesterov),
            "adagrad": (1, adagrad), "rmsprop": (1, rmsprop), "adam": (2, adam),
            "amsgrad": (3, adam), "adamw": (2, adamw),
        }  # fmt: skip
