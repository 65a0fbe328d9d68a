"""Execute the notebooks and write them with their output: ``uv run python notebooks/write.py [NAME ...]``."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).parent
#: Seconds that a notebook may take.
LIMIT = 240


def texts() -> list[Path]:
    """Return the notebooks as text, in their order."""
    return sorted(HERE.glob("[0-9]*.py"))


def executed(text: Path) -> Any:
    """Return a notebook with the output of its cells; an error in one is raised."""
    notebook: Any = jupytext.read(text)
    for at, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{at}"  # Else they differ at every run.
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook.metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    NotebookClient(notebook, timeout=LIMIT, resources={"metadata": {"path": str(HERE)}}, record_timing=False).execute()
    return notebook


if __name__ == "__main__":
    wanted = sys.argv[1:]
    for text in texts():
        if not wanted or text.stem in wanted:
            began = time.perf_counter()
            nbformat.write(executed(text), text.with_suffix(".ipynb"))
            print(f"{text.stem}: {time.perf_counter() - began:.0f} s")
