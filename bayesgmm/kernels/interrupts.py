"""Ctrl-C waits while code is compiled or called that can neither be left half-way nor pass an exception on.

numba and llvmlite keep what they have half done, drop an exception that is raised in what C calls back, and take no
notice of one that is raised while they make an array of what a loop returns.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from typing import Any

from numba import types
from numba.core.compiler_lock import global_compiler_lock


class Uninterrupted:
    """A context at whose end Ctrl-C is heard that came meanwhile; only the main thread ever hears it."""

    __slots__ = ("_before", "_missed")

    def __init__(self) -> None:
        self._before: Any = None
        self._missed: tuple[int, Any] | None = None

    def __enter__(self) -> None:
        if threading.get_ident() == threading.main_thread().ident:
            before = signal.getsignal(signal.SIGINT)
            # Handlers that are not Python's end the process, or do nothing; one of ours waits already.
            if callable(before) and not isinstance(before, Uninterrupted):
                self._before = before
                signal.signal(signal.SIGINT, self)

    def __call__(self, number: int, frame: Any) -> None:
        """Take note of the signal."""
        self._missed = number, frame

    def hear(self) -> None:
        """Let the handler of before have what came meanwhile."""
        if self._missed is not None:
            missed, self._missed = self._missed, None
            self._before(*missed)

    def __exit__(self, *raised: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
            self.hear()


def heard_between(compile_one: Callable[..., Any]) -> Callable[..., Any]:
    """Return numba's method that compiles a loop, at whose end Ctrl-C is heard: those that call it take long."""

    def compiled(signature: Any) -> Any:
        made = compile_one(signature)
        waiting = signal.getsignal(signal.SIGINT)
        if isinstance(waiting, Uninterrupted) and threading.get_ident() == threading.main_thread().ident:
            waiting.hear()
        return made

    return compiled


class Loop:
    """A loop that numba compiles when it is first called: from Python without interrupts, from others as itself."""

    def __init__(self, dispatcher: Any) -> None:
        self._dispatcher = dispatcher

    def __call__(self, *arguments: Any) -> Any:
        """Compile, if need be, and run the loop."""
        with Uninterrupted():
            return self._dispatcher(*arguments)

    @property
    def _numba_type_(self) -> types.Dispatcher:
        """What numba takes it for in another loop."""
        return types.Dispatcher(self._dispatcher)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._dispatcher, name)


def whole_at_forks(lock: Any) -> None:
    """Let no process be forked while a lock is held, for nobody would let it go in the child."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release)


def uninterrupted[**P, R](function: Callable[P, R]) -> Callable[P, R]:
    """Return a function that Ctrl-C does not leave half-way."""

    def whole(*arguments: P.args, **options: P.kwargs) -> R:
        with Uninterrupted():
            return function(*arguments, **options)

    return whole


whole_at_forks(global_compiler_lock)
