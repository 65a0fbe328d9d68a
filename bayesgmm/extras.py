"""Packages that are optional: what needs one says so before anything that takes long."""

from __future__ import annotations

from importlib.util import find_spec

from bayesgmm.errors import ModelError

#: Packages that a report needs.
REPORT = "jinja2", "plotly"


def has(package: str) -> bool:
    """Return whether a package is installed."""
    return find_spec(package) is not None


def need(what: str, extra: str, *packages: str) -> None:
    """Say which extra to install, if a package of it is lacking.

    Raises
    ------
    ModelError
        If it is.
    """
    lacking = [package for package in packages if not has(package)]
    if lacking:
        raise ModelError(f"{what} needs {' and '.join(lacking)}; install bayesgmm[{extra}]")
