"""Calls from compiled loops into `assembly` and `moments`, written when a number of features is first met.

numba's code finds them in a table that LLVM knows by name, so that what it keeps on disk holds no address.
"""

from __future__ import annotations

import ctypes
import threading
import traceback
from typing import Any

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from bayesgmm.kernels import assembly, blocks, moments
from bayesgmm.kernels.blocks import LINE
from bayesgmm.kernels.elementary import compiled_exactly, inlined_exactly
from bayesgmm.kernels.interrupts import uninterrupted, whole_at_forks
from bayesgmm.kernels.lanes import DOUBLE, POINTER, WHOLE, Machine

#: The functions of `assembly` and `moments`: the first index of the table.
STEPS = (
    assembly.Transpose, assembly.Weigh, assembly.WeighDiagonal, assembly.SoftMaximum, moments.Moments,
    moments.MomentsDiagonal, assembly.Allocate,
)  # fmt: skip
TRANSPOSE, WEIGH, WEIGH_DIAGONAL, SOFT_MAXIMUM, MOMENTS, MOMENTS_DIAGONAL, ALLOCATE = range(len(STEPS))
#: Numbers of features that the table holds; code for more is asked for at every pass.
MOST_FEATURES = 1024

#: What compiled loops are given for an address where there is none.
FAILED, OUT_OF_MEMORY = 0, -1

_TABLE = (ctypes.c_int64 * (len(STEPS) * (MOST_FEATURES + 1)))()
_MACHINE, _LOCK, _WRITTEN = Machine(), threading.RLock(), {}
whole_at_forks(_LOCK)


@uninterrupted
def address_of(step: int, d: int) -> int:
    """Return the address of a function for ``d`` features, which is compiled at the first call (some 20 ms)."""
    with _LOCK:
        if (step, d) not in _WRITTEN:
            module = ir.Module()
            STEPS[step](module, "step", d)
            written = _MACHINE.address(module, "step")
            # The code for any number of components was checked at import; that for two is where it is first needed.
            if (step, d) == (SOFT_MAXIMUM, 2) and not _is_right(written, 2):
                written = _WRITTEN[SOFT_MAXIMUM, 0]
            _WRITTEN[step, d] = written
            if d <= MOST_FEATURES:
                _TABLE[step * (MOST_FEATURES + 1) + d] = _WRITTEN[step, d]
        return _WRITTEN[step, d]


def _address_for_loops(step: int, d: int) -> int:
    """Return the same, or what stands for an exception: ctypes would drop it, and return what is in memory."""
    try:
        return address_of(step, d)
    except MemoryError:
        return OUT_OF_MEMORY
    except Exception:
        traceback.print_exc()
        return FAILED


_ADDRESS_OF = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)(_address_for_loops)
llvm.add_symbol("bayesgmm_table", ctypes.addressof(_TABLE))
llvm.add_symbol("bayesgmm_address_of", ctypes.cast(_ADDRESS_OF, ctypes.c_void_p).value)
find_address = types.ExternalFunction("bayesgmm_address_of", types.int64(types.int64, types.int64))


@intrinsic
def tabled(typingctx: Any, index: Any) -> Any:  # noqa: ARG001
    """Return an entry of the table of addresses."""

    def write(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001
        if "bayesgmm_table" not in builder.module.globals:
            ir.GlobalVariable(builder.module, WHOLE, "bayesgmm_table").linkage = "external"
        table = builder.bitcast(builder.module.globals["bayesgmm_table"], POINTER)
        return builder.load(builder.gep(table, [arguments[0]], source_etype=WHOLE), typ=WHOLE)

    return types.int64(types.int64), write


def _pointer(typingctx: Any, array: Any) -> Any:  # noqa: ARG001
    """Return where an array is; unlike the array in a tuple, this counts no reference to it, and so takes no time."""

    def write(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.ptrtoint(context.make_array(signature.args[0])(context, builder, values[0]).data, WHOLE)

    return types.int64(array), write


pointer: Any = intrinsic(_pointer)


def _caller(result: Any, written: ir.Type) -> Any:
    """Return a function ``call(address, arguments)`` for whole numbers, of which `pointer` makes some."""

    @intrinsic
    def call(typingctx: Any, address: Any, arguments: Any) -> Any:  # noqa: ARG001
        def write(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            passed = [
                context.cast(builder, builder.extract_value(values[1], at), kind, types.int64)
                for at, kind in enumerate(signature.args[1])
            ]
            signature = ir.FunctionType(written, [WHOLE] * len(passed))
            return builder.call(builder.inttoptr(values[0], signature.as_pointer()), passed)

        return result(types.int64, arguments), write

    return call


call = _caller(types.void, ir.VoidType())
call_for_sum = _caller(types.float64, DOUBLE)


@compiled_exactly
def sought(step, d):
    """Return where a function is that is not in the table."""
    found = find_address(step, d)
    if found == OUT_OF_MEMORY:
        raise MemoryError("there is no memory to compile a step for this number of features")
    if found == FAILED:
        raise RuntimeError("a step for this number of features could not be compiled; the reason was printed above")
    return found


@inlined_exactly
def address(step, d):
    """Return where the function of a step for ``d`` features is."""
    index = step * (MOST_FEATURES + 1) + d
    found = tabled(index) if d <= MOST_FEATURES else 0  # pyright: ignore[reportCallIssue]
    return found if found != 0 else sought(step, d)


@compiled_exactly
def transpose_block(x, origin, inverse_unit, start, size, columns):
    """See `blocks.transpose_block`."""
    d = x.shape[1]
    if x.flags.c_contiguous:
        places = pointer(x), start, pointer(origin), pointer(inverse_unit)
        whole = d, size, pointer(columns), columns.shape[1]
        call(address(TRANSPOSE, d), places + whole)
    else:
        blocks.transpose_block(x, origin, inverse_unit, start, size, columns)


@inlined_exactly
def weigh(columns, means, factors, log_constants, g, size, log_r, centred, x, following):
    """See `blocks.weigh`; ``size`` is a multiple of `lanes.WIDTH`, and the rows of all arrays are as long."""
    k, d = means.shape[1], means.shape[2]
    ahead = pointer(x) + 8 * following * d
    given = pointer(means), pointer(factors), pointer(log_constants)
    whole = pointer(columns), columns.shape[1], k, size, g * k
    at = address(WEIGH if factors.ndim == 4 else WEIGH_DIAGONAL, d)
    call(at, whole + given + (pointer(log_r), pointer(centred), ahead))


@inlined_exactly
def soft_maximum(log_r, v, size, total, scale, log_density, only_sum):
    """See `blocks.soft_maximum`; ``size`` is a multiple of `lanes.WIDTH`."""
    k, stride = log_r.shape
    written = pointer(total), pointer(scale), pointer(log_density)
    whole = pointer(log_r), stride, k, size, pointer(v)
    # Not every number of components has code of its own, but two have.
    return call_for_sum(address(SOFT_MAXIMUM, 2 if k == 2 else 0), whole + written + (1 if only_sum else 0,))


@inlined_exactly
def add_moments(columns, means, r, scale, g, begin, end, size, counts, first, second, centred):
    """See `blocks.add_moments`; ``size`` is a multiple of `lanes.WIDTH`, and the rows of all arrays are as long."""
    k, d = means.shape[1], means.shape[2]
    whole = pointer(columns), columns.shape[1], end - begin, size, g * k + begin
    given, sums = (pointer(means), pointer(r), pointer(scale)), (pointer(counts), pointer(first), pointer(second))
    at = address(MOMENTS if second.ndim == 4 else MOMENTS_DIAGONAL, d)
    call(at, whole + given + sums + (pointer(centred),))


@inlined_exactly
def allocate_single(r, total, key, first_row, size):
    """See `blocks.allocate_single`; ``size`` is a multiple of `lanes.WIDTH`."""
    k, stride = r.shape
    call(address(ALLOCATE, 0), (pointer(r), stride, k, size, pointer(total), key, first_row))


def moments_about(x: np.ndarray, v: np.ndarray, about: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Return weighted count, first and (lower triangle of) second moments of rows, called from Python.

    Nothing has to be compiled for it but one step.
    """
    n, d = x.shape
    stride = (n + LINE - 1) // LINE * LINE
    columns, r, scale = np.zeros((d, stride)), np.zeros(stride), np.ones(stride)
    columns[:, :n], r[:n] = x.T, v
    mean, centred = np.ascontiguousarray(about, float), np.empty((d, stride))
    count, first, second = np.zeros(1), np.zeros(d), np.zeros((d, d))
    kinds = [ctypes.c_void_p, *[ctypes.c_int64] * 4, *[ctypes.c_void_p] * 7]
    step = ctypes.CFUNCTYPE(None, *kinds)(address_of(MOMENTS, d))
    arrays = [a.ctypes.data for a in (mean, r, scale, count, first, second, centred)]
    step(columns.ctypes.data, stride, 1, stride, 0, *arrays)
    return float(count[0]), first, second


def is_right() -> bool:
    """Return whether a step that was compiled for this machine agrees with NumPy."""
    return _is_right(address_of(SOFT_MAXIMUM, 0), 3)


def _is_right(written: int, components: int) -> bool:
    """Return whether the exponentials, sums and logarithms of so many components are right."""
    n = 8 * LINE
    log_r, outputs, v = np.linspace(-800, 0, components * n).reshape(-1, n), np.empty((3, n)), np.linspace(0, 2, n)
    r, largest = log_r.copy(), log_r.max(axis=0)
    arrays = [a.ctypes.data for a in (v, *outputs)]
    kinds = [ctypes.c_void_p, *[ctypes.c_int64] * 3, *[ctypes.c_void_p] * 4, ctypes.c_int64]
    value = ctypes.CFUNCTYPE(ctypes.c_double, *kinds)(written)(r.ctypes.data, n, components, n, *arrays, 0)
    want = np.exp(log_r - largest)
    total = want.sum(axis=0)
    log_density = largest + np.log(total)
    near = [(r, want), *zip(outputs, (total, v / total, log_density), strict=True), (value, v @ log_density)]
    return all(np.allclose(have, ought, rtol=1e-14, atol=1e-250) for have, ought in near)
