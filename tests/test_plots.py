"""Figures: drawn by every backend, of every kind of result, with the user's names, from samples that are said."""

import re
import shutil

import numpy as np
import pytest

import bayesgmm as bg
from bayesgmm import plots
from bayesgmm.plots.canvas import COLOURS, mixed

BACKENDS = ["matplotlib", "plotly", "none"]
QUICK = bg.Gibbs(draws=1500, tune=200)


@pytest.fixture(scope="module")
def two():
    return bg.fit(bg.datasets.load_faithful(), 2, engine=QUICK, seed=1, progress=False)


@pytest.fixture(scope="module")
def one_feature():
    return bg.fit(bg.datasets.load_faithful()["waiting"], 2, engine=QUICK, seed=1, progress=False)


@pytest.fixture(scope="module")
def point():
    return bg.fit(bg.datasets.load_faithful(), 2, engine="em", seed=1)


@pytest.fixture(scope="module")
def many_features():
    data = bg.datasets.load_iris().select_dtypes("number")
    return bg.fit(data, 2, engine=QUICK, seed=1, progress=False)


def words_in(collection):
    """All that is written in a figure of Plotly."""
    return re.sub(r"<[^>]*>", " ", collection.viz["figure"].item().to_json())


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", ["memberships", "entropy", "coclustering", "density", "components"])
@pytest.mark.parametrize("which", ["two", "point"])
def test_every_figure_is_drawn_of_draws_and_of_a_point(which, kind, backend, request):
    result = request.getfixturevalue(which)
    collection = getattr(plots, kind)(result, backend=backend)
    assert type(collection).__name__ == "PlotCollection"
    assert collection.backend == backend


@pytest.mark.parametrize("backend", BACKENDS)
def test_figures_of_one_row_of_pairs_of_iterations_and_of_a_comparison(backend, two, point, many_features):
    assert plots.membership(two, 23, backend=backend)
    assert plots.pairs(many_features, backend=backend)
    assert plots.em_trace(point, backend=backend)
    assert plots.comparison(bg.compare(point, two), backend=backend)


def test_a_figure_of_calibration():
    model = bg.MixtureModel(2, prior=bg.ConjugatePrior(1.0, 0.0, 0.1, 4.0, 1.0))
    calibrated = bg.calibrate(model, 30, engines={"EM": bg.EM()}, replicates=4, seed=1, workers=1)
    assert plots.calibration(calibrated, backend="matplotlib")


def test_files_are_written(two, tmp_path):
    plots.components(two, backend="matplotlib").savefig(tmp_path / "figure.png")
    plots.components(two, backend="matplotlib").savefig(tmp_path / "figure.svg")
    assert (tmp_path / "figure.png").read_bytes()[:4] == b"\x89PNG"
    assert "eruptions" in (tmp_path / "figure.svg").read_text() or "waiting" in (tmp_path / "figure.svg").read_text()


def test_axes_carry_the_users_names(two):
    words = words_in(plots.components(two, backend="plotly"))
    assert "eruptions" in words
    assert "waiting" in words


def test_a_sample_of_the_rows_is_said_to_be_one(rng):
    result = bg.fit(rng.normal(size=(5000, 2)), 1, engine="em", seed=1)
    assert "2,000 of 5,000 rows" in words_in(plots.components(result, backend="plotly"))
    assert "300 of 5,000 rows" in words_in(plots.coclustering(result, backend="plotly"))


def test_intervals_are_drawn_where_there_are_some(two, point):
    assert "90 % intervals" in words_in(plots.memberships(two, backend="plotly"))
    assert "intervals" not in words_in(plots.memberships(point, backend="plotly"))


def test_curves_are_the_density(one_feature):
    """The black line is the density that the result gives, between rows of the grid."""
    from bayesgmm.answers.memberships import thinned
    from bayesgmm.plots.shape import marginal

    grid = np.array([[55.0], [80.0]])
    drawn = marginal(thinned(one_feature.draws()), 0, grid[:, 0]).sum(axis=1).mean(axis=0)
    assert np.allclose(np.log(drawn), one_feature.log_density(grid), atol=0.02)


def test_ellipses_hold_the_share_that_they_say(rng):
    from matplotlib.path import Path

    from bayesgmm.plots.shape import ellipse

    covariance = np.array([[2.0, 0.5, 0.0], [0.5, 1.0, 0.3], [0.0, 0.3, 4.0]])
    rows = rng.multivariate_normal([1.0, 2.0, 3.0], covariance, 20_000)
    line = ellipse(np.array([1.0, 2.0, 3.0]), covariance, 0, 2, 0.8, 400)
    inside = Path(line).contains_points(rows[:, [0, 2]]).mean()
    assert abs(inside - 0.8) < 5 * np.sqrt(0.16 / 20_000) + 0.001


def test_the_colour_of_a_row_is_that_of_its_memberships():
    assert mixed(np.array([[1.0, 0.0], [0.0, 1.0]])) == [COLOURS[0].lower(), COLOURS[1].lower()]
    half = mixed(np.array([[0.5, 0.5]]))[0]
    assert half not in (COLOURS[0].lower(), COLOURS[1].lower())


@pytest.mark.parametrize(
    ("call", "error", "sentence"),
    [
        (
            lambda r: plots.components(r, features=["eruptions", "height"]),
            bg.DataError,
            "no feature is called 'height'",
        ),
        (lambda r: plots.components(r, features="waiting"), bg.DataError, "shows 2 features"),
        (lambda r: plots.membership(r, "nobody"), bg.DataError, "no row is called 'nobody'"),
        (plots.em_trace, bg.ModelError, "only a result of EM has iterations"),
        (lambda r: plots.animate_em(r, to="film.avi"), bg.DataError, ".html, .gif or .mp4"),
    ],
)
def test_what_cannot_be_drawn_is_said(call, error, sentence, two):
    with pytest.raises(error, match=sentence):
        call(two)


def test_a_point_has_no_distribution_of_memberships(point):
    with pytest.raises(bg.ModelError, match="without a distribution"):
        plots.membership(point, 0)


def test_a_pairs_plot_needs_two_features(one_feature):
    with pytest.raises(bg.DataError, match="at least two features"):
        plots.pairs(one_feature)


def test_em_is_animated_from_a_start_far_from_its_fit(two, tmp_path):
    figure = plots.animate_em(two, seed=3, to=tmp_path / "em.html")
    assert len(figure.frames) > 5
    first, last = (np.array(figure.frames[at].data[1].x) for at in (0, -1))
    assert abs(first.mean() - last.mean()) > 0.1
    page = (tmp_path / "em.html").read_text()
    assert "<script src" not in page
    assert "Play" in page


@pytest.mark.parametrize("which", ["two", "one_feature"])
def test_draws_are_animated(which, request, tmp_path):
    result = request.getfixturevalue(which)
    figure = plots.animate_posterior(result, to=tmp_path / "draws.gif")
    assert len(figure.frames) == 60
    assert (tmp_path / "draws.gif").read_bytes()[:3] == b"GIF"


def test_a_point_estimate_has_no_draws_to_animate(em_result, tmp_path):
    with pytest.raises(bg.ModelError, match="has no draws to show"):
        plots.animate_posterior(em_result, to=tmp_path / "draws.gif")
    assert not list(tmp_path.iterdir())


def test_a_film_in_mp4_needs_ffmpeg_and_says_so(one_feature, tmp_path, monkeypatch):
    monkeypatch.setattr("matplotlib.animation.writers.is_available", lambda name: name != "ffmpeg")
    with pytest.raises(bg.DataError, match=r"needs ffmpeg, which is not installed; write .gif or .html"):
        plots.animate_posterior(one_feature, to=tmp_path / "draws.mp4")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
def test_draws_are_filmed(one_feature, tmp_path):
    plots.animate_posterior(one_feature, to=tmp_path / "draws.mp4")
    assert (tmp_path / "draws.mp4").read_bytes()[4:8] == b"ftyp"


def test_no_plotting_library_is_imported_with_the_package():
    import subprocess
    import sys

    code = "import sys, bayesgmm; print([m for m in ('matplotlib', 'plotly', 'arviz_plots') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
