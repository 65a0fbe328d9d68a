"""The package as a whole: light to import, documented as it is, and polite to its surroundings."""

import dataclasses
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
import warnings
from pathlib import Path

import numba
import numpy as np
import pytest
from numpydoc.docscrape import NumpyDocString

import bayesgmm as bg

ROOT = Path(__file__).parent.parent
MODULES = sorted(m.name for m in pkgutil.walk_packages(bg.__path__, "bayesgmm.") if not m.name.endswith("__main__"))
OBJECTS = {
    f"{name}.{key}": value
    for name in MODULES
    for key, value in vars(importlib.import_module(name)).items()
    if getattr(value, "__module__", None) == name and not key.startswith("_")
}
RECORDS = {name: value for name, value in OBJECTS.items() if dataclasses.is_dataclass(value) and inspect.isclass(value)}
FUNCTIONS = {name: value for name, value in OBJECTS.items() if inspect.isfunction(value)}
METHODS = {
    f"{name}.{key}": value
    for name, record in RECORDS.items()
    for key, value in vars(record).items()
    if inspect.isfunction(value) and not key.startswith("_")
}
PUBLIC = [getattr(bg, name) for name in bg.__all__]


def test_importing_the_package_loads_nothing_heavy():
    heavy = (
        "pymc",
        "pytensor",
        "arviz",
        "arviz_stats",
        "nutpie",
        "sklearn",
        "matplotlib",
        "plotly",
        "pandas",
        "xarray",
        "scipy.stats",
    )
    code = f"import sys, bayesgmm; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_em_fit_never_imports_pymc_arviz_or_a_plotting_library():
    heavy = ("pymc", "pytensor", "arviz", "arviz_stats", "nutpie", "sklearn", "matplotlib", "plotly")
    code = (
        "import sys, bayesgmm as bg; r = bg.fit(bg.datasets.load_faithful(), 2, engine='em', seed=1); repr(r); "
        f"r.memberships(); r.criteria(); print([m for m in {heavy} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("record", RECORDS.values(), ids=RECORDS)
def test_attributes_section_lists_the_fields_in_order(record):
    documented = [name for p in NumpyDocString(inspect.getdoc(record))["Attributes"] for name in p.name.split(", ")]
    assert documented == [f.name for f in dataclasses.fields(record)]


@pytest.mark.parametrize("function", [*FUNCTIONS.values(), *METHODS.values()], ids=[*FUNCTIONS, *METHODS])
def test_parameters_section_where_there_is_one_lists_the_arguments_in_order(function):
    documented = [
        name for p in NumpyDocString(inspect.getdoc(function) or "")["Parameters"] for name in p.name.split(", ")
    ]
    arguments = [name for name in inspect.signature(function).parameters if name not in ("self", "cls")]
    assert documented in ([], arguments)


@pytest.mark.parametrize("name", bg.__all__)
def test_public_names_say_what_they_are_and_show_an_example(name):
    text = inspect.getdoc(getattr(bg, name))
    assert text
    is_function = inspect.isfunction(getattr(bg, name))
    if is_function and name != "e_step":
        assert ">>>" in text, f"{name} has no example"
        assert "Parameters\n-----" in text or name == "load"


def test_exported_names_are_all_there_and_sorted_by_kind():
    assert set(bg.__all__) <= set(dir(bg))
    assert bg.build_pymc_model.__module__ == "bayesgmm.posterior.pymc_model"
    with pytest.raises(AttributeError, match="no attribute 'fti'"):
        bg.fti  # noqa: B018


def test_names_that_complete_are_public_ones():
    """Names of forty modules stood among them."""
    shown = {name for name in dir(bg) if not name.startswith("__")}
    assert shown == {*bg.__all__, "sklearn"}


@pytest.mark.parametrize(
    "room", sorted(path.parent for path in ROOT.glob("bayesgmm/**/__init__.py")), ids=lambda path: path.name
)
def test_sentence_of_a_room_needs_no_and(room):
    name = ".".join(room.relative_to(ROOT).parts)
    sentence = importlib.import_module(name).__doc__.strip().splitlines()[0]
    assert name == "bayesgmm" or not re.search(r"\band\b", sentence)


@pytest.mark.parametrize("name", MODULES)
def test_modules_open_with_a_sentence(name):
    assert importlib.import_module(name).__doc__.strip().splitlines()[0].endswith((".", ":"))


def test_global_state_is_left_alone(faithful):
    np.random.seed(5)  # noqa: NPY002, the legacy state is what is watched
    before = np.random.get_state()[1].copy(), list(warnings.filters), numba.get_num_threads()  # noqa: NPY002
    bg.fit(faithful, 2, engine="em", seed=1).memberships()
    bg.fit(faithful, 2, seed=1, progress=False).sample(3, seed=1)
    assert np.array_equal(np.random.get_state()[1], before[0])  # noqa: NPY002
    assert list(warnings.filters) == before[1]
    assert numba.get_num_threads() == before[2]


def test_no_file_names_a_registry_host_or_the_path_of_one_machine():
    hosts = re.compile("files" + r"\.pythonhosted|pypi" + r"\.org/simple|registry" + r"\.npmjs|/ro" + "ot/|/wo" + "rk/")
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    for name in listed.stdout.split():
        assert not hosts.search((ROOT / name).read_text(errors="ignore")), name


def code_blocks(name, language):
    text = (ROOT / name).read_text()
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def test_python_blocks_of_the_readme_run_in_order(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    blocks = code_blocks("README.md", "python")
    assert len(blocks) >= 3
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for block in blocks:
            exec(compile(block, "README.md", "exec"), names)


def test_commands_of_the_readme_are_those_of_the_command_line(tmp_path, monkeypatch):
    """Every `bayesgmm ...` line runs, from the root of the checkout, with its files written elsewhere."""
    import shlex

    import distributed
    from typer.testing import CliRunner

    from bayesgmm.shell.commands import app

    lines = [line for block in code_blocks("README.md", "console") for line in block.splitlines()]
    commands = [line.split("bayesgmm ", 1)[1] for line in lines if re.search(r"(^|uv run )bayesgmm ", line)]
    assert len(commands) >= 3
    (tmp_path / "bayesgmm").symlink_to(ROOT / "bayesgmm")
    (tmp_path / "data").mkdir()
    bg.datasets.load_galaxies().to_parquet(tmp_path / "data" / "galaxies.parquet")
    monkeypatch.chdir(tmp_path)
    with distributed.LocalCluster(n_workers=1, dashboard_address=None, silence_logs=50) as cluster:
        for command in commands:
            here = re.sub(r"tcp://\S+", cluster.scheduler_address, command.split("  #")[0])
            done = CliRunner().invoke(app, [*shlex.split(here), "--force"])
            assert done.exit_code == 0, f"{command}\n{done.output}"


def test_version_is_written_once_in_effect():
    text = (ROOT / "pyproject.toml").read_text()
    assert f'version = "{bg.__version__}"' in text
    assert f"version: {bg.__version__}" in (ROOT / "CITATION.cff").read_text()
