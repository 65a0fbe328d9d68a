"""Notebooks: each runs without an error, and what is shown is of the text that is there."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import jupytext
import nbformat
import pytest

FOLDER = Path(__file__).parent.parent / "notebooks"
spec = importlib.util.spec_from_file_location("write_notebooks", FOLDER / "write.py")
assert spec is not None
assert spec.loader is not None
write = importlib.util.module_from_spec(spec)
spec.loader.exec_module(write)
TEXTS = write.texts()


def test_there_are_six():
    assert [text.stem[0] for text in TEXTS] == list("123456")


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: text.stem)
def test_what_is_shown_is_of_the_text(text):
    shown = nbformat.read(text.with_suffix(".ipynb"), 4)
    written = jupytext.read(text)
    assert [(c.cell_type, c.source) for c in shown.cells] == [(c.cell_type, c.source) for c in written.cells]
    code = [cell for cell in shown.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert not [o for cell in code for o in cell.outputs if o.output_type == "error" or o.get("name") == "stderr"]
    assert any("image/png" in o.get("data", {}) for cell in code for o in cell.outputs)
    assert text.with_suffix(".ipynb").stat().st_size < 400_000


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: text.stem)
def test_notebook_runs(text):
    notebook = write.executed(text)
    assert not [o for c in notebook.cells for o in c.get("outputs", []) if o.output_type == "error"]


def test_a_result_prints_whole_in_a_notebook(tmp_path):
    """Rich shows tables of its own there, and once left none of the text to print."""
    code = "import bayesgmm as bg; print(bg.fit(bg.datasets.load_faithful(), 2, engine='em', seed=1))"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    path = tmp_path / "n.ipynb"
    nbformat.write(notebook, path)
    script = f"import nbformat; from nbclient import NotebookClient; n = nbformat.read({str(path)!r}, 4); "
    script += "NotebookClient(n, kernel_name='python3').execute(); print([dict(o) for o in n.cells[0].outputs])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    outputs = eval(done.stdout.strip().splitlines()[-1], {})
    assert [o["output_type"] for o in outputs] == ["stream"]
    assert "weight[0]" in outputs[0]["text"]
    assert "\x1b" not in outputs[0]["text"]
