"""Mixtures that move: EM from a random start to its fit, and draws walking through the posterior."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from bayesgmm.answers.memberships import thinned
from bayesgmm.engines.em.em import EM
from bayesgmm.errors import DataError, ModelError
from bayesgmm.expectation.pass_over_rows import responsibilities
from bayesgmm.extras import need
from bayesgmm.fitting import fit
from bayesgmm.model.parameters import MixtureParameters
from bayesgmm.plots.canvas import INK, colour, mixed
from bayesgmm.plots.membership import sampled_rows
from bayesgmm.plots.shape import around, chosen, ellipse, marginal
from bayesgmm.results.tree import dataset, parameters_of

if TYPE_CHECKING:
    from bayesgmm.results.result import MixtureResult

#: Frames of an animation, rows in it, and milliseconds for which each frame stays.
MOST_FRAMES, MOST_POINTS, MILLISECONDS = 60, 400, 180


def animate_em(
    result: MixtureResult, *, seed: int = 0, features: Any = None, to: str | os.PathLike[str] | None = None
) -> Any:
    """Animate EM on the rows of a result, from a random start to its fit.

    Parameters
    ----------
    result : MixtureResult
        Its rows and model; EM is run anew.
    seed : int
        Of the start: as many random rows as means, the covariance of all rows for each group.
    features : str or list of str, optional
        One (curves) or two (ellipses); the first two where not given.
    to : path, optional
        A ``.html``, ``.gif`` or ``.mp4`` file (the last needs ffmpeg) to write as well.

    Returns
    -------
    plotly.graph_objects.Figure
        With a button to play it and a slider over iterations.

    Raises
    ------
    DataError
        If there are no such features, or the file cannot be written.
    """
    written, data, k = _checked(to), result.data, result.model.n_components
    rng = np.random.default_rng(seed)
    means = data.values[rng.choice(len(data), k, replace=False, p=data.sample_weight / data.total_weight)]
    spread = np.diag(data.in_units(data.origin, data.unit).moments()[1]) * data.unit**2
    start = MixtureParameters(np.full(k, 1 / k), means, np.broadcast_to(np.diag(spread), (k, *2 * spread.shape)).copy())
    run = fit(data, result.model, engine=EM(trace="parameters", n_init=1), start=start, seed=seed)
    path = parameters_of(dataset(run.tree, "trace"))
    steps = _spaced(len(path.weights))
    return _shown(Film.of(result, path[steps], [f"iteration {step}" for step in steps], features), written)


def animate_posterior(result: MixtureResult, *, features: Any = None, to: str | os.PathLike[str] | None = None) -> Any:
    """Animate draws of the posterior, relabelled, one after another.

    Parameters
    ----------
    result : MixtureResult
        With draws.
    features : str or list of str, optional
        One (curves) or two (ellipses); the first two where not given.
    to : path, optional
        A ``.html``, ``.gif`` or ``.mp4`` file (the last needs ffmpeg) to write as well.

    Returns
    -------
    plotly.graph_objects.Figure
        With a button to play it and a slider over draws.

    Raises
    ------
    DataError
        If there are no such features, or the file cannot be written.
    ModelError
        If the result is a point estimate: it has no draws.
    """
    if result.is_point:
        raise ModelError("a point estimate has no draws to show one after the other; fit with draws, or animate_em")
    written, draws = _checked(to), thinned(result.draws(), MOST_FRAMES)
    return _shown(Film.of(result, draws, [f"draw {at}" for at in range(len(draws.weights))], features), written)


def _spaced(number: int) -> np.ndarray:
    """Return the first iterations, and fewer of the later ones, where little moves."""
    if number <= MOST_FRAMES:
        return np.arange(number)
    return np.unique(np.geomspace(1, number, MOST_FRAMES).round().astype(int)) - 1


@dataclass(frozen=True, slots=True, eq=False)
class Film:
    """What moves, for whoever draws it.

    Attributes
    ----------
    lines : list of list of array (point, 2)
        Of each frame, a line for each group.
    colours : list of list of str
        Of each frame, those of the rows.
    titles : list of str
        Of each frame.
    points : array (n, 2)
        The rows; at height 0 where one feature is seen.
    names : tuple of two str
        Of the axes.
    limits : two pairs of float
        Ends of the axes.
    """

    lines: list[list[Float[np.ndarray, "point 2"]]]
    colours: list[list[str]]
    titles: list[str]
    points: Float[np.ndarray, "n 2"]
    names: tuple[str, str]
    limits: tuple[tuple[float, float], tuple[float, float]]

    @classmethod
    def of(cls, result: MixtureResult, path: MixtureParameters, titles: list[str], features: Any) -> Film:
        """Take a frame at each point of a path."""
        names = result.data.features
        at = chosen(result, names[:2] if features is None else features)
        if len(at) > 2:
            raise DataError(f"an animation shows one feature or two, got {features}")
        rows, _ = sampled_rows(result, None, MOST_POINTS)
        seen, kind = path.moved(rows.origin, rows.unit), result.model.covariance_type
        colours = [mixed(responsibilities(seen[step], rows, kind).T) for step in range(len(titles))]
        x = rows.values[:, at[0]]
        if len(at) == 2:
            lines = [
                [
                    ellipse(mean, covariance, at[0], at[1], 0.9)
                    for mean, covariance in zip(*point.arrays[1:], strict=True)
                ]
                for point in map(path.__getitem__, range(len(titles)))
            ]
            points = rows.values[:, at]
            height = _widened(points[:, 1])
        else:
            grid = around(x)
            lines = [[np.stack([grid, each], axis=1) for each in groups] for groups in marginal(path, at[0], grid)]
            points = np.stack([x, np.zeros(len(x))], axis=1)
            top = float(np.quantile([line[:, 1].max() for frame in lines for line in frame], 0.99))
            height = -0.03 * top, 1.1 * top
        axes = names[at[0]], names[at[1]] if len(at) == 2 else "density"
        return cls(lines, colours, titles, points, axes, (_widened(x), height))

    def plotly(self) -> Any:
        """Return the film as a figure with a play button and a slider."""
        from plotly import graph_objects as go

        def traces(at: int) -> list[Any]:
            marker = {"color": self.colours[at], "size": 7, "line": {"width": 0.4, "color": INK}}
            x, y = self.points.T
            rows = go.Scatter(x=x, y=y, mode="markers", marker=marker, name="rows", showlegend=False)
            style = [{"color": colour(c), "width": 3} for c in range(len(self.lines[at]))]
            lines = [
                go.Scatter(x=line[:, 0], y=line[:, 1], mode="lines", line=style[c], name=f"group {c}")
                for c, line in enumerate(self.lines[at])
            ]
            return [rows, *lines]

        frames = [go.Frame(data=traces(i), name=str(i), layout={"title": title}) for i, title in enumerate(self.titles)]
        play = {
            "frame": {"duration": MILLISECONDS, "redraw": False}, "transition": {"duration": 0}, "fromcurrent": True
        }  # fmt: skip
        still = {"frame": {"duration": 0, "redraw": False}, "mode": "immediate"}
        buttons = [
            {"label": "Play", "method": "animate", "args": [None, play]},
            {"label": "Pause", "method": "animate", "args": [[None], still]},
        ]
        steps = [{"label": t, "method": "animate", "args": [[str(i)], still]} for i, t in enumerate(self.titles)]
        figure = go.Figure(data=traces(0), frames=frames)
        return figure.update_layout(
            template="plotly_white",
            title=self.titles[0],
            xaxis={"title": self.names[0], "range": self.limits[0]},
            yaxis={"title": self.names[1], "range": self.limits[1]},
            updatemenus=[{"type": "buttons", "buttons": buttons, "direction": "left", "x": 0, "y": 1.18}],
            sliders=[{"steps": steps, "currentvalue": {"visible": False}, "pad": {"t": 45}}],
        )

    def write(self, to: Path) -> None:
        """Write the film by Matplotlib."""
        from matplotlib.animation import FuncAnimation
        from matplotlib.figure import Figure

        drawn = Figure(figsize=(6, 4.2), layout="constrained")
        axes: Any = drawn.subplots()

        def show(at: int) -> list[Any]:
            axes.clear()
            axes.scatter(*self.points.T, c=self.colours[at], s=18, edgecolors=INK, linewidths=0.3)
            for c, line in enumerate(self.lines[at]):
                axes.plot(line[:, 0], line[:, 1], color=colour(c), linewidth=2.5)
            x, y = self.limits
            axes.set(xlim=x, ylim=y, title=self.titles[at], xlabel=self.names[0], ylabel=self.names[1])
            return []

        number = len(self.titles)
        moving = FuncAnimation(drawn, show, frames=number, interval=MILLISECONDS)  # pyright: ignore[reportArgumentType]
        moving.save(to, writer="pillow" if to.suffix == ".gif" else "ffmpeg", dpi=90)


def _widened(x: Float[np.ndarray, " n"]) -> tuple[float, float]:
    """Return ends of an axis a little beyond the values."""
    margin = 0.12 * np.ptp(x)
    return float(x.min() - margin), float(x.max() + margin)


def _checked(to: str | os.PathLike[str] | None) -> Path | None:
    """Refuse, before anything is computed, a film that cannot be made, and a file that cannot be written."""
    need("an animation", "plots", "plotly")
    if to is None:
        return None
    path = Path(to)
    if path.suffix not in (".html", ".gif", ".mp4"):
        raise DataError(f"an animation is written to .html, .gif or .mp4, got {str(path)!r}")
    if path.suffix != ".html":
        need(f"a film in {path.suffix}", "plots", "matplotlib")
    if path.suffix == ".mp4":
        from matplotlib.animation import writers

        if not writers.is_available("ffmpeg"):
            raise DataError("a film in .mp4 needs ffmpeg, which is not installed; write .gif or .html")
    return path


def _shown(film: Film, path: Path | None) -> Any:
    """Return the figure, and write the film as well: HTML by Plotly, others by Matplotlib."""
    figure = film.plotly()
    if path is not None and path.suffix == ".html":
        figure.write_html(path, include_plotlyjs=True, auto_play=False)
    elif path is not None:
        film.write(path)
    return figure
