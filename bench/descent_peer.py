"""Full gradient descent with exact line search as its users write it: PyTorch and SciPy.

Everything is float32, on all cores. The gradient comes from autograd, the step from Brent's method
(`scipy.optimize.minimize_scalar`), whose bracket starts from the last step. Trials run without
autograd, on views of one flat vector, into buffers allocated once. The samples are passed in
chunks, whose size is chosen by measuring, all samples at once among them.

With `keeps`, the first layer's products with the parameters and with the direction are computed
once for a search, and not for each trial; the former in the gradient's own pass, as fastmlp does.
"""

from __future__ import annotations

import time
from itertools import pairwise
from typing import Any

import numpy as np

from bench.works import n_cores

CHUNKS = (1000, 4000, 15000, 60000)


class TorchDescent:
    """The peer on samples X (n, n_0) and labels y (n,), both in memory."""

    def __init__(self, widths: tuple[int, ...], X: np.ndarray, y: np.ndarray, keeps: bool) -> None:
        import torch

        torch.set_num_threads(n_cores())
        self.torch, self.keeps, self.n = torch, keeps, len(X)
        self.widths, self.X, self.y = widths, torch.from_numpy(X), torch.from_numpy(y)
        n_params = sum((a + 1) * b for a, b in pairwise(widths))
        self.w, self.g, self.trial_w = (torch.zeros(n_params) for _ in range(3))
        self.layers, self.trial_layers = self._views(self.w), self._views(self.trial_w)
        for parameters, gradients in zip(self.layers, self._views(self.g), strict=True):
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.requires_grad_().grad = gradient  # backward adds to it in place
        n_kept = self.n if keeps else 0
        self.kept, self.kept_d = (torch.empty(n_kept, widths[1]) for _ in range(2))
        self.chunk = {"gradient": 0, "trial": 0}
        self._choose_chunks()

    def _views(self, flat: Any) -> list[tuple[Any, Any]]:
        """Return weights (n_in, n_out) and biases of each layer; in the layout of fastmlp."""
        views, at = [], 0
        for n_in, n_out in pairwise(self.widths):
            end = at + n_in * n_out
            views.append(
                (flat[at:end].view(n_in, n_out).detach(), flat[end : end + n_out].detach())
            )
            at = end + n_out
        return views

    def _choose_chunks(self) -> None:
        rng = np.random.default_rng(0)
        w = rng.normal(0, 0.05, len(self.w)).astype(np.float32)
        d = self.torch.from_numpy(w)
        runs = {"gradient": lambda: self.value_and_gradient(w), "trial": lambda: self.trial(0.1)}
        for phase, run in runs.items():
            seconds = {}
            for size in sorted({min(size, self.n) for size in CHUNKS}):
                self.chunk[phase] = size
                self._begin(d)
                times = []
                for _ in range(3):
                    began = time.perf_counter()
                    run()
                    times.append(time.perf_counter() - began)
                seconds[size] = min(times)
            self.chunk[phase] = min(seconds, key=seconds.__getitem__)

    def _chunks(self, phase: str) -> Any:
        size = self.chunk[phase]
        return (slice(start, start + size) for start in range(0, self.n, size))

    def value_and_gradient(self, w: Any) -> tuple[float, Any]:
        """Return the mean loss and a new flat gradient; `keeps` also keeps X W_1 + b_1."""
        torch = self.torch
        with torch.no_grad():
            self.w.copy_(torch.as_tensor(w))
            self.g.zero_()
        total = 0.0
        for rows in self._chunks("gradient"):
            A = self.X[rows]
            for number, (W, b) in enumerate(self.layers):
                Z = torch.addmm(b, A, W)
                if number == 0 and self.keeps:
                    self.kept[rows] = Z.detach()
                A = Z.relu_() if number < len(self.layers) - 1 else Z
            loss = torch.nn.functional.cross_entropy(A, self.y[rows], reduction="sum")
            (loss / self.n).backward()
            total += float(loss.detach())
        return total / self.n, self.g.clone()

    def value(self, w: Any) -> float:
        """Return the mean loss, without autograd."""
        with self.torch.inference_mode():
            self.trial_w.copy_(self.torch.as_tensor(w))
            return self._forward(None)

    def _begin(self, d: Any) -> None:
        """Prepare trials along d from the w of the last gradient."""
        torch = self.torch
        self.d = d
        size = min(self.chunk["trial"], self.n)
        self.buffers = [torch.empty(size, width) for width in self.widths[1:]]
        if self.keeps:
            n_weights = self.widths[0] * self.widths[1]
            D = d[:n_weights].view(self.widths[:2])
            torch.addmm(d[n_weights : n_weights + self.widths[1]], self.X, D, out=self.kept_d)

    def trial(self, alpha: float) -> float:
        """Return the mean loss at w + alpha d."""
        with self.torch.inference_mode():
            self.torch.add(self.w, self.d, alpha=alpha, out=self.trial_w)
            return self._forward(alpha)

    def _forward(self, alpha: float | None) -> float:
        """Return the mean loss at trial_w; with an alpha, on the kept products if there are any."""
        torch, total = self.torch, 0.0
        for rows in self._chunks("trial"):
            A = self.X[rows]
            for number, (W, b) in enumerate(self.trial_layers):
                Z = self.buffers[number][: len(A)]
                if number == 0 and self.keeps and alpha is not None:
                    torch.add(self.kept[rows], self.kept_d[rows], alpha=alpha, out=Z)
                else:
                    torch.addmm(b, A, W, out=Z)
                A = Z.relu_() if number < len(self.layers) - 1 else Z
            total += float(torch.nn.functional.cross_entropy(A, self.y[rows], reduction="sum"))
        return total / self.n

    def search(self, d: Any, value: float, slope: float, guess: float | None, xtol: float) -> Any:
        """Return Brent's step, and at how many alphas it asked for the loss. 0 is known."""
        from scipy.optimize import minimize_scalar

        self._begin(d)
        known = {0.0: value}

        def phi(alpha: float) -> float:
            alpha = float(alpha)
            if alpha not in known:
                known[alpha] = self.trial(alpha)
            return known[alpha]

        if guess is None:  # fastmlp's own
            guess = min(abs(value / slope), 1 / float(d.abs().max()))
        found = minimize_scalar(phi, bracket=(0.0, guess), method="brent", options={"xtol": xtol})
        return float(found.x), len(known) - 1

    def descend(self, w: np.ndarray, direction: str, iterations: int, xtol: float) -> dict:
        """Do so many iterations from w; return what they took and reached.

        Of each iteration |phi'(alpha)| / |phi'(0)| is known once the next gradient is.
        """
        torch = self.torch
        w, guess, evaluations, reached = torch.from_numpy(w.copy()), None, [], []
        value, g = self.value_and_gradient(w)
        d = -g
        began = time.perf_counter()
        for _ in range(iterations):
            slope = float(g @ d)
            guess, n = self.search(d, value, slope, guess, xtol)
            w.add_(d, alpha=guess)
            last, (value, g) = g, self.value_and_gradient(w)
            evaluations.append(n)
            reached.append(abs(float(g @ d) / slope))
            if direction == "steepest":
                d = -g
            else:
                beta = max(0.0, float(g @ (g - last)) / float(last @ last))
                d = d.mul(beta).sub_(g)
                if float(g @ d) >= 0:
                    d = -g
        seconds = (time.perf_counter() - began) / iterations
        return {
            "seconds": seconds, "evaluations": evaluations, "reached": reached, "loss": value
        }  # fmt: skip
