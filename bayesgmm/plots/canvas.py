"""Panels that Matplotlib and Plotly draw alike, through ArviZ's backends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from bayesgmm.arguments import one_of
from bayesgmm.extras import has, need

type Backend = Literal["matplotlib", "plotly", "none"]

#: Okabe & Ito's colours, told apart by the colour-blind; their greys differ, too.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#999933", "#882255")
INK = "#222222"
#: Markers and dashes that tell components apart in black and white.
MARKERS = {
    "matplotlib": "osD^vPX*",
    "plotly": ("circle", "square", "diamond", "triangle-up", "triangle-down", "cross", "x", "star"),
}
DASHES = {"matplotlib": ("-", "--", "-.", ":"), "plotly": ("solid", "dash", "dashdot", "dot")}
#: Inches of a panel.
WIDTH, HEIGHT, DOTS = 4.6, 3.6, 100
#: Rows that are drawn; of more a sample is, and the title says so.
MOST_ROWS = 2000


def colour(component: int) -> str:
    """Return the colour of a component."""
    return COLOURS[component % len(COLOURS)]


def mixed(probability: Float[np.ndarray, "n k"]) -> list[str]:
    """Return the colour of each row: those of the components, in proportion to its memberships."""
    channels = np.array([[int(colour(c)[i : i + 2], 16) for i in (1, 3, 5)] for c in range(probability.shape[1])])
    return ["#{:02x}{:02x}{:02x}".format(*(int(v) for v in row)) for row in (probability @ channels).round()]


def interface(backend: str) -> Any:
    """Return ArviZ's functions that draw with a backend.

    Raises
    ------
    ModelError
        If figures are not drawn with it.
    """
    one_of(backend, "backend", ("matplotlib", "plotly", "none"))
    if backend != "none":
        need(f"backend={backend!r}", "plots", backend)
    if backend == "matplotlib":
        from arviz_plots.backend import matplotlib as found
    elif backend == "plotly":
        from arviz_plots.backend import plotly as found
    else:
        from arviz_plots.backend import none as found
    return found


@dataclass(frozen=True, slots=True)
class Panel:
    """One pair of axes.

    Attributes
    ----------
    backend : str
        Name of ArviZ's backend.
    target : object
        What it draws on.
    """

    backend: str
    target: Any

    @property
    def _draw(self) -> Any:
        return interface(self.backend)

    def line(self, x: Any, y: Any, component: int | None = None, **style: Any) -> None:
        """Draw a line, in the colour and dash of a component."""
        chosen: dict[str, Any] = {"color": INK if component is None else colour(component), "width": 1.5}
        if component is not None and self.backend in DASHES:
            chosen["linestyle"] = DASHES[self.backend][component % 4]
        if self.backend == "matplotlib":
            chosen["zorder"] = 3  # Above points, as Plotly draws it.
        self._draw.line(np.asarray(x), np.asarray(y), self.target, **{**chosen, **style})

    def lines(self, x: Any, y: Any, component: int | None = None, **style: Any) -> None:
        """Draw several lines (line, point) as one with gaps, for hundreds of lines make a figure slow."""
        gap = np.full((len(x), 1), np.nan)
        self.line(np.hstack([x, gap]).ravel(), np.hstack([y, gap]).ravel(), component, **style)

    def connected(self, x: Any, y: Any, component: int | None = None) -> None:
        """Draw points and the line through them."""
        self.line(x, y, component)
        self.points(x, y, component)

    def points(self, x: Any, y: Any, component: int | None = None, **style: Any) -> None:
        """Draw points, in the colour and marker of a component."""
        chosen: dict[str, Any] = {"size": 22, "width": 0.3}
        if "facecolor" not in style:
            chosen["color"] = INK if component is None else colour(component)
        else:
            chosen["edgecolor"] = INK
        if component is not None and self.backend in MARKERS:
            chosen["marker"] = MARKERS[self.backend][component % 8]
        self._draw.scatter(np.asarray(x), np.asarray(y), self.target, **{**chosen, **style})

    def band(self, x: Any, low: Any, high: Any, component: int | None = None, alpha: float = 0.25) -> None:
        """Fill what lies between two curves."""
        filled = INK if component is None else colour(component)
        self._draw.fill_between_y(
            np.asarray(x), np.asarray(low), np.asarray(high), self.target, color=filled, alpha=alpha
        )

    def bars(self, edges: Any, heights: Any, component: int | None = None, alpha: float = 0.4) -> None:
        """Fill a histogram."""
        x = np.repeat(np.asarray(edges), 2)[1:-1]
        y = np.repeat(np.asarray(heights), 2)
        self.band(x, np.zeros_like(y), y, component, alpha)

    def image(self, values: Float[np.ndarray, "n n"], low: float, high: float) -> None:
        """Draw a matrix as shades, its first row on top."""
        if self.backend == "matplotlib":
            shown = self.target.imshow(values, vmin=low, vmax=high, cmap="cividis", interpolation="nearest")
            self.target.figure.colorbar(shown, ax=self.target, shrink=0.8)
        elif self.backend == "plotly":
            from plotly import graph_objects

            self.target.add_trace(
                graph_objects.Heatmap(z=values.astype(np.float32), zmin=low, zmax=high, colorscale="Cividis")
            )
            self.limits(y=(len(values) - 0.5, -0.5))

    def labels(self, title: str = "", x: str = "", y: str = "") -> None:
        """Write the title, if there is one, and what the axes are."""
        if title:
            lines = title.replace("\n", "<br>") if self.backend == "plotly" else title
            self._draw.title(lines, self.target, size=13, color=INK)
        self._draw.xlabel(x, self.target, size=12, color=INK)
        self._draw.ylabel(y, self.target, size=12, color=INK)

    def limits(self, x: tuple[float, float] | None = None, y: tuple[float, float] | None = None) -> None:
        """Set where axes begin and end."""
        if x is not None:
            self._draw.xlim(x, self.target)
        if y is not None:
            self._draw.ylim(y, self.target)

    def y_ticks(self, at: Any, words: Sequence[str]) -> None:
        """Name places on the vertical axis."""
        self._draw.yticks(np.asarray(at), list(words), self.target)

    def off(self) -> None:
        """Leave the panel empty."""
        self._draw.remove_axis(self.target, axis="both")


@dataclass(frozen=True, slots=True)
class Canvas:
    """A figure.

    Attributes
    ----------
    collection : arviz_plots.PlotCollection
        What plots return.
    backend : str
        Name of ArviZ's backend.
    panels : list of Panel
        Row by row.
    """

    collection: Any
    backend: str
    panels: list[Panel]

    @classmethod
    def of(cls, rows: int, columns: int, backend: Backend | None, components: int = 0, width: float = WIDTH) -> Canvas:
        """Return an empty figure; with ``components``, a legend of so many can be added."""
        import xarray as xr
        from arviz_base import rcParams
        from arviz_plots.plot_collection import PlotCollection

        chosen = backend or rcParams["plot.backend"]
        dims, coords = ["row", "column"], {"row": range(rows), "column": range(columns)}
        styles: dict[str, Any] = {}
        if components:
            dims, coords["component"] = [*dims, "component"], range(components)
            styles = {"aes": {"color": ["component"]}, "color": [colour(c) for c in range(components)]}
        if backend is None and not (has("matplotlib") or has("plotly")):
            need("a figure", "plots", "matplotlib")  # ArviZ would draw nothing, and not say so.
        interface(chosen)
        held = xr.Dataset(
            {"panel": (dims, np.zeros([len(coords[d]) for d in dims]))}, {d: list(c) for d, c in coords.items()}
        )
        size: dict[str, Any] = {"figsize": (DOTS * width * columns, DOTS * HEIGHT * rows), "figsize_units": "dots"}
        if chosen == "matplotlib":
            size["layout"] = "constrained"
        collection = PlotCollection.grid(
            held, rows=["row"], cols=["column"], backend=chosen, figure_kwargs=size, **styles
        )
        if chosen == "plotly":
            collection.viz["figure"].item().update_layout(template="plotly_white")
        each = [collection.get_target("panel", {"row": i, "column": j}) for i in range(rows) for j in range(columns)]
        return cls(collection, chosen, [Panel(chosen, target) for target in each])

    def legend(self) -> None:
        """Say which colour is which component."""
        if self.backend == "matplotlib":
            self.collection.add_legend("component", title="group", loc="outside right upper")
        elif self.backend == "plotly":
            self.collection.add_legend("component", title="group")
