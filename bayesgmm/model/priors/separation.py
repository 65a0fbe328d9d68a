"""The separation prior: scales and correlations of each covariance apart, for NUTS alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.special import betaln

from bayesgmm.arguments import one_of, whole_number
from bayesgmm.data import Observations
from bayesgmm.errors import ModelError
from bayesgmm.model import covariance as cov
from bayesgmm.model.parameters import COVARIANCE_TYPES, CovarianceType, MixtureParameters
from bayesgmm.model.priors import densities
from bayesgmm.model.priors import hyperparameters as hyper


@dataclass(frozen=True, slots=True, eq=False)
class SeparationPrior:
    """Weights ~ Dirichlet; mean ~ Normal; covariance = D R D, D ~ HalfNormal, R ~ LKJ.

    Unlike an inverse-Wishart it does not tie the correlations to the scales
    (Barnard, McCulloch & Meng 2000). Only `NUTS` takes it.

    Attributes
    ----------
    concentration : float or array (k,)
        Of the Dirichlet distribution.
    loc : float or array (d,) or (k, d)
        Prior mean of the means, in data units.
    loc_covariance : float or array (d,), (d, d) or (k, d, d)
        Prior covariance of the means, in squared data units.
    deviation : float or array (d,) or (k, d)
        Scale of the half-normal prior of the standard deviations, in data units.
    lkj : float
        Concentration of the correlations: 1 is uniform, more prefers none.
    covariance_type : {"full", "tied", "diag", "spherical"}
        Set when a model binds the prior.

    References
    ----------
    Lewandowski, D., Kurowicka, D. & Joe, H. (2009). Generating random correlation matrices based on
    vines and extended onion method. Journal of Multivariate Analysis 100, 1989-2001.
    doi:10.1016/j.jmva.2009.04.008

    Examples
    --------
    >>> import bayesgmm as bg
    >>> bg.SeparationPrior.from_data(bg.datasets.load_faithful(), 2).lkj
    2.0
    """

    concentration: Any
    loc: Any
    loc_covariance: Any
    deviation: Any
    lkj: float = 2.0
    covariance_type: CovarianceType = "full"

    @classmethod
    def from_data(
        cls, data: Any, n_components: int, covariance_type: CovarianceType = "full", *, lkj: float = 2.0
    ) -> SeparationPrior:
        """Return the weakly informative prior whose location and scales are those of the data."""
        whole_number(n_components, "n_components", 1)
        one_of(covariance_type, "covariance_type", COVARIANCE_TYPES)
        data = Observations.of(data).standardised()
        deviation = data.unit / n_components ** (1 / data.n_features)
        prior = cls(1.0, data.origin, (2 * data.unit) ** 2, deviation, lkj)
        return prior.bound(n_components, data.n_features, covariance_type)

    @property
    def is_proper(self) -> bool:
        """Always True: every hyperparameter is checked to be positive."""
        return True

    def bound(self, k: int, d: int, covariance_type: CovarianceType) -> SeparationPrior:
        """Return the prior with every hyperparameter written out for k components of d features."""
        deviation = hyper.per_feature(self.deviation, "deviation", k, d)
        if (deviation <= 0).any():
            raise ModelError(f"`deviation` has to be above 0, got {deviation.min():g}")
        hyper.refuse_unequal(covariance_type, deviation=deviation)
        if covariance_type == "spherical":
            deviation = np.broadcast_to(np.sqrt((deviation**2).mean(axis=1, keepdims=True)), (k, d)).copy()
        return SeparationPrior(
            hyper.per_component(self.concentration, "concentration", k, 0.0),
            hyper.per_feature(self.loc, "loc", k, d),
            hyper.matrices(self.loc_covariance, "loc_covariance", k, d),
            deviation,
            float(hyper.per_component(self.lkj, "lkj", 1, 0.0)[0]),
            covariance_type,
        )

    def in_units(self, origin: Float[np.ndarray, " d"], unit: Float[np.ndarray, " d"]) -> SeparationPrior:
        """Return the prior of the parameters of ``(x - origin) / unit``."""
        return replace(
            self,
            loc=(self.loc - origin) / unit,
            loc_covariance=self.loc_covariance / np.multiply.outer(unit, unit),
            deviation=self.deviation / unit,
        )

    def sample(self, rng: np.random.Generator) -> MixtureParameters:
        """Draw weights, means and covariances."""
        kind, (k, d) = self.covariance_type, self.loc.shape
        widths = cov.blocks(self.deviation[..., None] * np.eye(d), kind).diagonal(axis1=-2, axis2=-1)
        scales = np.abs(rng.standard_normal(widths.shape)) * widths
        correlations = densities.sample_lkj(self.lkj, len(widths), widths.shape[-1], rng)
        covariances = cov.from_blocks(correlations * scales[:, :, None] * scales[:, None, :], kind, k, d)
        means = densities.sample_normal(self.loc, self.loc_covariance, rng)
        return MixtureParameters(rng.dirichlet(self.concentration), means, covariances)

    def log_density(self, parameters: MixtureParameters) -> np.ndarray | np.floating:
        """Return the log density of weights, means and (free) covariances."""
        normal = densities.log_normal(parameters.means - self.loc, *densities.factorised(self.loc_covariance))
        weights = densities.log_dirichlet(parameters.weights, self.concentration)
        return weights + normal.sum(axis=-1) + self._log_density_of_blocks(parameters).sum(axis=-1)

    def _log_density_of_blocks(self, parameters: MixtureParameters) -> np.ndarray:
        """Change variables from (D, R) to D R D, whose Jacobian is ``2**p * prod(D)**p``."""
        kind, d = self.covariance_type, parameters.n_features
        matrices = cov.blocks(parameters.covariances, kind)
        p = matrices.shape[-1]
        scales = np.sqrt(cov.blocks(self.deviation[..., None] ** 2 * np.eye(d), kind).diagonal(axis1=-2, axis2=-1))
        squares = matrices.diagonal(axis1=-2, axis2=-1)
        half_normal = np.log(2 / np.pi) / 2 - np.log(scales) - squares / scales**2 / 2
        log_det_r = densities.factorised(matrices)[1] - np.log(squares).sum(axis=-1)
        jacobian = p * np.log(2) + p / 2 * np.log(squares).sum(axis=-1)
        return half_normal.sum(axis=-1) + (self.lkj - 1) * log_det_r + log_lkj_normaliser(self.lkj, p) - jacobian


def log_lkj_normaliser(lkj: float, p: int) -> float:
    """Log of the factor that makes ``|R| ** (lkj - 1)`` a density over p x p correlations."""
    j = np.arange(1, p)
    shape = lkj + (p - 1 - j) / 2
    return -float(((2 * lkj - 2 + p - j) * (p - j) * np.log(2) + (p - j) * betaln(shape, shape)).sum())
