"""Without its optional packages the package says which extra to install, before anything that takes long."""

import subprocess
import sys
import textwrap

import pytest

import bayesgmm as bg

#: Hides packages from every import, as if they were not installed.
HIDDEN = """
    import sys
    for package in {packages}:
        sys.modules[package] = None
    import bayesgmm as bg
"""


def without(packages, code):
    """What a program prints, or the last line of its error, where packages are not installed."""
    program = textwrap.dedent(HIDDEN.format(packages=tuple(packages))) + textwrap.dedent(code)
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, check=False)
    return done.stdout + (done.stderr.strip().splitlines() or [""])[-1]


FIGURES = """
    result = bg.fit(bg.datasets.load_faithful(), 2, engine=bg.EM(uncertainty="laplace", draws=20), seed=1)
    point = bg.fit(bg.datasets.load_faithful(), 2, engine="em", seed=1)
    figures = {
        "memberships": lambda: bg.plots.memberships(result),
        "membership": lambda: bg.plots.membership(result, 0),
        "entropy": lambda: bg.plots.entropy(result),
        "coclustering": lambda: bg.plots.coclustering(result),
        "density": lambda: bg.plots.density(result),
        "components": lambda: bg.plots.components(result),
        "pairs": lambda: bg.plots.pairs(result),
        "em_trace": lambda: bg.plots.em_trace(result),
        "comparison": lambda: bg.plots.comparison(bg.compare(point, result)),
        "asked for": lambda: bg.plots.components(result, backend="matplotlib"),
        "asked for by its name": lambda: bg.plots.components(result, backend="plotly"),
        "animate_em": lambda: bg.plots.animate_em(result),
        "animate_posterior": lambda: bg.plots.animate_posterior(result),
        "bivariate": lambda: bg.plots.bivariate("page.html"),
        "report": lambda: bg.report(result, "report.html"),
    }
    for name, figure in figures.items():
        try:
            figure()
        except bg.ModelError as error:
            print(f"{name}: {error}")
        else:
            print(f"{name}: drawn")
"""


def test_every_figure_names_its_extra():
    lines = without(["matplotlib", "plotly", "jinja2"], FIGURES).strip().splitlines()
    assert len(lines) == 15
    assert all("install bayesgmm[plots]" in line or line.startswith("report") for line in lines)
    assert lines[-1] == "report: a report needs jinja2 and plotly; install bayesgmm[report]"


def test_one_library_is_enough_for_figures_that_stand_still(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = without(["matplotlib"], FIGURES).strip().splitlines()
    assert [line for line in lines if not line.endswith("drawn")] == [
        "asked for: backend='matplotlib' needs matplotlib; install bayesgmm[plots]"
    ]


def test_film_of_matplotlib_is_refused_before_it_is_computed():
    code = """
        result = bg.fit(bg.datasets.load_faithful(), 2, engine="em", seed=1)
        bg.plots.animation.fit = None  # Nothing may be fitted any more.
        bg.plots.animate_em(result, to="em.gif")
    """
    assert "a film in .gif needs matplotlib; install bayesgmm[plots]" in without(["matplotlib"], code)


@pytest.mark.parametrize(
    "code", ["import bayesgmm.sklearn", "bg.sklearn", "from bayesgmm.sklearn import GaussianMixture"]
)
def test_door_of_scikit_learn_names_its_extra(code):
    said = without(["sklearn"], code)
    assert said == "ModuleNotFoundError: bayesgmm.sklearn needs scikit-learn; install bayesgmm[sklearn]"


@pytest.mark.parametrize(
    "arguments",
    [
        ["fit", "rows.csv", "-k", "2", "--report", "page.html"],
        ["compare", "rows.csv", "-k", "2", "--report", "page.html"],
        ["demo"],
    ],
)
def test_command_line_fits_nothing_that_it_cannot_report(arguments, tmp_path):
    bg.datasets.load_faithful().to_csv(tmp_path / "rows.csv", index=False)
    code = f"""
        import os, sys
        import bayesgmm.shell.commands
        os.chdir({str(tmp_path)!r})
        bg.fit = None  # Nothing may be fitted.
        sys.argv = ["bayesgmm", *{arguments!r}]
        try:
            bayesgmm.shell.commands.main()
        except SystemExit as end:
            print("exit", end.code)
    """
    said = without(["jinja2"], code)
    assert said.startswith("exit 2")
    assert "bayesgmm: a report needs jinja2; install bayesgmm[report]" in said
    assert list(tmp_path.glob("*.html")) == []


def test_door_of_scikit_learn_is_found_without_its_import():
    assert without([], "print(bg.sklearn.GaussianMixture.__name__)").startswith("GaussianMixture")
    assert "sklearn" in dir(bg)
