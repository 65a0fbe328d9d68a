"""The semi-conjugate prior: means independent of covariances."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float

from bayesgmm.data.statistics import SufficientStatistics
from bayesgmm.kernels.conditionals import mean_given_covariance
from bayesgmm.model import covariance as cov
from bayesgmm.model.parameters import CovarianceType, MixtureParameters
from bayesgmm.model.priors import densities
from bayesgmm.model.priors import hyperparameters as hyper
from bayesgmm.model.priors.compiled import drawn_given, log_density_but_constant, mode_given, no_rows


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
        return mode_given(self, no_rows(self))

    def sample(self, rng: np.random.Generator) -> MixtureParameters:
        """Draw weights, means and covariances."""
        return drawn_given(self, no_rows(self), rng)

    @property
    def log_constant(self) -> float:
        """Log of the normalising constant, which the compiled loops leave out of the log density."""
        kind, d = self.covariance_type, self.loc.shape[-1]
        constant = densities.log_dirichlet_constant(self.concentration)
        constant += densities.log_normal_constant(self.loc_covariance).sum()
        constant += densities.log_wishart_constant(cov.per_block(self.dof, kind, d), cov.blocks(self.scale, kind)).sum()
        return float(constant)

    def log_density(self, parameters: MixtureParameters) -> np.ndarray | np.floating:
        """Return the log density of weights, means and (free) covariances."""
        return log_density_but_constant(self, parameters) + self.log_constant


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
        self, covariances: Float[np.ndarray, "k d d"]
    ) -> tuple[Float[np.ndarray, "k d"], Float[np.ndarray, "k d d"]]:
        """Return location and covariance of the means."""
        prior, stats = self.prior, self.stats
        shift, spread = np.empty(stats.about.shape), np.empty(covariances.shape)
        for c in range(len(shift)):
            given = prior.loc_covariance[c], stats.counts[c], prior.loc[c], stats.about[c], stats.first[c]
            spread[c] = mean_given_covariance(*given, covariances[c], shift[c])
        return stats.about + shift, spread

    def mode(self) -> MixtureParameters:
        """Return the conditional maxima, which raise the log posterior above that at ``stats.about``."""
        return mode_given(self.prior, self.stats)

    def sample(self, rng: np.random.Generator) -> MixtureParameters:
        """Draw weights, then covariances given means, then means given covariances."""
        return drawn_given(self.prior, self.stats, rng)
