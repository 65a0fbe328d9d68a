"""The hierarchical prior, the default: covariances share a scale that is itself unknown."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float
from scipy.special import multigammaln  # pyright: ignore[reportAttributeAccessIssue]

from bayesgmm.arguments import one_of, whole_number
from bayesgmm.data import Rows, rows_of
from bayesgmm.data.frame import Frame
from bayesgmm.data.statistics import SufficientStatistics
from bayesgmm.errors import ModelError
from bayesgmm.kernels.scales import add_expected_scale, draw_scale
from bayesgmm.model import covariance as cov
from bayesgmm.model.parameters import COVARIANCE_TYPES, CovarianceType, MixtureParameters
from bayesgmm.model.priors import densities
from bayesgmm.model.priors import hyperparameters as hyper
from bayesgmm.model.priors.compiled import as_arrays, drawn_given, factors_of, log_density_but_constant, mode_given
from bayesgmm.model.priors.conjugate import refuse_collinear
from bayesgmm.model.priors.semiconjugate import SemiConjugatePrior

#: Rows in which the smallest gaps between the values of a column are sought.
ROWS_OF_GAPS = 10_000
#: Values nearer than this, relative to the largest, differ by rounding in the last digits of a double.
ROUNDING = 16 * np.finfo(float).eps
#: The floor is at least this share of a column's variance: more would spoil a table with a row 1e6 deviations off.
LEAST_FLOOR = 1e-14
#: Most scales that are drawn before a floor is said to leave none.
MOST_TRIES = 1_000_000


@dataclass(frozen=True, slots=True, eq=False)
class HierarchicalPrior:
    """Weights ~ Dirichlet; mean ~ Normal; covariance ~ InverseWishart(dof, scale + floor); scale ~ Wishart.

    All covariances share the scale, which the data tell: it need not be guessed from the spread of all rows, which is
    that of the groups' centres as well. It is integrated out, in closed form, of the density, of EM and of NUTS; Gibbs
    draws it.

    The floor is the variance that rounding leaves: each component's density has the factor
    ``exp(-trace(diag(floor) inv(covariance)) / 2)``. Without it the posterior would be improper where all groups are
    constant in a direction (a column of two values).

    Attributes
    ----------
    concentration : float or array (k,)
        Of the Dirichlet distribution.
    loc : float or array (d,) or (k, d)
        Prior mean of the means, in data units.
    loc_covariance : float or array (d,), (d, d) or (k, d, d)
        Prior covariance of the means, in squared data units.
    dof : float or array (k,)
        Degrees of freedom of the covariances, above d - 1.
    scale_dof : float
        Degrees of freedom of the scale, above d - 1.
    scale_rate : float or array (d,) or (d, d)
        Inverse of the scale matrix of the scale's Wishart distribution, in inverse squared data units: the scale is
        ``scale_dof inv(scale_rate)`` on average. Diagonal covariances have a scale for each feature and take its
        diagonal; spherical ones have a single scale and take the geometric mean of its diagonal.
    floor : float or array (d,)
        In squared data units.
    covariance_type : {"full", "tied", "diag", "spherical"}
        Set when a model binds the prior.

    References
    ----------
    Richardson, S. & Green, P. J. (1997). On Bayesian analysis of mixtures with an unknown number of components. Journal
    of the Royal Statistical Society B 59, 731-792. doi:10.1111/1467-9868.00095

    Stephens, M. (2000). Bayesian analysis of mixture models with an unknown number of components. Annals of Statistics
    28, 40-74. doi:10.1214/aos/1016120364

    Grün, B., Malsiner-Walli, G. & Frühwirth-Schnatter, S. (2022). How many data clusters are in the Galaxy data set?
    Advances in Data Analysis and Classification 16, 325-349. doi:10.1007/s11634-021-00461-8

    Examples
    --------
    >>> import bayesgmm as bg
    >>> prior = bg.HierarchicalPrior.from_data(bg.datasets.load_faithful(), 2)
    >>> prior.concentration, prior.dof, prior.scale_dof
    (array([4., 4.]), array([8., 8.]), 2.0)
    """

    concentration: Any
    loc: Any
    loc_covariance: Any
    dof: Any
    scale_dof: Any
    scale_rate: Any
    floor: Any = 0.0
    covariance_type: CovarianceType = "full"

    #: Hyperparameters that are not given per component.
    OF_ALL_COMPONENTS: ClassVar = ("scale_dof", "scale_rate", "floor")

    @classmethod
    def from_data(
        cls, data: Any, n_components: int, covariance_type: CovarianceType = "full", *, concentration: Any = 4.0
    ) -> HierarchicalPrior:
        """Return the default prior, the same for every number of components.

        With s the columns' standard deviations and p the size of a covariance block (d, or 1 for "diag" and
        "spherical"), means have the columns' means and five times s as their mean and deviations, ``dof`` is 2 p + 4,
        ``scale_dof`` p and ``scale_rate`` ``2 p / (p + 2) diag(1 / s**2)``, so that a covariance is about s**2 / 2 on
        average. The floor is the variance of rounding, h**2 / 12, with h the smallest gap between different values of
        a column (among 10,000 rows).

        Raises
        ------
        DataError
            If the sample covariance is singular, and the covariance type needs it.
        ModelError
            If a hyperparameter does not fit.
        """
        k = whole_number(n_components, "n_components", 1)
        one_of(covariance_type, "covariance_type", COVARIANCE_TYPES)
        rows = rows_of(data)
        return cls.within(rows, rows.frame(), k, covariance_type, concentration)

    @classmethod
    def within(
        cls, rows: Rows, frame: Frame, k: int, covariance_type: CovarianceType, concentration: Any = 4.0
    ) -> HierarchicalPrior:
        """Return the prior of `from_data` for rows whose frame is known."""
        d, variance = rows.n_features, frame.deviations**2
        floor = np.maximum(smallest_gaps(rows) ** 2 / 12, LEAST_FLOOR * variance)
        if not cov.is_diagonal(covariance_type):
            refuse_collinear(frame.correlations, rows)
        p = cov.block_size(covariance_type, d)
        rate = 2 * p / (p + 2) * np.diag(1 / variance)
        prior = cls(concentration, frame.origin, 25 * variance, 2.0 * p + 4, float(p), rate, floor)
        return prior.bound(k, d, covariance_type)

    @property
    def is_proper(self) -> bool:
        """Always True: every hyperparameter is checked to be positive."""
        return True

    def bound(self, k: int, d: int, covariance_type: CovarianceType) -> HierarchicalPrior:
        """Return the prior with every hyperparameter written out for k components of d features."""
        p = cov.block_size(covariance_type, d)
        rate = hyper.matrices(self.scale_rate, "scale_rate", 1, d)[0]
        if covariance_type == "spherical" and np.ptp(np.diag(rate)) > 0:
            rate = np.exp(np.log(np.diag(rate)).mean()) * np.eye(d)
        floor = hyper.per_feature(self.floor, "floor", 1, d)[0]
        if (floor < 0).any():
            raise ModelError(f"`floor` has to be at least 0, got {floor.min():g}")
        bound = HierarchicalPrior(
            hyper.per_component(self.concentration, "concentration", k, 0.0),
            hyper.per_feature(self.loc, "loc", k, d),
            hyper.matrices(self.loc_covariance, "loc_covariance", k, d),
            hyper.per_component(self.dof, "dof", k, p - 1.0),
            float(hyper.per_component(self.scale_dof, "scale_dof", 1, p - 1.0)[0]),
            rate * np.eye(d) if cov.is_diagonal(covariance_type) else rate,
            floor,
            covariance_type,
        )
        hyper.refuse_unequal(covariance_type, dof=bound.dof)
        return bound

    def in_units(self, origin: Float[np.ndarray, " d"], unit: Float[np.ndarray, " d"]) -> HierarchicalPrior:
        """Return the prior of the parameters of ``(x - origin) / unit``."""
        squares = np.multiply.outer(unit, unit)
        return replace(
            self,
            loc=(self.loc - origin) / unit,
            loc_covariance=self.loc_covariance / squares,
            scale_rate=self.scale_rate * squares,
            floor=self.floor / unit**2,
        )

    @property
    def known_scale(self) -> Float[np.ndarray, "k d d"]:
        """What is added to the unknown scale: the floor, summed over the features of spherical covariances."""
        floor = np.full_like(self.floor, self.floor.sum()) if self.covariance_type == "spherical" else self.floor
        return np.repeat(np.diag(floor)[None], len(self.concentration), axis=0)

    @property
    def expected_scale(self) -> Float[np.ndarray, "d d"]:
        """The mean of the scale, in squared data units, with the floor."""
        return self.scale_dof * np.linalg.inv(self.scale_rate) + self.known_scale[0]

    def scale_given(
        self, parameters: MixtureParameters, rng: np.random.Generator | None = None
    ) -> Float[np.ndarray, "*grid d d"]:
        """Return the scale, without the floor, at each mixture of a grid: its mean given the covariances, or a draw."""
        kind, *_, dof, _, scale_dof, scale_rate = as_arrays(self)
        factors, d = factors_of(parameters, self), len(scale_rate)
        scales = np.zeros((len(factors), d, d))
        for at, factor in enumerate(factors):
            if rng is None:
                add_expected_scale(kind, scale_dof, scale_rate, dof, factor, scales[at : at + 1])
            else:
                draw_scale(rng, kind, scale_dof, scale_rate, dof, factor, scales[at])
        if self.covariance_type == "spherical":
            scales = np.broadcast_to(scales[:, :1, :1], scales.shape)
        own = scales * np.eye(d) if cov.is_diagonal(self.covariance_type) else scales
        return own.reshape(*parameters.grid, d, d)

    def given(self, scale: Float[np.ndarray, "d d"]) -> SemiConjugatePrior:
        """Return the prior given a scale, to which the floor is added."""
        arrays = self.concentration, self.loc, self.loc_covariance, self.dof, self.known_scale + scale
        return SemiConjugatePrior(*arrays, self.covariance_type)

    def updated(self, stats: SufficientStatistics, last: MixtureParameters) -> HierarchicalPosterior:
        """Return the posterior given (expected) labels, summed up in ``stats``, and the parameters before, ``last``."""
        return HierarchicalPosterior(self, stats, last)

    def sample(self, rng: np.random.Generator) -> MixtureParameters:
        """Draw weights, means and covariances.

        Raises
        ------
        ModelError
            If the floor is so high that hardly any scale has a density.
        """
        return self.given(self._drawn_scale(rng)).sample(rng)

    def _drawn_scale(self, rng: np.random.Generator) -> Float[np.ndarray, "d d"]:
        """Draw from the Wishart distribution, kept with the probability of the floor's factor on the covariances.

        Integrated over them it is ``(|scale| / |scale + floor|) ** (sum of dof / 2)``.
        """
        blocks = cov.per_block(self.dof, self.covariance_type, 1)  # Of one feature, where each has a scale.
        root, floor = np.linalg.cholesky(np.linalg.inv(self.scale_rate)), self.known_scale[0]
        if not cov.is_diagonal(self.covariance_type):
            return _drawn_until_kept(rng, self.scale_dof, root, floor, blocks.sum())
        parts = [
            _drawn_until_kept(rng, self.scale_dof, root[[j]][:, [j]], floor[[j]][:, [j]], blocks.sum())[0, 0]
            for j in range(1 if self.covariance_type == "spherical" else len(root))
        ]
        return np.diag(np.broadcast_to(parts, (len(root),)))

    @property
    def log_constant(self) -> float:
        """Log of the normalising constant, which the compiled loops leave out of the log density."""
        kind, d = self.covariance_type, self.loc.shape[-1]
        p, blocks = cov.block_size(kind, d), cov.per_block(self.dof, kind, 1)
        rate = cov.blocks(self.scale_rate[None], kind)
        constant = densities.log_dirichlet_constant(self.concentration)
        constant += densities.log_normal_constant(self.loc_covariance).sum()
        of_one_scale = multigammaln((self.scale_dof + blocks.sum()) / 2, p) - multigammaln(self.scale_dof / 2, p)
        of_one_scale -= sum(multigammaln(dof / 2, p) for dof in blocks)
        constant += (self.scale_dof / 2 * np.linalg.slogdet(rate)[1] + of_one_scale).sum()
        return float(constant)

    def log_density(self, parameters: MixtureParameters) -> np.ndarray | np.floating:
        """Return the log density of weights, means and (free) covariances, the scale integrated out.

        Up to the constant that makes up for the floor, which is small: the log of the share of draws from the prior
        without a floor that the factor above would keep.
        """
        return log_density_but_constant(self, parameters) + self.log_constant


@dataclass(frozen=True, slots=True, eq=False)
class HierarchicalPosterior:
    """Posterior given labels under a hierarchical prior: one conditional at a time.

    For EM the scale is one more latent variable: it takes its mean given the covariances of ``last``; then covariances
    and means follow as under a semi-conjugate prior, and the log posterior, with the scale integrated out, can only
    rise. For Gibbs it is one more draw.

    Attributes
    ----------
    prior : HierarchicalPrior
        Bound to k and d.
    stats : SufficientStatistics
        About the current means.
    last : MixtureParameters
        The current parameters.
    """

    prior: HierarchicalPrior
    stats: SufficientStatistics
    last: MixtureParameters

    def mode(self) -> MixtureParameters:
        """Return the conditional maxima."""
        return mode_given(self.prior, self.stats, self.last)

    def sample(self, rng: np.random.Generator) -> MixtureParameters:
        """Draw scale, covariances, means and weights, each given those before it."""
        return drawn_given(self.prior, self.stats, rng, self.last)


def smallest_gaps(rows: Rows) -> Float[np.ndarray, " d"]:
    """Return the smallest gap between different values of each column, in data units; 0 of a column with one value.

    Of many rows a sample is looked at. What differs in the last digits of a double does not differ.
    """
    values = np.sort(rows.subsample(ROWS_OF_GAPS, np.random.default_rng(0)).values, axis=0)
    gaps = np.diff(values, axis=0)
    gaps[gaps <= ROUNDING * np.abs(values[[0, -1]]).max(axis=0)] = np.inf
    smallest = gaps.min(axis=0, initial=np.inf)
    return np.where(np.isfinite(smallest), smallest, 0.0)


def _drawn_until_kept(
    rng: np.random.Generator, dof: float, root: np.ndarray, floor: np.ndarray, power: float
) -> Float[np.ndarray, "p p"]:
    """Draw ``root A A' root'`` from a Wishart distribution until one is kept."""
    p = len(root)
    for _ in range(MOST_TRIES):
        a = np.tril(rng.standard_normal((p, p)), -1)
        a[np.arange(p), np.arange(p)] = np.sqrt(rng.chisquare(dof - np.arange(p)))
        scale = root @ a @ a.T @ root.T
        if not floor.any():
            return scale
        kept = power / 2 * (np.linalg.slogdet(scale)[1] - np.linalg.slogdet(scale + floor)[1])
        if np.log(rng.random()) < kept:
            return scale
    raise ModelError(
        f"`floor` is so high that none of {MOST_TRIES:,} scales drawn from the prior was kept; lower it or `scale_rate`"
    )
