"""Tables: on the screen, and as small JSON files."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table as RichTable

RESULTS = Path(__file__).parent / "results"
TEXT = ("what", "data", "form")
PACKAGES = (
    "numpy",
    "numba",
    "scikit-learn",
    "pymc",
    "pytensor",
    "nutpie",
    "numpyro",
    "jax",
    "daal",
    "pomegranate",
    "torch",
)


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of one benchmark, all of the same columns.

    Attributes
    ----------
    name, title : str
        The file's name, and what the table says.
    rows : list of dict
        Numbers by column; seconds unless the column says otherwise.
    notes : list of str
        What was skipped, and why.
    """

    name: str
    title: str
    rows: list[dict[str, Any]]
    notes: list[str] = field(default_factory=list)


def installed(package: str) -> str | None:
    """Return the version of a package, or None where there is none."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def machine() -> dict[str, Any]:
    """Return what speed depends on, and nothing that names a machine."""
    packages = {package: installed(package) for package in PACKAGES}
    return {"cpu": _cpu(), "cores": os.cpu_count(), "python": platform.python_version(), **packages}


def _cpu() -> str:
    described = Path("/proc/cpuinfo")
    lines = described.read_text().splitlines() if described.exists() else []
    named = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def show(table: Table, console: Console) -> None:
    """Print a table."""
    shown = RichTable(title=table.title, title_justify="left")
    for name in table.rows[0] if table.rows else []:
        shown.add_column(name.replace("_", " "), justify="left" if name in TEXT else "right")
    for row in table.rows:
        shown.add_row(*(_text(value) for value in row.values()))
    console.print(shown)
    for note in table.notes:
        console.print(note)


def write(table: Table) -> Path:
    """Write a table with the machine it was measured on."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{table.name}.json"
    rows = [{name: _rounded(value) for name, value in row.items()} for row in table.rows]
    content = {"title": table.title, "machine": machine(), "rows": rows, "notes": table.notes}
    path.write_text(json.dumps(content, indent=1) + "\n")
    return path


def _text(value: Any) -> str:
    if value is None:
        return ""
    return f"{_rounded(value):,}" if isinstance(value, (int, float)) else str(value)


def _rounded(value: Any) -> Any:
    """Return a number to three digits: a fourth would be noise."""
    if not isinstance(value, float):
        return value
    short = float(f"{value:.3g}")
    return int(short) if abs(short) >= 100 else short
