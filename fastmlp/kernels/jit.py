"""The one place where compile options, and what the kernels know about the CPU, live."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.codegen import get_host_cpu_features
from numba.extending import intrinsic

# No fast-math flag at all: every multiply-add that shall fuse is written `fma`, so nothing is left
# for the compiler to contract or reassociate, and results do not depend on the CPU's vectors.
OPTIONS: dict[str, Any] = {
    "boundscheck": False,
    "error_model": "numpy",
    "nogil": True,
    "_nrt": False,
    "cache": True,
}


def cpu_features() -> frozenset[str]:
    """Names of the features that Numba compiles for (`NUMBA_CPU_FEATURES` is respected)."""
    named = numba.config.CPU_FEATURES
    text = get_host_cpu_features() if named is None else named
    return frozenset(f[1:] for f in text.split(",") if f.startswith("+"))


def has_fma() -> bool:
    """Whether the compiled-for CPU fuses multiply and add in one instruction."""
    return not {"fma", "neon"}.isdisjoint(cpu_features())


@functools.cache
def source_stamp() -> str:
    """Hash of every kernel's source and of the compile options.

    Numba's on-disk cache knows only the file of the function itself; an edit in a file that the
    function calls into, or a changed option, would run stale machine code.
    """
    digest = hashlib.sha256(repr(sorted(OPTIONS.items())).encode())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _prepare(dispatcher: Any) -> Any:
    """Stamp the on-disk cache, and let calls with literal arguments share one compilation."""
    cache_file = getattr(dispatcher._cache, "_cache_file", None)
    if cache_file is not None:
        cache_file._source_stamp = source_stamp()
    resolve = dispatcher.get_call_template

    def get_call_template(args: Any, kws: Any) -> Any:
        plain = {name: types.unliteral(type_) for name, type_ in kws.items()}
        return resolve(tuple(map(types.unliteral, args)), plain)

    dispatcher.get_call_template = get_call_template
    return dispatcher


# Of what Python does not call, no wrappers for Python are compiled; for C's callers, never.
_INNER = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
_ENTRY = {"no_cfunc_wrapper": True}


def kernel(function: Callable[..., Any]) -> Any:
    """Compile a kernel that other kernels call, by name or by address; not callable from Python.

    Cached on disk, stale when any kernel's source changes.
    """
    return _prepare(numba.njit(**OPTIONS, **_INNER)(function))


def entry_kernel(function: Callable[..., Any]) -> Any:
    """Compile a kernel that Python calls; cached as others."""
    return _prepare(numba.njit(**OPTIONS, **_ENTRY)(function))


def parallel_kernel(function: Callable[..., Any]) -> Any:
    """Compile a kernel whose `prange` loops run on Numba's threads; callable from Python."""
    return _prepare(numba.njit(parallel=True, **OPTIONS, **_ENTRY)(function))


def inlined(function: Callable[..., Any]) -> Any:
    """Compile a helper that LLVM shall inline into the kernels that call it."""
    return numba.njit(forceinline=True, **{**OPTIONS, **_INNER, "cache": False})(function)


def emit_call(builder: Any, name: str, *args: Any) -> Any:
    """Emit LLVM's intrinsic of this name for floats, scalars and vectors alike."""
    kind = args[0].type
    vector = isinstance(kind, ir.VectorType)
    element = "f32" if isinstance(kind.element if vector else kind, ir.FloatType) else "f64"
    suffix = f"v{kind.count}{element}" if vector else element
    declared = builder.module.declare_intrinsic(
        f"llvm.{name}.{suffix}", (), ir.FunctionType(kind, [kind] * len(args))
    )
    return builder.call(declared, args)


def emit_fma(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """Emit a * b + c, fused where the CPU can, for scalars and vectors alike."""
    if not has_fma():
        return builder.fadd(builder.fmul(a, b), c)
    return emit_call(builder, "fma", a, b, c)


@intrinsic
def fma(typingctx: Any, a: Any, b: Any, c: Any) -> Any:
    """Return a * b + c with one rounding (two on CPUs without FMA). One float type throughout."""
    if not (isinstance(a, types.Float) and a == b == c):
        return None

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return emit_fma(builder, *args)

    return a(a, a, a), codegen


@intrinsic
def like(typingctx: Any, value: Any, x: Any) -> Any:
    """Return `value` as a number of x's type: constants must not widen float32 work to float64."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return context.cast(builder, args[0], signature.args[0], signature.return_type)

    return x(value, x), codegen


def address_of(dispatcher: Any, signature: tuple[Any, ...]) -> int:
    """Compile a kernel for the argument types, if it is not yet, and return where its code is."""
    dispatcher.compile(signature)
    compiled = dispatcher.overloads[signature]
    return int(compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name))


@intrinsic
def call_at(typingctx: Any, address: Any, arguments: Any) -> Any:
    """Call the kernel at an address with a tuple of arguments, of exactly the types it has.

    A kernel called by name is optimised again as a part of every kernel above it; one called by
    address is compiled once.
    """
    signature = types.void(address, arguments)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        address, values = args[0], cgutils.unpack_tuple(builder, args[1])
        kinds = tuple(arguments)
        function = context.call_conv.get_function_type(types.none, kinds)
        pointer = builder.inttoptr(address, function.as_pointer())
        context.call_conv.call_function(builder, pointer, types.none, kinds, values)
        return context.get_dummy_value()

    return signature, codegen
