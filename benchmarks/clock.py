"""CPU seconds of functions and of fresh processes, on one thread."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Any

import numba

#: What keeps a fresh process on one thread.
ONE_THREAD = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")}


def cpu_seconds(function: Callable[[], Any]) -> float:
    """Return the CPU seconds, of all threads of this process, that a call takes."""
    began = time.process_time()
    function()
    return time.process_time() - began


def wall_seconds(function: Callable[[], Any]) -> float:
    """Return the seconds that pass during a call."""
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def extra_memory(function: Callable[[], Any]) -> float:
    """Return the megabytes that a call holds, at its peak, beyond what was held before; numba's arrays included."""
    with open("/proc/self/status") as status:
        before = _field(status.read(), "VmRSS")
    with open("/proc/self/clear_refs", "w") as clear:
        clear.write("5")  # The peak is counted from here.
    function()
    with open("/proc/self/status") as status:
        return (_field(status.read(), "VmHWM") - before) / 1024


def _field(status: str, name: str) -> int:
    return int(next(line for line in status.splitlines() if line.startswith(name)).split()[1])


def interleaved(
    contenders: Mapping[str, Callable[[], dict[str, float] | float]], repeats: int
) -> dict[str, list[dict[str, float]]]:
    """Call every contender in turn, ``repeats`` times over, and return what each measured.

    A machine that slows down slows all of them, so that ratios hold.
    """
    found: dict[str, list[dict[str, float]]] = {name: [] for name in contenders}
    for _ in range(repeats):
        for name, measure in contenders.items():
            measured = measure()
            found[name].append(measured if isinstance(measured, dict) else {"seconds": measured})
    return found


def medians(measured: list[dict[str, float]]) -> dict[str, float]:
    """Return the median of every quantity that was measured."""
    return {name: statistics.median(m[name] for m in measured) for name in measured[0]}


def in_fresh_process(code: str, **environment: str) -> dict[str, float]:
    """Run code in a Python of its own, on one thread, and return the JSON object that it prints last."""
    env = {**os.environ, **ONE_THREAD, **environment}
    # Bytecode is cached for whoever installs the library, so here too.
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"a fresh process failed:\n{done.stderr}")
    return json.loads(done.stdout.strip().splitlines()[-1])


@contextmanager
def one_thread() -> Iterator[str]:
    """Pin BLAS, OpenMP and compiled loops to one thread; yield what could not be pinned, or nothing.

    Only libraries that are loaded by then are pinned, so that contenders are imported first.
    """
    for contender in ("sklearn.mixture", "daal4py"):
        with suppress(ImportError):
            import_module(contender)
    before = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        yield "threadpoolctl is not installed: BLAS keeps its own number of threads"
    else:
        with threadpool_limits(1):
            yield ""
    finally:
        numba.set_num_threads(before)
