"""The semi-conjugate prior: means independent of covariances."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float

from bayesgmm import covariance as cov
from bayesgmm.parameters import CovarianceType, MixtureParameters
from bayesgmm.priors import densities
from bayesgmm.priors import hyperparameters as hyper
from bayesgmm.priors.conjugate import mode_of_weights
from bayesgmm.suffstats import SufficientStatistics


@dataclass(frozen=True, slots=True, eq=False)
class SemiConjugatePrior:
    """Weights ~ Dirichlet; mean ~ Normal(loc, loc_covariance); covariance ~ InverseWishart(dof, scale).

    The prior of most of the literature, so that published analyses can be reproduced. Given
    labels, means and covariances are conjugate one at a time: see `SemiConjugatePosterior`.

    Attributes
    ----------
    concentration : float or array (k,)
        Of the Dirichlet distribution.
    loc : float or array (d,) or (k, d)
        Prior mean of the means, in data units.
    loc_covariance : float or array (d,), (d, d) or (k, d, d)
        Prior covariance of the means, in squared data units.
    dof : float or array (k,)
        Degrees of freedom, above d - 1.
    scale : float or array (d,), (d, d) or (k, d, d)
        Scale matrix of the covariances, in squared data units; for diagonal and spherical
        covariances as in `ConjugatePrior`.
    covariance_type : {"full", "tied", "diag", "spherical"}
        Set when a model binds the prior.

    References
    ----------
    Richardson, S. & Green, P. J. (1997). On Bayesian analysis of mixtures with an unknown number of
    components. Journal of the Royal Statistical Society B 59, 731-792. doi:10.1111/1467-9868.00095

    Examples
    --------
    >>> import bayesgmm as bg
    >>> prior = bg.SemiConjugatePrior(concentration=1, loc=20, loc_covariance=100, dof=4, scale=4)
    >>> bg.fit(bg.datasets.load_galaxies(), bg.MixtureModel(3, prior=prior), engine="em", seed=1).is_point
    True
    """

    concentration: Any
    loc: Any
    loc_covariance: Any
    dof: Any
    scale: Any
    covariance_type: CovarianceType = "full"

    @property
    def is_proper(self) -> bool:
        """Always True: every hyperparameter is checked to be positive."""
        return True

    def bound(self, k: int, d: int, covariance_type: CovarianceType) -> SemiConjugatePrior:
        """Return the prior with every hyperparameter written out for k components of d features."""
        p = cov.block_size(covariance_type, d)
        bound = SemiConjugatePrior(
            hyper.per_component(self.concentration, "concentration", k, 0.0),
            hyper.per_feature(self.loc, "loc", k, d),
            hyper.matrices(self.loc_covariance, "loc_covariance", k, d),
            hyper.per_component(self.dof, "dof", k, p - 1.0),
            hyper.scales(self.scale, k, d, covariance_type),
            covariance_type,
        )
        hyper.refuse_unequal(covariance_type, dof=bound.dof, scale=bound.scale)
        return bound

    def in_units(self, origin: Float[np.ndarray, " d"], unit: Float[np.ndarray, " d"]) -> SemiConjugatePrior:
        """Return the prior of the parameters of ``(x - origin) / unit``."""
        squares = np.multiply.outer(unit, unit)
        return replace(
            self,
            loc=(self.loc - origin) / unit,
            loc_covariance=self.loc_covariance / squares,
            scale=self.scale / squares,
        )

    def updated(self, stats: SufficientStatistics) -> SemiConjugatePosterior:
        """Return the posterior given labels, or expected labels, summed up in ``stats``."""
        return SemiConjugatePosterior(self, stats)

    def mode(self) -> MixtureParameters:
        """Return the joint mode of weights, means and covariances."""
        p = cov.block_size(self.covariance_type, self.loc.shape[-1])
        covariances = self.scale / (self.dof + p + 1)[..., None, None]
        return MixtureParameters(mode_of_weights(self.concentration), self.loc, covariances)

    def sample(self, rng: np.random.Generator) -> MixtureParameters:
        """Draw weights, means and covariances."""
        kind, (k, d) = self.covariance_type, self.loc.shape
        scale, dof = cov.blocks(self.scale, kind), cov.per_block(self.dof, kind, d)
        covariances = cov.from_blocks(densities.sample_inverse_wishart(dof, scale, rng), kind, k, d)
        means = densities.sample_normal(self.loc, self.loc_covariance, rng)
        return MixtureParameters(rng.dirichlet(self.concentration), means, covariances)

    def log_density(self, parameters: MixtureParameters) -> np.ndarray | np.floating:
        """Return the log density of weights, means and (free) covariances."""
        kind, d = self.covariance_type, parameters.n_features
        scale, dof = cov.blocks(self.scale, kind), cov.per_block(self.dof, kind, d)
        wishart = densities.log_inverse_wishart(cov.blocks(parameters.covariances, kind), dof, scale)
        normal = densities.log_normal(parameters.means - self.loc, *densities.factorised(self.loc_covariance))
        weights = densities.log_dirichlet(parameters.weights, self.concentration)
        return weights + wishart.sum(axis=-1) + normal.sum(axis=-1)


@dataclass(frozen=True, slots=True, eq=False)
class SemiConjugatePosterior:
    """Posterior given labels under a semi-conjugate prior: one conditional at a time.

    The covariances are updated given the means at which the statistics were taken
    (``stats.about``), then the means given those covariances. For EM either step can only
    raise the log posterior (expectation conditional maximisation, Meng & Rubin 1993,
    doi:10.1093/biomet/80.2.267); for Gibbs they are its two conditional draws.

    Attributes
    ----------
    prior : SemiConjugatePrior
        Bound to k and d.
    stats : SufficientStatistics
        About the current means.
    """

    prior: SemiConjugatePrior
    stats: SufficientStatistics

    @property
    def concentration(self) -> Float[np.ndarray, "*grid k"]:
        """Of the weights given the labels."""
        return self.prior.concentration + self.stats.counts

    def covariance_given_means(self) -> tuple[Float[np.ndarray, "*grid k"], Float[np.ndarray, "*grid k d d"]]:
        """Return dof and scale of the covariances, the means being ``stats.about``."""
        kind, d = self.prior.covariance_type, self.stats.about.shape[-1]
        dof = self.prior.dof + cov.pooled_counts(self.stats.counts, kind, d)
        return dof, self.prior.scale + cov.pooled(self.stats.second, kind)

    def means_given_covariance(
        self, covariances: Float[np.ndarray, "*grid k d d"]
    ) -> tuple[Float[np.ndarray, "*grid k d"], Float[np.ndarray, "*grid k d d"]]:
        """Return location and covariance of the means.

        Both are written with ``loc_covariance + covariance / count`` inverted, never a
        precision: ``H = V (C + n V)^-1`` gives location ``about + ...`` and covariance ``H C``.
        """
        v, counts = self.prior.loc_covariance, self.stats.counts[..., None, None]
        gain = np.swapaxes(np.linalg.solve(covariances + counts * v, np.broadcast_to(v, covariances.shape)), -1, -2)
        prior_shift = self.prior.loc - self.stats.about
        pull = self.stats.first - self.stats.counts[..., None] * prior_shift
        location = self.stats.about + prior_shift + np.einsum("...ij,...j->...i", gain, pull)
        spread = gain @ covariances
        return location, (spread + np.swapaxes(spread, -1, -2)) / 2

    def mode(self) -> MixtureParameters:
        """Return the conditional maxima, which raise the log posterior above that at ``stats.about``."""
        p = cov.block_size(self.prior.covariance_type, self.stats.about.shape[-1])
        dof, scale = self.covariance_given_means()
        covariances = scale / (dof + p + 1)[..., None, None]
        means, _ = self.means_given_covariance(covariances)
        return MixtureParameters(mode_of_weights(self.concentration), means, covariances)

    def sample(self, rng: np.random.Generator) -> MixtureParameters:
        """Draw weights, then covariances given means, then means given covariances."""
        kind, (k, d) = self.prior.covariance_type, self.stats.about.shape
        dof, scale = self.covariance_given_means()
        draw = densities.sample_inverse_wishart(cov.per_block(dof, kind, d), cov.blocks(scale, kind), rng)
        covariances = cov.from_blocks(draw, kind, k, d)
        means = densities.sample_normal(*self.means_given_covariance(covariances), rng)
        return MixtureParameters(rng.dirichlet(self.concentration), means, covariances)
