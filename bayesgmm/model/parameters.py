"""Parameters of a Gaussian mixture: one value, or a grid of values such as chains x draws."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float

from bayesgmm.data.doubles import read_only

CovarianceType = Literal["full", "tied", "diag", "spherical"]
COVARIANCE_TYPES: tuple[CovarianceType, ...] = ("full", "tied", "diag", "spherical")

#: The dims of each array beside those of the grid, in ArviZ's words.
PARAMETER_DIMS = {
    "weights": ("component",),
    "means": ("component", "feature"),
    "covariances": ("component", "feature", "feature_bis"),
}


@dataclass(frozen=True, slots=True, eq=False)
class MixtureParameters:
    """Weights, means and covariances of one mixture, or of a grid of mixtures.

    Attributes
    ----------
    weights : array (*grid, k)
        Share of each component; they sum to one.
    means : array (*grid, k, d)
        In the units of the data.
    covariances : array (*grid, k, d, d)
        Written out in full whatever the covariance type, in squared units of the data.

    Examples
    --------
    >>> import numpy as np
    >>> from bayesgmm import MixtureParameters
    >>> two = MixtureParameters(np.array([.3, .7]), np.array([[0.], [5.]]), np.ones((2, 1, 1)))
    >>> two.permuted([1, 0]).means.ravel()
    array([5., 0.])
    """

    weights: Float[np.ndarray, "*grid k"]
    means: Float[np.ndarray, "*grid k d"]
    covariances: Float[np.ndarray, "*grid k d d"]

    @property
    def grid(self) -> tuple[int, ...]:
        """Shape of the grid: () for one value, (chain, draw) for draws."""
        return self.weights.shape[:-1]

    @property
    def n_components(self) -> int:
        """Number of components, k."""
        return self.weights.shape[-1]

    @property
    def n_features(self) -> int:
        """Number of features, d."""
        return self.means.shape[-1]

    @property
    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Weights, means and covariances."""
        return self.weights, self.means, self.covariances

    def frozen(self) -> MixtureParameters:
        """Return the same values, not to be written to."""
        return MixtureParameters(*map(read_only, self.arrays))

    def writable(self) -> MixtureParameters:
        """Return the same values, as compiled loops take them: frozen ones are copied."""
        return MixtureParameters(*(a if a.flags.writeable else a.copy() for a in self.arrays))

    def __getitem__(self, at: Any) -> MixtureParameters:
        """Index the grid (never the components)."""
        if not self.grid:
            raise IndexError("these parameters are one value, not a grid: there is nothing to index")
        index = (*at, ...) if isinstance(at, tuple) else (at, ...)
        trailing = ((slice(None),) * n for n in (1, 2, 3))
        return MixtureParameters(*(a[*index, *t] for a, t in zip(self.arrays, trailing, strict=True)))

    def reshaped(self, grid: tuple[int, ...]) -> MixtureParameters:
        """Return the same values on a grid of another shape."""
        return MixtureParameters(
            *(a.reshape(*grid, *a.shape[-n:]) for a, n in zip(self.arrays, (1, 2, 3), strict=True))
        )

    def permuted(self, order: Any) -> MixtureParameters:
        """Reorder the components: new component j is old component ``order[..., j]``.

        Parameters
        ----------
        order : int array (k,) or (*grid, k)
            One permutation for all, or one for each value of the grid.
        """
        order = np.broadcast_to(np.asarray(order, dtype=np.intp), self.weights.shape)
        return MixtureParameters(
            np.take_along_axis(self.weights, order, -1),
            np.take_along_axis(self.means, order[..., None], -2),
            np.take_along_axis(self.covariances, order[..., None, None], -3),
        )

    def moved(self, origin: Float[np.ndarray, " d"], unit: Float[np.ndarray, " d"]) -> MixtureParameters:
        """Return the parameters of ``(x - origin) / unit`` if these are those of ``x``."""
        return MixtureParameters(
            self.weights, (self.means - origin) / unit, self.covariances / np.multiply.outer(unit, unit)
        )

    def moved_back(self, origin: Float[np.ndarray, " d"], unit: Float[np.ndarray, " d"]) -> MixtureParameters:
        """Undo `moved`."""
        return MixtureParameters(
            self.weights, self.means * unit + origin, self.covariances * np.multiply.outer(unit, unit)
        )


@dataclass(frozen=True, slots=True, eq=False)
class Optima:
    """Distinct local maxima that EM climbed to, and where starts stood whose climb was cut short; best first.

    Attributes
    ----------
    parameters : MixtureParameters
        Grid (optimum,); each aligned to the labels of the first.
    log_posterior : array (optimum,)
        In nats; the log-likelihood where the prior is flat.
    basin_share : array (optimum,)
        Share of the starts that ended there; 0 where only splits and merges of what they found, or draws, led there.
    spurious : bool array (optimum,)
        Whether, under the flat prior, a component rests on so few rows that its likelihood
        says nothing; such optima come last.
    dropped : int
        Number of starts that ended in a degenerate component.
    converged : bool array (optimum,), optional
        Whether each is an optimum: of one that is not the climb was cut short, by ``max_iter`` or because it was far
        below the best. All are where not given.
    by_draws : bool array (optimum,), optional
        Whether only a climb from draws led there. None are where not given.
    pivot : int
        The one that most draws are nearest to: they carry its labels.
    """

    parameters: MixtureParameters
    log_posterior: Float[np.ndarray, " optimum"]
    basin_share: Float[np.ndarray, " optimum"]
    spurious: Bool[np.ndarray, " optimum"]
    dropped: int = 0
    converged: Bool[np.ndarray, " optimum"] | None = None
    by_draws: Bool[np.ndarray, " optimum"] | None = None
    pivot: int = 0

    @property
    def is_reached(self) -> Bool[np.ndarray, " optimum"]:
        """Whether each was climbed to, and not cut short on the way."""
        return np.ones(len(self.log_posterior), bool) if self.converged is None else self.converged

    @property
    def is_by_draws(self) -> Bool[np.ndarray, " optimum"]:
        """Whether only draws led to each."""
        return np.zeros(len(self.log_posterior), bool) if self.by_draws is None else self.by_draws

    @property
    def reached(self) -> MixtureParameters:
        """Those that were climbed to; the best of all where none was."""
        return self.parameters[self.where_reached]

    @property
    def where_reached(self) -> np.ndarray:
        """Indices of `reached`."""
        at = np.flatnonzero(self.is_reached)
        return at if len(at) else np.arange(1)


#: What draws can be.
DRAW_KINDS = ("posterior", "point estimate", "Laplace approximation", "weighted-likelihood bootstrap")


@dataclass(frozen=True, slots=True, eq=False)
class Draws:
    """What an engine returns: a point estimate is one chain of one draw.

    Attributes
    ----------
    parameters : MixtureParameters
        Grid (chain, draw).
    log_posterior : array (chain, draw)
        Log prior density of (weights, means, covariances) plus log-likelihood, in nats.
    log_likelihood : array (chain, draw)
        In nats.
    optima : Optima
        What EM found before, or as, the answer; draws are relabelled to one of them.
    sample_stats : mapping of str to array (chain, draw)
        What the sampler says about each draw.
    trace : mapping of str to array (iteration, ...)
        What EM says about each iteration of its best start; empty for samplers.
    converged : bool
        Whether the engine reached its own stopping rule.
    labels : int array (chain, kept, n), optional
        Component of each row in evenly spaced draws, where a sampler was asked to keep them.
    kind : {"posterior", "point estimate", "Laplace approximation", "weighted-likelihood bootstrap"}
        What the draws are.
    facts : mapping of str to float
        What says how far an approximation can be trusted.
    """

    parameters: MixtureParameters
    log_posterior: Float[np.ndarray, "chain draw"]
    log_likelihood: Float[np.ndarray, "chain draw"]
    optima: Optima
    sample_stats: Mapping[str, np.ndarray] = field(default_factory=dict)
    trace: Mapping[str, np.ndarray] = field(default_factory=dict)
    converged: bool = True
    labels: np.ndarray | None = None
    kind: str = "posterior"
    facts: Mapping[str, float] = field(default_factory=dict)
