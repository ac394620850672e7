"""MNIST, from a folder of its IDX files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fastmlp.sources import load_idx


def load(
    folder: str | Path, part: str = "train", dtype: str = "float32"
) -> tuple[np.ndarray, np.ndarray]:
    """Return images (n, 784) in [0, 1] and labels int64, of "train" or "t10k"."""

    def read(name: str) -> np.ndarray:
        path = Path(folder) / f"{part}-{name}-ubyte"
        return load_idx(path if path.is_file() else path.with_name(f"{path.name}.gz"))

    images, labels = read("images-idx3"), read("labels-idx1")
    X = images.reshape(len(images), -1).astype(dtype) / np.dtype(dtype).type(255)
    return X, labels.astype(np.int64)
