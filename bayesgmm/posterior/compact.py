"""The compact form of the posterior: one unconstrained vector, whitened at the mode."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.optimize import minimize

from bayesgmm.data import Observations, Rows
from bayesgmm.errors import ModelError
from bayesgmm.expectation.pass_over_rows import Whitened, expect
from bayesgmm.kernels.likelihood import write_constants
from bayesgmm.kernels.posterior import log_posterior, place, whitened_log_posterior, with_prior
from bayesgmm.model import covariance as cov
from bayesgmm.model.parameters import COVARIANCE_TYPES, CovarianceType, MixtureParameters
from bayesgmm.model.priors import ConjugatePrior, HierarchicalPrior, Prior, SeparationPrior
from bayesgmm.model.priors.densities import factorised
from bayesgmm.posterior.linear_maps import LowRankSpread, WholeSpread

#: Step of the differences that give the observed information, in standardised unconstrained units.
DIFFERENCE = 1e-5
#: A point is the mode when no slope exceeds this, per posterior standard deviation; it is sought so many times,
#: each in coordinates whitened where the last search ended.
AT_THE_MODE, MOST_SEARCHES = 0.01, 5
#: Largest number of free parameters whose information is computed as a matrix, one difference each.
MOST_WHOLE = 300
#: Rows from which the observed information is computed where there are more than one chunk.
ROWS_OF_GEOMETRY = 20_000
#: Weights below this are lifted to it, for an empty component lies infinitely far out in log-ratios.
SMALLEST_WEIGHT = 1e-4


@dataclass(frozen=True, slots=True, eq=False)
class Coordinates:
    """The unconstrained vector ``[log-ratios of weights | means | log-diagonals of A | lower A]``.

    The precision factor of a covariance block is ``P = root A``; under an inverse-Wishart prior
    ``root root' = inv(scale)``, so that ``A`` has Bartlett's distribution (about, if the scale is unknown: it is then
    that of the prior's mean).

    Attributes
    ----------
    n_components, n_features : int
        k and d.
    kind : {"full", "tied", "diag", "spherical"}
        Covariance type.
    root : array (b, p, p)
        Lower triangular, one per covariance block.
    """

    n_components: int
    n_features: int
    kind: CovarianceType
    root: Float[np.ndarray, "b p p"]

    @classmethod
    def of(cls, prior: Prior, n_features: int) -> Coordinates:
        """Return the coordinates in which this prior is simple."""
        k, kind = len(prior.concentration), prior.covariance_type
        if isinstance(prior, SeparationPrior):
            widths = cov.blocks(prior.deviation[..., None] * np.eye(n_features), kind)
            root = np.linalg.inv(widths)
        else:
            scale = np.tile(prior.expected_scale, (k, 1, 1)) if isinstance(prior, HierarchicalPrior) else prior.scale
            root, _ = factorised(cov.blocks(scale, kind))
        return cls(k, n_features, kind, np.ascontiguousarray(root))

    @property
    def bounds(self) -> tuple[int, int, int, int]:
        """Where means, log-diagonals and lower triangles begin, and where they end."""
        b, p, _ = self.root.shape
        means = self.n_components - 1
        diagonals = means + self.n_components * self.n_features
        lower = diagonals + b * p
        return means, diagonals, lower, lower + b * (p * (p - 1) // 2)

    @property
    def size(self) -> int:
        """Length of the vector: the number of free parameters."""
        return self.bounds[-1]

    def pack(self, parameters: MixtureParameters) -> Float[np.ndarray, "*grid size"]:
        """Return the vector of each value on the grid."""
        p, grid = self.root.shape[-1], parameters.grid
        factors, _ = factorised(cov.blocks(parameters.covariances, self.kind))
        a = np.linalg.solve(np.broadcast_to(self.root, factors.shape), factors)
        weights = np.maximum(parameters.weights, SMALLEST_WEIGHT)
        parts = [
            np.log(weights[..., :-1] / weights[..., -1:]),
            parameters.means.reshape(*grid, -1),
            np.log(np.diagonal(a, axis1=-2, axis2=-1)).reshape(*grid, -1),
            a[..., *np.tril_indices(p, -1)].reshape(*grid, -1),
        ]
        return np.concatenate(parts, axis=-1)

    def unpack(self, theta: Float[np.ndarray, "*grid size"]) -> MixtureParameters:
        """Return the parameters of each vector: the inverse of `pack`."""
        k, d, grid = self.n_components, self.n_features, theta.shape[:-1]
        means, diagonals, *_ = self.bounds
        ratios = np.concatenate([theta[..., :means], np.zeros((*grid, 1))], axis=-1)
        weights = np.exp(ratios - ratios.max(axis=-1, keepdims=True))
        inverse = np.linalg.inv(self.root @ self.factors(theta))
        return MixtureParameters(
            weights / weights.sum(axis=-1, keepdims=True),
            theta[..., means:diagonals].reshape(*grid, k, d),
            cov.from_blocks(np.swapaxes(inverse, -1, -2) @ inverse, self.kind, k, d),
        )

    def factors(self, theta: Float[np.ndarray, "*grid size"]) -> Float[np.ndarray, "*grid b p p"]:
        """Return the matrices ``A`` of each vector."""
        b, p, _ = self.root.shape
        _, diagonals, lower, _ = self.bounds
        a = np.zeros((*theta.shape[:-1], b, p, p))
        a[..., *np.tril_indices(p, -1)] = theta[..., lower:].reshape(*theta.shape[:-1], b, -1)
        a[..., np.arange(p), np.arange(p)] = np.exp(theta[..., diagonals:lower]).reshape(*theta.shape[:-1], b, p)
        return a


@dataclass(frozen=True, slots=True, eq=False)
class CompactPosterior:
    """Log posterior over the unconstrained vector, with its gradient, up to a constant.

    Attributes
    ----------
    coordinates : Coordinates
        Of the vector.
    rows : Rows
        The data, as seen.
    sketched : Rows
        Those from which the information is computed: all, or a sample that stands for all if they are more than one
        chunk, which is geometry enough.
    prior : tuple
        Covariance type and hyperparameters, as the compiled functions read them.
    """

    coordinates: Coordinates
    rows: Rows
    sketched: Rows
    prior: tuple[Any, ...]

    @classmethod
    def of(cls, data: Rows, prior: Prior) -> CompactPosterior:
        """Bind data and prior, both in standardised coordinates."""
        coordinates = Coordinates.of(prior, data.n_features)
        kind = COVARIANCE_TYPES.index(prior.covariance_type)
        sketched = data
        if not data.is_one_chunk:
            sketched = data.standing_for_all(ROWS_OF_GEOMETRY, np.random.default_rng(0))
        return cls(coordinates, data, sketched, (kind, *_hyperparameters(prior, coordinates)))

    @property
    def arguments(self) -> tuple[Any, ...]:
        """What the compiled function reads after the vector: data in memory, then the prior.

        Raises
        ------
        ModelError
            If the data are not in memory.
        """
        data = self.rows
        if not isinstance(data, Observations):
            raise ModelError(
                "rows that are read block by block are sampled by NUTS() with its default sampler and form"
            )
        return data.values, data.weights, data.origin, 1 / data.unit, *self.prior

    @property
    def by_blocks(self) -> bool:
        """Whether a pass is made block by block, on all threads: where the rows are more than one chunk."""
        return not self.rows.is_one_chunk

    def value_and_gradient(self, theta: Float[np.ndarray, " size"]) -> tuple[float, Float[np.ndarray, " size"]]:
        """Return the log posterior density and its gradient."""
        if not self.by_blocks:
            return log_posterior(theta, *self.arguments)
        kind, _, loc, _, _, root, *_ = self.prior
        placed = place(theta, kind, loc, root)
        log_weights, means, *_, factors = placed
        constants = np.empty((1, len(log_weights)))
        write_constants(log_weights, factors, constants[0])
        read = np.diagonal(factors, axis1=1, axis2=2) if cov.is_diagonal(self.coordinates.kind) else factors
        white = Whitened(constants, means[None], np.ascontiguousarray(read)[None])
        found = expect(white, self.rows, ())
        counts, first, second = (
            np.ascontiguousarray(a) for a in (found.stats.counts, found.stats.first, found.stats.second)
        )
        return with_prior(placed, float(found.log_likelihood), counts, first, second, *self.prior)

    def information(self, theta: Float[np.ndarray, " size"]) -> Float[np.ndarray, "size size"]:
        """Return the observed information: minus the Hessian, by central differences of the gradient.

        The gradient is exact (Fisher's identity), so this is Louis' (1982) matrix plus the prior's. Of more than one
        chunk of rows a sample stands for all, which is geometry enough.
        """
        arguments = self.sketch().arguments
        rows = []
        for step in DIFFERENCE * np.eye(len(theta)):
            rows.append(log_posterior(theta - step, *arguments)[1] - log_posterior(theta + step, *arguments)[1])
        matrix = np.array(rows) / (2 * DIFFERENCE)
        return (matrix + matrix.T) / 2

    def sketch(self) -> CompactPosterior:
        """Return the posterior of the rows from which the information is computed."""
        return replace(self, rows=self.sketched)

    def complete_information(self, theta: Float[np.ndarray, " size"]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return the information of rows whose labels were known, as blocks: coordinates, and a matrix.

        Weights, the mean of each component, and each column of ``A`` are blocks of their own. Labels are taken to be
        as frequent as the weights say, and scatters as large as the covariances.
        """
        k, d, kind = self.coordinates.n_components, self.coordinates.n_features, self.coordinates.kind
        _, concentration, _, shrinkage, loc_factor, root, dof, *_ = self.prior
        means, diagonals, lower, _ = self.coordinates.bounds
        at = self.coordinates.unpack(theta)
        total, w = self.rows.total_weight, at.weights
        counts = total * w
        ratios = (total + concentration.sum()) * (np.diag(w) - np.outer(w, w))[:-1, :-1]
        precisions = np.linalg.inv(at.covariances)
        blocks = [(np.arange(means), ratios)] if k > 1 else []
        for c in range(k):
            matrix = (counts[c] + shrinkage[c]) * precisions[c] + loc_factor[c] @ loc_factor[c].T
            blocks.append((means + c * d + np.arange(d), matrix))
        a, b, p = self.coordinates.factors(theta), *root.shape[:2]
        pooled = cov.per_block(cov.pooled_counts(counts, kind, d), kind, d)
        inverse = np.linalg.inv(a)
        products = np.swapaxes(inverse, -1, -2) @ inverse
        below = np.zeros((p, p), int)
        below[np.tril_indices(p, -1)] = np.arange(p * (p - 1) // 2)
        for block in range(b):
            for j in range(p):
                where = lower + block * (p * (p - 1) // 2) + below[j + 1 :, j]
                matrix = products[block, j:, j:].copy()
                matrix[0] *= a[block, j, j]
                matrix[:, 0] *= a[block, j, j]
                matrix[0, 0] += 1
                where = np.concatenate([[diagonals + block * p + j], where])
                blocks.append((where, (pooled[block] + dof[block, j]) * matrix))
        return blocks

    def whitened(self, theta: Float[np.ndarray, " size"]) -> Whitening:
        """Return the whitening at the mode nearest to ``theta``.

        So many rows as make more than one chunk pull the mode so much harder than the prior's Jacobian that one step
        of Newton's from an optimum of EM finds it.
        """
        white = Whitening.of(self, theta)
        if self.by_blocks and len(self.rows) > ROWS_OF_GEOMETRY:
            value, slope = white.value_and_gradient(np.zeros(len(theta)))
            rises = white.value_and_gradient(slope)[0] > value
            return replace(white, centre=white.theta(slope)) if rises else white
        for _ in range(MOST_SEARCHES):
            found = minimize(
                lambda eta, white=white: tuple(-part for part in white.value_and_gradient(eta)),
                np.zeros(len(theta)),
                jac=True,
                method="L-BFGS-B",
                options={"maxiter": 200, "ftol": 0.0, "gtol": 1e-4},
            )
            white = Whitening.of(self, white.theta(found.x))
            if np.abs(white.value_and_gradient(np.zeros(len(theta)))[1]).max() < AT_THE_MODE:
                break
        return white


@dataclass(frozen=True, slots=True, eq=False)
class Whitening:
    """Coordinates ``eta`` in which the posterior is about standard normal: ``theta = centre + spread(eta)``.

    Attributes
    ----------
    posterior : CompactPosterior
        In the unconstrained vector ``theta``.
    centre : array (size,)
        The mode.
    spread : WholeSpread or LowRankSpread
        A root of the inverse observed information there.
    log_mass : float
        Laplace's approximation to the log of the posterior mass around the mode, up to a constant.
    """

    posterior: CompactPosterior
    centre: Float[np.ndarray, " size"]
    spread: WholeSpread | LowRankSpread
    log_mass: float

    @classmethod
    def of(cls, posterior: CompactPosterior, theta: Float[np.ndarray, " size"]) -> Whitening:
        """Whiten about ``theta``, taken to be the mode of the unconstrained density.

        Directions flatter than `FLATTEST` are stretched no further, so the mass of a mode with an all but
        empty component is understated.
        """
        if len(theta) <= MOST_WHOLE:
            spread = WholeSpread.of(posterior.information(theta))
        else:
            sketch = posterior.sketch()
            slope = lambda offset: sketch.value_and_gradient(theta + offset)[1]  # noqa: E731
            spread = LowRankSpread.of(posterior.complete_information(theta), slope)
        value, _ = posterior.value_and_gradient(theta)
        return cls(posterior, theta, spread, value + spread.log_volume)

    def theta(self, eta: Float[np.ndarray, "*grid size"]) -> Float[np.ndarray, "*grid size"]:
        """Return the unconstrained vector."""
        return self.centre + self.spread.spread(eta)

    def eta(self, theta: Float[np.ndarray, "*grid size"]) -> Float[np.ndarray, "*grid size"]:
        """Return the whitened vector: the inverse of `theta`."""
        return self.spread.solve(theta - self.centre)

    @property
    def is_one_function(self) -> bool:
        """Whether value and gradient are one compiled function: of rows in one chunk and a whole matrix."""
        return not self.posterior.by_blocks and isinstance(self.spread, WholeSpread)

    def value_and_gradient(self, eta: Float[np.ndarray, " size"]) -> tuple[float, Float[np.ndarray, " size"]]:
        """Return the log posterior density and its gradient in ``eta``."""
        if self.is_one_function:
            return whitened_log_posterior(eta, self.centre, self.spread.matrix, self.posterior.arguments)
        value, slope = self.posterior.value_and_gradient(self.theta(eta))
        return (value if np.isfinite(value) else -np.inf), self.spread.pull(slope)


def _hyperparameters(prior: Prior, coordinates: Coordinates) -> tuple[Any, ...]:
    """Return what the compiled function reads of the prior, the unused parts empty or zero."""
    k, d, kind = coordinates.n_components, coordinates.n_features, coordinates.kind
    blocks, p, _ = coordinates.root.shape
    loc_factor, shrinkage = np.zeros((k, d, d)), np.zeros(k)
    if isinstance(prior, ConjugatePrior):
        shrinkage = prior.shrinkage
    else:
        loc_factor, _ = factorised(prior.loc_covariance)
    deviation, lkj, scale_dof, scale_rate, floor = np.empty((0, p)), 1.0, 0.0, np.empty((0, d)), np.empty(0)
    if isinstance(prior, SeparationPrior):
        widths = np.diagonal(cov.blocks(prior.deviation[..., None] * np.eye(d), kind), axis1=-2, axis2=-1)
        dof, deviation, lkj = np.zeros((blocks, p)), np.ascontiguousarray(widths), prior.lkj
    else:
        dof = cov.per_block(prior.dof, kind, d)[:, None] - np.arange(p)
    if isinstance(prior, HierarchicalPrior):
        scale_dof, scale_rate, floor = prior.scale_dof, prior.scale_rate, np.diag(prior.known_scale[0]).copy()
        floor[1:] *= kind != "spherical"  # Of the single variance, once.
    unknown = scale_dof, np.ascontiguousarray(scale_rate), np.ascontiguousarray(floor)
    return prior.concentration, prior.loc, shrinkage, loc_factor, coordinates.root, dof, deviation, lkj, *unknown
