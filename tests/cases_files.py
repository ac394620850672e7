"""Files of fastmlp taken apart and put together by hand, to make up what `save` never writes."""

import hashlib
import json

import numpy as np
from safetensors import safe_open

CODES = {
    "bool": "BOOL",
    "uint8": "U8", "uint16": "U16", "uint32": "U32", "uint64": "U64",
    "int8": "I8", "int16": "I16", "int32": "I32", "int64": "I64",
    "float16": "F16", "float32": "F32", "float64": "F64",
}  # fmt: skip


def parts(path):
    """Return the description and the tensors of a file."""
    with safe_open(path, framework="np") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return json.loads(file.metadata()["fastmlp"]), tensors


def write_raw(path, about, tensors, digest=None):
    """Write a file of a description, a str or what JSON makes one of, with a valid digest."""
    description = about if isinstance(about, str) else json.dumps(about)
    hashed = hashlib.sha256(description.encode())
    for name in sorted(tensors):
        hashed.update(f"{name} {tensors[name].dtype.name} {tensors[name].shape}".encode())
        hashed.update(tensors[name].tobytes())
    metadata = {"fastmlp": description, "sha256": digest or hashed.hexdigest()}
    data, header = b"", {"__metadata__": metadata}
    for name in sorted(tensors, key=lambda name: -tensors[name].itemsize):
        tensor = tensors[name]
        ends = [len(data), len(data) + tensor.nbytes]
        code, shape = CODES[tensor.dtype.name], list(tensor.shape)
        header[name] = {"dtype": code, "shape": shape, "data_offsets": ends}
        data += tensor.tobytes()
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def model_of(loaded):
    """Return a loaded model as something with `predict(X)`, and the width of its inputs."""
    if isinstance(loaded, tuple):
        net, w = loaded
        return lambda X: net.predict(w, X), net.widths[0]
    return loaded.predict, loaded.n_features_in_


def same(a, b):
    """Return whether two descriptions or arrays are the same."""
    return np.array_equal(a, b) if isinstance(a, np.ndarray) else a == b
