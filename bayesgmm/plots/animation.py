"""Mixtures that move: EM from a random start to its fit, and draws walking through the posterior."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesgmm.em import EM
from bayesgmm.errors import DataError
from bayesgmm.estep import responsibilities
from bayesgmm.fitting import fit
from bayesgmm.memberships import thinned
from bayesgmm.parameters import MixtureParameters
from bayesgmm.plots.canvas import INK, colour, mixed
from bayesgmm.plots.membership import sampled_rows
from bayesgmm.plots.shape import POINTS, chosen, ellipse, in_units, marginal
from bayesgmm.schema import dataset, parameters_of

if TYPE_CHECKING:
    from bayesgmm.data import Observations
    from bayesgmm.result import MixtureResult

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
        If there are no such features.
    """
    data, k = result.data, result.model.n_components
    rng = np.random.default_rng(seed)
    means = data.values[rng.choice(len(data), k, replace=False, p=data.sample_weight / data.total_weight)]
    spread = np.diag(data.in_units(data.origin, data.unit).moments()[1]) * data.unit**2
    start = MixtureParameters(np.full(k, 1 / k), means, np.broadcast_to(np.diag(spread), (k, *2 * spread.shape)).copy())
    run = fit(data, result.model, engine=EM(trace="parameters", n_init=1), start=start, seed=seed)
    path = parameters_of(dataset(run.tree, "trace"))
    steps = _spaced(len(path.weights))
    titles = [f"iteration {step}" for step in steps]
    return _animated(result, path[steps], titles, features, to)


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
        If there are no such features.
    """
    draws = thinned(in_units(result, MOST_FRAMES), MOST_FRAMES)
    return _animated(result, draws, [f"draw {at}" for at in range(len(draws.weights))], features, to)


def _spaced(number: int) -> np.ndarray:
    """Return the first iterations, and fewer of the later ones, where little moves."""
    if number <= MOST_FRAMES:
        return np.arange(number)
    return np.unique(np.geomspace(1, number, MOST_FRAMES).round().astype(int)) - 1


def _animated(result: MixtureResult, path: MixtureParameters, titles: list[str], features: Any, to: Any) -> Any:
    wanted = features if features is not None else list(result.data.features[:2])
    at = chosen(result, wanted)
    if len(at) > 2:
        raise DataError(f"an animation shows one feature or two, got {wanted}")
    rows, _ = sampled_rows(result, None, MOST_POINTS)
    frames = [_frame(result, path[step], rows, at) for step in range(len(path.weights))]
    figure = _plotly(frames, titles, [result.data.features[j] for j in at], rows.values[:, at])
    if to is not None:
        _write(figure, frames, titles, [result.data.features[j] for j in at], rows.values[:, at], Path(to))
    return figure


def _frame(result: MixtureResult, point: MixtureParameters, rows: Observations, at: list[int]) -> dict[str, Any]:
    """Return what is seen of one mixture: a line for each group, and the rows in the colours of their memberships."""
    data = result.data
    r = responsibilities(point.moved(data.origin, data.unit), rows, result.model.covariance_type)
    k = len(point.weights)
    if len(at) == 2:
        lines = [ellipse(point.means[c], point.covariances[c], at[0], at[1], 0.9) for c in range(k)]
        y = rows.values[:, at[1]]
    else:
        x = rows.values[:, at[0]]
        grid = np.linspace(x.min() - 0.1 * np.ptp(x), x.max() + 0.1 * np.ptp(x), POINTS)
        each = marginal(point.reshaped((1,)), at[0], grid)[0]
        lines = [np.stack([grid, density], axis=1) for density in each]
        y = np.zeros(len(x))
    return {"lines": lines, "x": rows.values[:, at[0]], "y": y, "colours": mixed(r.T)}


def _plotly(frames: list[dict[str, Any]], titles: list[str], names: list[str], seen: np.ndarray) -> Any:
    from plotly import graph_objects as go

    def traces(frame: dict[str, Any]) -> list[Any]:
        marker = {"color": frame["colours"], "size": 7, "line": {"width": 0.4, "color": INK}}
        rows = go.Scatter(x=frame["x"], y=frame["y"], mode="markers", marker=marker, name="rows", showlegend=False)
        lines = [
            go.Scatter(
                x=line[:, 0], y=line[:, 1], mode="lines", line={"color": colour(c), "width": 3}, name=f"group {c}"
            )
            for c, line in enumerate(frame["lines"])
        ]
        return [rows, *lines]

    figure = go.Figure(
        data=traces(frames[0]),
        frames=[go.Frame(data=traces(f), name=str(i), layout={"title": titles[i]}) for i, f in enumerate(frames)],
    )
    play = {"frame": {"duration": MILLISECONDS, "redraw": False}, "transition": {"duration": 0}, "fromcurrent": True}
    still = {"frame": {"duration": 0, "redraw": False}, "mode": "immediate"}
    buttons = [
        {"label": "Play", "method": "animate", "args": [None, play]},
        {"label": "Pause", "method": "animate", "args": [[None], still]},
    ]
    steps = [{"label": t, "method": "animate", "args": [[str(i)], still]} for i, t in enumerate(titles)]
    x, y = _limits(frames, seen)
    figure.update_layout(
        template="plotly_white",
        title=titles[0],
        xaxis={"title": names[0], "range": x},
        yaxis={"title": names[1] if len(names) == 2 else "density", "range": y},
        updatemenus=[{"type": "buttons", "buttons": buttons, "direction": "left", "x": 0, "y": 1.18}],
        sliders=[{"steps": steps, "currentvalue": {"visible": False}, "pad": {"t": 45}}],
    )
    return figure


def _limits(frames: list[dict[str, Any]], seen: np.ndarray) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the ranges of the axes: the rows', or from 0 to the highest density."""
    low, high = seen.min(axis=0), seen.max(axis=0)
    margin = 0.12 * (high - low)
    x = float(low[0] - margin[0]), float(high[0] + margin[0])
    if seen.shape[1] == 2:
        return x, (float(low[1] - margin[1]), float(high[1] + margin[1]))
    top = np.quantile([line[:, 1].max() for frame in frames for line in frame["lines"]], 0.99)
    return x, (-0.03 * float(top), 1.1 * float(top))


def _write(figure: Any, frames: list[dict[str, Any]], titles: list[str], names: list[str], seen: Any, to: Path) -> None:
    """Write the animation: HTML by Plotly, films by Matplotlib."""
    if to.suffix == ".html":
        figure.write_html(to, include_plotlyjs=True, auto_play=False)
        return
    if to.suffix not in (".gif", ".mp4"):
        raise DataError(f"an animation is written to .html, .gif or .mp4, got {str(to)!r}")
    from matplotlib.animation import FuncAnimation
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(6, 4.2), layout="constrained")
    axes: Any = drawn.subplots()
    x, y = _limits(frames, seen)

    def show(at: int) -> list[Any]:
        axes.clear()
        frame = frames[at]
        axes.scatter(frame["x"], frame["y"], c=frame["colours"], s=18, edgecolors=INK, linewidths=0.3)
        for c, line in enumerate(frame["lines"]):
            axes.plot(line[:, 0], line[:, 1], color=colour(c), linewidth=2.5)
        axes.set(xlim=x, ylim=y, title=titles[at], xlabel=names[0], ylabel=names[1] if len(names) == 2 else "density")
        return []

    moving = FuncAnimation(drawn, show, frames=len(frames), interval=MILLISECONDS)  # pyright: ignore[reportArgumentType]
    moving.save(to, writer="pillow" if to.suffix == ".gif" else "ffmpeg", dpi=90)
