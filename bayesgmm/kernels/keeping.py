"""Where numba keeps compiled loops on disk, or that it cannot, which is said once and stops nobody."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numba
from numba.core.caching import FunctionCache

from bayesgmm.errors import CacheWarning

#: Whose lines a warning is not about.
INSIDE = str(Path(__file__).parent.parent), os.path.dirname(numba.__file__)


class Kept(FunctionCache):
    """What numba keeps of one loop, where it can."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._why = ""
        try:
            super().__init__(function)
        except (OSError, RuntimeError) as error:
            self._why, self._enabled, self._cache_path = str(error), False, ""

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return a loop that was kept, or nothing."""
        try:
            return super().load_overload(sig, target_context)
        except OSError as error:
            self._give_up(error)

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep a loop, or say that it cannot be kept."""
        if not self._why:
            try:
                super().save_overload(sig, data)
            except OSError as error:
                self._give_up(error)
        if self._why:
            say_once(self._why)

    def _give_up(self, error: OSError) -> None:
        self._why = f"{self._cache_path!r}: {error.strerror or error}"
        self.disable()


@cache
def _said() -> list[str]:
    """Return what was said already: the first reason is that of all."""
    return []


def say_once(why: str) -> None:
    """Warn the first time."""
    if not _said():
        _said().append(why)
        warnings.warn(
            CacheWarning(
                f"compiled loops cannot be kept on disk ({why}), so that every process compiles them anew, for up to a "
                "minute or two; set NUMBA_CACHE_DIR to a folder that can be written to and has 50 MB free"
            ),
            skip_file_prefixes=INSIDE,
        )
