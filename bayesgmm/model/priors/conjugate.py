"""The conjugate prior: Dirichlet weights, normal-inverse-Wishart means and covariances."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float

from bayesgmm.arguments import one_of, whole_number
from bayesgmm.data import Rows, rows_of
from bayesgmm.data.statistics import SufficientStatistics
from bayesgmm.errors import DataError, ModelError
from bayesgmm.model import covariance as cov
from bayesgmm.model.parameters import COVARIANCE_TYPES, CovarianceType, MixtureParameters
from bayesgmm.model.priors import densities
from bayesgmm.model.priors import hyperparameters as hyper
from bayesgmm.model.priors.compiled import drawn_given, log_density_but_constant, mode_given, no_rows


@dataclass(frozen=True, slots=True, eq=False)
class ConjugatePrior:
    """Weights ~ Dirichlet; covariance ~ InverseWishart(dof, scale); mean ~ Normal(loc, covariance / shrinkage).

    Every hyperparameter is given once for all components or per component. Updated by
    sufficient statistics it is the posterior given the labels, again a conjugate prior.

    Attributes
    ----------
    concentration : float or array (k,)
        Of the Dirichlet distribution; 1 is uniform over the simplex.
    loc : float or array (d,) or (k, d)
        Prior mean of the means, in data units.
    shrinkage : float or array (k,)
        How many rows the prior of a mean is worth.
    dof : float or array (k,)
        Degrees of freedom, above d - 1.
    scale : float or array (d,), (d, d) or (k, d, d)
        Scale matrix, in squared data units. Diagonal covariances take its diagonal as d
        scales of one dimension, spherical ones the mean of its diagonal
        (Fraley & Raftery 2007, table 1).
    covariance_type : {"full", "tied", "diag", "spherical"}
        Set when a model binds the prior.

    References
    ----------
    Fraley, C. & Raftery, A. E. (2007). Bayesian regularization for normal mixture estimation and
    model-based clustering. Journal of Classification 24, 155-181. doi:10.1007/s00357-007-0004-5

    Examples
    --------
    >>> import bayesgmm as bg
    >>> prior = bg.ConjugatePrior.from_data(bg.datasets.load_faithful(), 2)
    >>> prior.dof
    array([4., 4.])
    """

    concentration: Any
    loc: Any
    shrinkage: Any
    dof: Any
    scale: Any
    covariance_type: CovarianceType = "full"

    @classmethod
    def from_data(
        cls,
        data: Any,
        n_components: int,
        covariance_type: CovarianceType = "full",
        *,
        concentration: Any = 1.0,
        shrinkage: Any = 0.01,
        dof: Any = None,
    ) -> ConjugatePrior:
        """Return the weakly informative prior whose location and scale are those of the data.

        ``dof`` is d + 2 where not given, the scale the sample covariance over ``n_components ** (2 / d)``.

        Raises
        ------
        DataError
            If the sample covariance is singular, and the covariance type needs it.
        ModelError
            If a hyperparameter does not fit.
        """
        whole_number(n_components, "n_components", 1)
        one_of(covariance_type, "covariance_type", COVARIANCE_TYPES)
        data = rows_of(data).standardised()
        d = data.n_features
        _, sample = data.moments()
        if cov.is_diagonal(covariance_type):
            sample = sample * np.eye(d)
        else:
            refuse_collinear(sample, data)
        scale = sample * np.multiply.outer(data.unit, data.unit) / n_components ** (2 / d)
        dof = d + 2 if dof is None else dof
        return cls(concentration, data.origin, shrinkage, dof, scale).bound(n_components, d, covariance_type)

    @classmethod
    def flat(cls, n_components: int, n_features: int, covariance_type: CovarianceType) -> ConjugatePrior:
        """Return the improper prior of density one, under which the mode is the maximum of the likelihood."""
        k, d = n_components, n_features
        dof = -(cov.block_size(covariance_type, d) + 1 + cov.normals_per_block(covariance_type, k, d))
        return cls(
            np.ones(k), np.zeros((k, d)), np.zeros(k), np.full(k, float(dof)), np.zeros((k, d, d)), covariance_type
        )

    def bound(self, k: int, d: int, covariance_type: CovarianceType) -> ConjugatePrior:
        """Return the prior with every hyperparameter written out for k components of d features."""
        p = cov.block_size(covariance_type, d)
        bound = ConjugatePrior(
            hyper.per_component(self.concentration, "concentration", k, 0.0),
            hyper.per_feature(self.loc, "loc", k, d),
            hyper.per_component(self.shrinkage, "shrinkage", k, 0.0),
            hyper.per_component(self.dof, "dof", k, p - 1.0),
            hyper.scales(self.scale, k, d, covariance_type),
            covariance_type,
        )
        hyper.refuse_unequal(covariance_type, dof=bound.dof, scale=bound.scale)
        return bound

    @property
    def is_proper(self) -> bool:
        """Whether the density integrates to one (the flat prior does not)."""
        return min(np.ravel(self.shrinkage).tolist()) > 0

    def in_units(self, origin: Float[np.ndarray, " d"], unit: Float[np.ndarray, " d"]) -> ConjugatePrior:
        """Return the prior of the parameters of ``(x - origin) / unit``."""
        return replace(self, loc=(self.loc - origin) / unit, scale=self.scale / np.multiply.outer(unit, unit))

    def updated(self, stats: SufficientStatistics) -> ConjugatePrior:
        """Return the posterior given labels, or expected labels, summed up in ``stats``."""
        kind, d = self.covariance_type, stats.about.shape[-1]
        shrinkage = self.shrinkage + stats.counts
        prior_shift = self.loc - stats.about
        pull = stats.first + self.shrinkage[..., None] * prior_shift
        # 0 / 0 only for an empty component under the flat prior, which stays where it is.
        shift = np.divide(pull, shrinkage[..., None], out=np.zeros_like(pull), where=shrinkage[..., None] > 0)
        scatter = stats.second + _outer(prior_shift, self.shrinkage) - _outer(shift, shrinkage)
        return ConjugatePrior(
            self.concentration + stats.counts,
            stats.about + shift,
            shrinkage,
            self.dof + cov.pooled_counts(stats.counts, kind, d),
            self.scale + cov.pooled(scatter, kind),
            kind,
        )

    def mode(self) -> MixtureParameters:
        """Return the joint mode of weights, means and covariances.

        Weights whose concentration is at most 1 are clipped to 0.
        """
        grid = self.concentration.shape[:-1]
        if not grid:
            return mode_given(self, no_rows(self))
        each = [self._at(at).mode() for at in np.ndindex(grid)]
        stacked = MixtureParameters(*(np.stack(arrays) for arrays in zip(*(one.arrays for one in each), strict=True)))
        return stacked.reshaped(grid)

    def _at(self, index: tuple[int, ...]) -> ConjugatePrior:
        """Return one prior of a grid of them."""
        names = ("concentration", "loc", "shrinkage", "dof", "scale")
        return replace(self, **{name: getattr(self, name)[index] for name in names})

    def sample(self, rng: np.random.Generator) -> MixtureParameters:
        """Draw weights, means and covariances."""
        _refuse_improper(self)
        return drawn_given(self, no_rows(self), rng)

    @property
    def log_constant(self) -> float:
        """Log of the normalising constant, which the compiled loops leave out of the log density."""
        d, kind = self.loc.shape[-1], self.covariance_type
        constant = densities.log_dirichlet_constant(self.concentration)
        constant += d / 2 * (np.log(self.shrinkage) - np.log(2 * np.pi)).sum()
        constant += densities.log_wishart_constant(cov.per_block(self.dof, kind, d), cov.blocks(self.scale, kind)).sum()
        return float(constant)

    def log_density(self, parameters: MixtureParameters) -> np.ndarray | np.floating:
        """Return the log density of weights, means and (free) covariances; 0 under the flat prior."""
        if not self.is_proper:
            return np.zeros(parameters.grid)
        return log_density_but_constant(self, parameters) + self.log_constant


def _outer(vector: Float[np.ndarray, "*#grid k d"], factor: Float[np.ndarray, "*#grid k"]) -> np.ndarray:
    return (factor[..., None] * vector)[..., None] * vector[..., None, :]


def _refuse_improper(prior: ConjugatePrior) -> None:
    if not prior.is_proper:
        raise ModelError("the flat prior is improper: nothing can be drawn from it; give a proper prior")


def refuse_collinear(sample: Float[np.ndarray, "d d"], data: Rows) -> None:
    """Refuse a sample covariance, in standard units, that is singular to rounding."""
    values, vectors = np.linalg.eigh(sample)
    if values[0] > 1e-13 * len(values):
        return
    heavy = np.flatnonzero(np.abs(vectors[:, 0]) > 0.1 * np.abs(vectors[:, 0]).max())
    names = ", ".join(repr(data.features[j]) for j in heavy[:5])
    raise DataError(
        f"`data` has a singular covariance: column(s) {names} are linear combinations of each other over "
        f"{len(data)} rows; drop one, add rows, or use covariance_type='diag' or 'spherical'"
    )
