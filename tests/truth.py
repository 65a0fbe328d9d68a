"""Posteriors known without the package: SciPy's distributions, enumeration, quadrature.

Nothing of the package is imported here. Draws are arrays (chain, draw); what is claimed of them is
judged in standard errors, from the effective sample size as ArviZ estimates it.
"""

import logging
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
from scipy import stats
from scipy.integrate import cumulative_trapezoid, trapezoid
from scipy.special import gammaln, logsumexp, multigammaln, softmax

#: In standard errors: what is logged, and what fails.
ALERT, FAIL = 3.0, 5.0
#: Probabilities estimated by 40,000 draws are within this, whatever the errors say.
CLOSE = 0.01
PROBABILITIES = (0.05, 0.5, 0.95)


@dataclass(frozen=True)
class Claim:
    """That draws have a mean, which is estimated with a standard error."""

    name: str
    estimate: float
    truth: float
    error: float

    @classmethod
    def of(cls, name, values, truth):
        import arviz as az

        return cls(name, float(values.mean()), float(truth), float(az.mcse(values, method="mean")))

    @property
    def z(self):
        return (self.estimate - self.truth) / self.error

    @property
    def gap(self):
        return abs(self.estimate - self.truth)


def claims_of(name, values, distribution):
    """Claim mean, standard deviation and quantiles, each as the mean of a function of the draws."""
    mean, variance = distribution.mean(), distribution.std() ** 2
    yield Claim.of(f"mean of {name}", values, mean)
    yield Claim.of(f"variance of {name}", (values - mean) ** 2, variance)
    for p in PROBABILITIES:
        below = (values <= distribution.ppf(p)).astype(float)
        yield Claim.of(f"share of {name} below its {p:.0%} quantile", below, p)


def worst(claims):
    """Return the largest of the absolute z-scores; not a number counts as infinitely bad."""
    scores = np.abs([claim.z for claim in claims])
    assert scores.size
    return np.where(np.isfinite(scores), scores, np.inf).max()


def hold(claims):
    """Fail where a claim is off by more than `FAIL` standard errors, log where by more than `ALERT`."""
    claims = list(claims)
    for claim in claims:
        if abs(claim.z) > ALERT:
            logging.getLogger(__name__).warning("%s: %+.1f standard errors", claim.name, claim.z)
    broken = [f"{c.name}: {c.estimate:.5g}, not {c.truth:.5g} ({c.z:+.1f})" for c in claims if not abs(c.z) <= FAIL]
    assert not broken, broken
    assert worst(claims) <= FAIL


def hold_closely(claims):
    """Fail where a probability is off by more than `CLOSE`."""
    broken = [f"{c.name}: {c.estimate:.5g}, not {c.truth:.5g}" for c in claims if not c.gap <= CLOSE]
    assert not broken, broken


def subsets(n):
    """Which rows each subset has, (2**n, n): row i is in subset s where bit i of s is set."""
    return (np.arange(2**n)[:, None] >> np.arange(n)) & 1 == 1


@dataclass(frozen=True)
class NormalInverseWishart:
    """Covariance ~ InverseWishart(dof, scale); mean ~ Normal(loc, covariance / shrinkage), for one component.

    Diagonal: each variance ~ InverseGamma(dof / 2, scale_jj / 2). Spherical: one variance
    ~ InverseGamma(dof / 2, mean of scale_jj / 2).
    """

    kind: str
    loc: np.ndarray
    shrinkage: float
    dof: float
    scale: np.ndarray

    @classmethod
    def of(cls, kind, loc, shrinkage, dof, scale):
        scale = np.asarray(scale, dtype=float)
        if kind == "spherical":
            scale = np.diag(scale).mean() * np.eye(len(scale))
        return cls(kind, np.asarray(loc, dtype=float), shrinkage, dof, scale)

    def given(self, x):
        """Return the posterior, by completing the square."""
        n, d = x.shape
        mean = x.mean(axis=0)
        shift = mean - self.loc
        scatter = (x - mean).T @ (x - mean) + np.outer(shift, shift) * n * self.shrinkage / (n + self.shrinkage)
        rows = n
        if self.kind == "diag":
            scatter = np.diag(np.diag(scatter))
        if self.kind == "spherical":
            scatter, rows = np.trace(scatter) * np.eye(d), n * d
        loc = (self.shrinkage * self.loc + n * mean) / (self.shrinkage + n)
        return NormalInverseWishart(self.kind, loc, self.shrinkage + n, self.dof + rows, self.scale + scatter)

    @property
    def directions(self):
        d = len(self.loc)
        joint = [np.ones(d), np.r_[1.0, -np.ones(d - 1)]] if self.kind in ("full", "tied") and d > 1 else []
        return [*np.eye(d), *joint]

    def claims(self, means, covariances):
        """Compare draws (chain, draw, d) and (chain, draw, d, d) with every marginal that has a name."""
        d = len(self.loc)
        dof = self.dof - (d - 1 if self.kind in ("full", "tied") else 0)
        for c in self.directions:
            width, name = c @ self.scale @ c, f"along {c.astype(int).tolist()}"
            variance = np.einsum("i,...ij,j->...", c, covariances, c)
            yield from claims_of(f"variance {name}", variance, stats.invgamma(dof / 2, scale=width / 2))
            t = stats.t(dof, c @ self.loc, np.sqrt(width / (self.shrinkage * dof)))
            yield from claims_of(f"mean {name}", means @ c, t)
        apart = means - self.loc
        distance = np.einsum("...i,...i->...", apart, np.linalg.solve(covariances, apart[..., None])[..., 0])
        yield from claims_of("distance", self.shrinkage * distance, stats.chi2(d))
        if self.kind in ("full", "tied") and d == 2:
            # Anderson (2003), section 7.5: twice the root of a 2 x 2 Wishart's determinant is chi-squared.
            root = 2 * np.sqrt(np.linalg.det(self.scale) / np.linalg.det(covariances))
            yield from claims_of("root of the determinant", root, stats.chi2(2 * self.dof - 2))

    def log_marginal(self, x):
        """Log density of the rows, parameters integrated out: Student's t, row by row or all at once."""
        n, d = x.shape
        if n == 0:
            return 0.0
        if self.kind == "spherical":
            shape = self.scale[0, 0] / self.dof * np.kron(np.eye(n) + 1 / self.shrinkage, np.eye(d))
            return float(stats.multivariate_t(np.tile(self.loc, n), shape, df=self.dof).logpdf(x.ravel()))
        if self.kind == "diag":
            parts = (NormalInverseWishart("full", self.loc[[j]], self.shrinkage, self.dof, self.scale[[j]][:, [j]])
                     for j in range(d))  # fmt: skip
            return sum(part.log_marginal(x[:, [j]]) for j, part in enumerate(parts))
        total, now = 0.0, self
        for row in x:
            dof = now.dof - d + 1
            shape = now.scale * (now.shrinkage + 1) / (now.shrinkage * dof)
            total += float(stats.multivariate_t(now.loc, shape, df=dof).logpdf(row))
            now = now.given(row[None])
        return total

    def log_marginals(self, x):
        """Log density of every subset of the rows, parameters integrated out."""
        return np.array([self.log_marginal(x[rows]) for rows in subsets(len(x))])


@dataclass(frozen=True)
class Gridded:
    """A distribution by its unnormalised density on an even grid, integrated by the trapezoidal rule."""

    points: np.ndarray
    density: np.ndarray

    @cached_property
    def normalised(self):
        return self.density / trapezoid(self.density, self.points)

    def expected(self, values):
        return float(trapezoid(self.normalised * values, self.points))

    def mean(self):
        return self.expected(self.points)

    def std(self):
        return np.sqrt(self.expected((self.points - self.mean()) ** 2))

    def ppf(self, p):
        below = cumulative_trapezoid(self.normalised, self.points, initial=0)
        return float(np.interp(p, below, self.points))


@dataclass(frozen=True)
class SemiConjugateGroup:
    """Rows of one dimension, mean ~ Normal(loc, loc_variance), variance ~ InverseGamma(dof / 2, scale / 2)."""

    loc: float
    loc_variance: float
    dof: float
    scale: float
    points: int = 400

    @cached_property
    def grid(self):
        """Means and log variances wide enough to hold prior and posterior, as (m, 1) and (1, v)."""
        width = 9 * np.sqrt(self.loc_variance)
        log_variance = np.linspace(-9, 9, self.points) + np.log(self.scale / self.dof)
        return np.linspace(self.loc - width, self.loc + width, self.points)[:, None], log_variance[None]

    @cached_property
    def log_prior(self):
        mean, log_variance = self.grid
        normal = stats.norm(self.loc, np.sqrt(self.loc_variance)).logpdf(mean)
        gamma = stats.invgamma(self.dof / 2, scale=self.scale / 2).logpdf(np.exp(log_variance))
        return normal + gamma + log_variance

    def log_joint(self, x):
        mean, log_variance = self.grid
        each = (stats.norm(mean, np.exp(log_variance / 2)).logpdf(row) for row in x)
        return self.log_prior + sum(each)

    def marginals(self, x):
        """Return the posterior of the mean and that of the log variance."""
        joint = self.log_joint(x)
        density = np.exp(joint - joint.max())
        return Gridded(self.grid[0][:, 0], density.sum(axis=1)), Gridded(self.grid[1][0], density.sum(axis=0))

    def claims(self, x, means, variances):
        of_mean, of_log_variance = self.marginals(x)
        yield from claims_of("mean", means, of_mean)
        yield from claims_of("log variance", np.log(variances), of_log_variance)

    def facts(self, x):
        """Return log marginal likelihood, posterior mean of the mean and of the variance."""
        joint = self.log_joint(x)
        steps = [np.diff(self.grid[0], axis=0)[0, 0], np.diff(self.grid[1], axis=1)[0, 0]]
        total = logsumexp(joint)
        share = np.exp(joint - total)
        mean, log_variance = self.grid
        return total + np.log(steps).sum(), float((share * mean).sum()), float((share * np.exp(log_variance)).sum())

    def log_marginals(self, x):
        """Log density of every subset of the rows (n, 1), parameters integrated out."""
        mean, log_variance = self.grid
        each = np.stack([stats.norm(mean, np.exp(log_variance / 2)).logpdf(row) for row in x[:, 0]])
        steps = mean[1, 0] - mean[0, 0], log_variance[0, 1] - log_variance[0, 0]
        sums = (self.log_prior + sum(each[rows]) for rows in subsets(len(x)))
        return np.array([logsumexp(values) for values in sums]) + np.log(steps).sum()


@dataclass(frozen=True)
class SemiConjugateNormal:
    """Rows (n, d), mean ~ Normal(loc, loc_covariance), covariance ~ InverseWishart(dof, scale).

    The covariance is integrated out in closed form given the mean, the mean on a grid in standard units.
    """

    loc: np.ndarray
    loc_covariance: np.ndarray
    dof: float
    scale: np.ndarray
    points: int = 121
    #: Of a spherical covariance, by its single variance, a row is as many as it has features.
    rows_per_row: int = 1

    @cached_property
    def grid(self):
        """Means (g, d) and the log of the prior mass about each."""
        d, axis = len(self.loc), np.linspace(-8, 8, self.points)
        white = np.stack(np.meshgrid(*d * [axis], indexing="ij"), axis=-1).reshape(-1, d)
        means = self.loc + white @ np.linalg.cholesky(self.loc_covariance).T
        return means, stats.norm.logpdf(white).sum(axis=1) + d * np.log(axis[1] - axis[0])

    def log_given_mean(self, n, scatter):
        """Log density of n rows whose scatter about the mean is given (..., d, d)."""
        d, n = len(self.scale), n * self.rows_per_row
        norm = multigammaln((self.dof + n) / 2, d) - multigammaln(self.dof / 2, d) - n * d / 2 * np.log(np.pi)
        before, after = np.linalg.slogdet(self.scale)[1], np.linalg.slogdet(self.scale + scatter)[1]
        return norm + self.dof / 2 * before - (self.dof + n) / 2 * after

    def log_marginals(self, x):
        """Log density of every subset of the rows, parameters integrated out."""
        means, log_mass = self.grid
        apart = x[:, None] - means
        outer = apart[..., :, None] * apart[..., None, :]
        if self.rows_per_row > 1:
            outer = (apart**2).sum(axis=-1)[..., None, None]
        given = (self.log_given_mean(rows.sum(), outer[rows].sum(axis=0)) for rows in subsets(len(x)))
        return np.array([logsumexp(log_mass + values) for values in given])


@dataclass(frozen=True)
class ConjugateGroup:
    """Rows of one dimension under the normal-inverse-gamma prior."""

    loc: float
    shrinkage: float
    dof: float
    scale: float

    def facts(self, x):
        """Return log marginal likelihood, posterior mean of the mean and of the variance."""
        prior = NormalInverseWishart.of("full", [self.loc], self.shrinkage, self.dof, [[self.scale]])
        if not len(x):
            return 0.0, self.loc, self.scale / (self.dof - 2)
        now = prior.given(x[:, None])
        return prior.log_marginal(x[:, None]), now.loc[0], now.scale[0, 0] / (now.dof - 2)


@dataclass(frozen=True)
class Enumeration:
    """The posterior of a small mixture of one dimension: every labelling, everything else integrated out.

    Attributes
    ----------
    x : array (n,)
        The rows.
    concentration : array (k,)
        Of the weights.
    groups : list
        The prior of each component, with `facts`.
    """

    x: np.ndarray
    concentration: np.ndarray
    groups: list

    @cached_property
    def members(self):
        """Which rows each component has, (labelling, k, n)."""
        k = len(self.groups)
        labels = np.array(list(product(range(k), repeat=len(self.x))))
        return labels[:, None] == np.arange(k)[:, None]

    @cached_property
    def facts(self):
        """Log marginal likelihood, mean and variance of each component under each labelling."""
        known = {}
        for k, group in enumerate(self.groups):
            for member in np.unique(self.members[:, k], axis=0):
                known[k, member.tobytes()] = group.facts(self.x[member])
        return np.array([[known[k, m.tobytes()] for k, m in enumerate(each)] for each in self.members])

    @cached_property
    def posterior(self):
        """Probability of each labelling: Dirichlet-multinomial times the marginal likelihoods."""
        counts = self.members.sum(axis=-1)
        log_urn = gammaln(self.concentration + counts).sum(axis=1)
        log_mass = log_urn + self.facts[..., 0].sum(axis=1)
        return np.exp(log_mass - logsumexp(log_mass))

    @property
    def weights(self):
        """Posterior mean of the weights given each labelling."""
        raised = self.concentration + self.members.sum(axis=-1)
        return raised / raised.sum(axis=1, keepdims=True)

    @property
    def together(self):
        """Posterior probability that two rows share a component, (n, n)."""
        return np.einsum("l,lki,lkj->ij", self.posterior, self.members.astype(float), self.members.astype(float))

    def claims(self, weights, means, variances):
        """Compare draws (chain, draw, k) in ways that labels do not change."""
        joint = weights[..., None, :] * stats.norm(means[..., None, :], np.sqrt(variances[..., None, :])).pdf(
            self.x[:, None]
        )
        r = joint / joint.sum(axis=-1, keepdims=True)
        for i, j in zip(*np.triu_indices(len(self.x), 1), strict=True):
            both = (r[..., i, :] * r[..., j, :]).sum(axis=-1)
            yield Claim.of(f"rows {i} and {j} together", both, self.together[i, j])
        raised = self.concentration + self.members.sum(axis=-1)
        total = raised.sum(axis=1)
        squares = (raised * (raised + 1)).sum(axis=1) / (total * (total + 1))
        yield Claim.of("sum of squared weights", (weights**2).sum(axis=-1), self.posterior @ squares)
        centre = self.posterior @ (self.weights * self.facts[..., 1]).sum(axis=1)
        yield Claim.of("mean of the mixture", (weights * means).sum(axis=-1), centre)
        within = self.posterior @ (self.weights * self.facts[..., 2]).sum(axis=1)
        yield Claim.of("variance within components", (weights * variances).sum(axis=-1), within)

    def claims_by_component(self, weights, means):
        """Compare draws of each component, where priors that differ tell components apart."""
        for k in range(len(self.groups)):
            yield Claim.of(f"weight {k}", weights[..., k], self.posterior @ self.weights[:, k])
            yield Claim.of(f"mean {k}", means[..., k], self.posterior @ self.facts[:, k, 1])


def labellings(n, k):
    """Every labelling of n rows by k components, (k**n, n)."""
    return np.indices(n * (k,)).reshape(n, -1).T


def partitions(n, k):
    """Every partition of n rows into at most k blocks, numbered by their first rows, (partition, n)."""
    labels = np.zeros((1, 1), dtype=int)
    for _ in range(n - 1):
        at, new = np.nonzero(np.arange(k) <= labels.max(axis=1, keepdims=True) + 1)
        labels = np.column_stack([labels[at], new])
    return labels


@dataclass(frozen=True)
class Groupings:
    """The posterior of who is with whom, for k components of one prior, everything else integrated out.

    Attributes
    ----------
    log_evidence : float
        Log marginal likelihood.
    together : array (n, n)
        Probability that two rows share a component.
    occupied : array (k,)
        Probability that 1, ..., k components have rows.
    squares : float
        Mean of the sum of squared weights.
    """

    log_evidence: float
    together: np.ndarray
    occupied: np.ndarray
    squares: float

    @classmethod
    def over_labellings(cls, log_marginals, k, concentration):
        """Sum over every labelling; ``log_marginals`` are those of all subsets of the rows.

        Given several values of what the components share, (value, subset), each has the log weights of the values in
        its last column.
        """
        labels = labellings(int(np.log2(log_marginals.shape[-1])), k)
        return cls._over(labels, np.zeros(len(labels)), log_marginals, k, concentration)

    @classmethod
    def over_partitions(cls, log_marginals, k, concentration):
        """Sum over every partition, which stands for k! / (k - blocks)! labellings."""
        labels = partitions(int(np.log2(log_marginals.shape[-1])), k)
        log_multiplicity = gammaln(k + 1) - gammaln(k - labels.max(axis=1))
        return cls._over(labels, log_multiplicity, log_marginals, k, concentration)

    @classmethod
    def _over(cls, labels, log_multiplicity, log_marginals, k, concentration):
        n, number = labels.shape[1], 2 ** labels.shape[1]
        blocks = (labels[..., None] == np.arange(k)).transpose(0, 2, 1) @ 2 ** np.arange(n)
        raised, total = concentration + np.bitwise_count(blocks), n + k * concentration
        log_urn = gammaln(raised).sum(axis=1) - k * gammaln(concentration) + gammaln(k * concentration) - gammaln(total)
        log_mass = log_multiplicity + log_urn + _log_given_blocks(log_marginals, blocks)
        log_evidence = logsumexp(log_mass)
        share = np.exp(log_mass - log_evidence)
        of_block = np.bincount(blocks.ravel(), np.repeat(share, k), number)
        member = subsets(n).astype(float)
        occupied = np.bincount((blocks > 0).sum(axis=1), share, k + 1)[1:]
        squares = share @ (raised * (raised + 1)).sum(axis=1) / (total * (total + 1))
        return cls(log_evidence, member.T @ (of_block[:, None] * member), occupied, squares)

    def claims(self, x, weights, means, covariances, occupied):
        """Compare draws (chain, draw, k, ...) of a mixture, and (chain, draw) numbers of components with rows."""
        r = responsibilities(x, weights, means, covariances)
        for i, j in zip(*np.triu_indices(len(x), 1), strict=True):
            both = (r[..., i] * r[..., j]).sum(axis=-1)
            yield Claim.of(f"rows {i} and {j} together", both, self.together[i, j])
        for j, probability in enumerate(self.occupied, start=1):
            yield Claim.of(f"{j} components occupied", (occupied == j).astype(float), probability)
        yield Claim.of("sum of squared weights", (weights**2).sum(axis=-1), self.squares)


def _log_given_blocks(log_marginals, blocks):
    """Log density of the rows given who is with whom, averaged over what the components share, if anything."""
    if log_marginals.ndim == 1:
        return log_marginals[blocks].sum(axis=1)
    of_subsets, log_weights = log_marginals[:, :-1], log_marginals[:, -1]
    parts = np.array_split(blocks, max(1, blocks.size * len(of_subsets) // 10_000_000))
    return np.concatenate([logsumexp(of_subsets[:, p].sum(axis=2) + log_weights[:, None], axis=0) for p in parts])


@dataclass(frozen=True)
class UnknownScale:
    """Rows (n, d) of k components whose inverse-Wishart covariances share a scale, which is Wishart.

    With the floor as a factor of the density of k covariances, which is why scales have a weight beside their density.
    Everything is summed over a grid of scales (for tied covariances, of the covariance itself).
    """

    kind: str
    k: int
    loc: np.ndarray
    loc_covariance: np.ndarray
    dof: float
    scale_dof: float
    rate: np.ndarray
    floor: np.ndarray
    scales: int = 50

    def log_marginals(self, x):
        """Log density of every subset of the rows for each value on the grid, and in the last column its log weight."""
        return getattr(self, f"_{self.kind}")(x)

    def numbers(self, rate, floor):
        """A scale that is one number, on a grid, and the log weight of each."""
        log_scale = np.linspace(-9, 6, self.scales) - np.log(rate)
        scale = np.exp(log_scale)
        density = stats.gamma(self.scale_dof / 2, scale=2 / rate).logpdf(scale) + log_scale
        kept = self.k * self.dof / 2 * (log_scale - np.log(scale + floor))
        return scale + floor, density + kept + np.log(log_scale[1] - log_scale[0])

    def over(self, x, scales, log_weights, loc=None, spread=None, rows_per_row=1):
        loc, spread = (self.loc, self.loc_covariance) if loc is None else (loc, spread)
        points = 121 if len(loc) == 1 else 81
        normal = (SemiConjugateNormal(loc, spread, self.dof, s, points, rows_per_row) for s in scales)
        return np.column_stack([np.stack([each.log_marginals(x) for each in normal]), log_weights])

    def _diag(self, x):
        """A scale for each feature: all pairs of the values on two grids, or one grid."""
        found = np.zeros((1, 2 ** len(x) + 1))
        for j in range(x.shape[1]):
            scales, log_weights = self.numbers(self.rate[j, j], self.floor[j])
            own = self.over(
                x[:, [j]], scales[:, None, None], log_weights, self.loc[[j]], self.loc_covariance[[j]][:, [j]]
            )
            found = (found[:, None] + own).reshape(-1, found.shape[1])
        return found

    def _spherical(self, x):
        scales, log_weights = self.numbers(np.exp(np.log(np.diag(self.rate)).mean()), self.floor.sum())
        return self.over(x, scales[:, None, None] * np.eye(1), log_weights, rows_per_row=x.shape[1])

    def _full(self, x):
        if x.shape[1] == 1:
            return self._diag(x)
        # Bartlett's factors of two features: logarithms of chi-squared numbers, and a normal one.
        first, second, below = self._cube((-4.5, 3.2), (-5.5, 3.0), (-4.0, 4.0))
        log_weights = sum(
            stats.chi2(self.scale_dof - j).logpdf(np.exp(a)) + a for j, a in enumerate((first, second))
        ) + stats.norm.logpdf(below)
        a = np.zeros((first.size, 2, 2))
        a[:, 0, 0], a[:, 1, 1], a[:, 1, 0] = np.exp(first / 2), np.exp(second / 2), below
        own = np.linalg.cholesky(np.linalg.inv(self.rate)) @ a
        scale = own @ np.swapaxes(own, 1, 2)
        with_floor = scale + np.diag(self.floor)
        log_weights += self.k * self.dof / 2 * (np.linalg.slogdet(scale)[1] - np.linalg.slogdet(with_floor)[1])
        return self.over(x, with_floor, log_weights)

    def _tied(self, x):
        """Given the covariance, groups are normal, and the mean has a closed form."""
        first, second, below = self._cube((-1.4, 1.8), (-1.4, 1.8), (-2.5, 2.5))
        lower = np.zeros((first.size, 2, 2))
        lower[:, 0, 0], lower[:, 1, 1], lower[:, 1, 0] = np.exp(first), np.exp(second), below
        covariances = lower @ np.swapaxes(lower, 1, 2)
        inverses = np.linalg.inv(covariances)
        log_weights = 3 * first + 2 * second - np.einsum("sii,i->s", inverses, self.floor) / 2
        dof, any_scale = np.array([self.dof]), np.eye(2)
        log_weights += [
            log_of_unknown_scale("full", dof, self.scale_dof, self.rate, w[None], any_scale) for w in inverses
        ]
        log_det = np.linalg.slogdet(covariances)[1]
        found = np.zeros((first.size, 2 ** len(x)))
        for at, rows in enumerate(subsets(len(x))):
            n = rows.sum()
            if n:
                apart, shift = x[rows] - x[rows].mean(axis=0), x[rows].mean(axis=0) - self.loc
                wide = covariances + n * self.loc_covariance
                squares = np.einsum("sij,ij->s", inverses, apart.T @ apart)
                squares += n * np.einsum("i,sij,j->s", shift, np.linalg.inv(wide), shift)
                log_dets = (n - 1) * log_det + np.linalg.slogdet(wide)[1]
                found[:, at] = -(x[rows].size * np.log(2 * np.pi) + log_dets + squares) / 2
        return np.column_stack([found, log_weights])

    def _cube(self, *bounds):
        axes = [np.linspace(*each, self.scales) for each in bounds]
        return (axis.ravel() for axis in np.meshgrid(*axes, indexing="ij"))


def responsibilities(x, weights, means, covariances):
    """Probability of each component given each row (n, d), for many draws at a time, (chain, draw, k, n)."""
    apart = x.T - means[..., None]
    squares = (apart * np.linalg.solve(covariances, apart)).sum(axis=-2)
    log_scale = np.log(weights) - np.linalg.slogdet(covariances)[1] / 2
    return softmax(log_scale[..., None] - squares / 2, axis=-2)


def log_normals(x, means, covariances):
    """Log density of rows (n, d) under each component, (k, n)."""
    return np.stack(
        [np.atleast_1d(stats.multivariate_normal(m, c).logpdf(x)) for m, c in zip(means, covariances, strict=True)]
    )


def log_likelihood(x, weights, means, covariances):
    return logsumexp(np.log(weights)[:, None] + log_normals(x, means, covariances), axis=0).sum()


def log_covariance_prior(kind, dof, scale, covariances):
    """Log density of the free numbers of covariances (k, d, d); dof (k,), scale (k, d, d) as a user gives them."""
    if kind == "full":
        each = zip(dof, scale, covariances, strict=True)
        return sum(float(stats.invwishart(nu, s).logpdf(c)) for nu, s, c in each)
    if kind == "tied":
        return float(stats.invwishart(dof[0], scale[0]).logpdf(covariances[0]))
    total = 0.0
    for nu, s, c in zip(dof, scale, covariances, strict=True):
        widths, variances = np.diag(s), np.diag(c)
        if kind == "spherical":
            widths, variances = [widths.mean()], variances[:1]
        total += sum(stats.invgamma(nu / 2, scale=w / 2).logpdf(v) for w, v in zip(widths, variances, strict=True))
    return total


def log_mean_prior(loc, spread, means):
    """Log density of means (k, d), each normal about ``loc`` with its covariance in ``spread`` (k, d, d)."""
    each = zip(loc, spread, means, strict=True)
    return sum(float(stats.multivariate_normal(m0, v).logpdf(m)) for m0, v, m in each)


def log_of_unknown_scale(kind, dof, scale_dof, rate, inverses, scale):
    """Log density of covariances whose common scale is Wishart, by their inverses (b, d, d) and any one scale."""
    if kind in ("diag", "spherical"):
        rates = np.diag(rate) if kind == "diag" else [np.exp(np.log(np.diag(rate)).mean())]
        each = zip(rates, np.diagonal(inverses, axis1=1, axis2=2).T, np.diag(scale), strict=False)
        return sum(
            log_of_unknown_scale("full", dof, scale_dof, np.array([[r]]), one[:, None, None], np.array([[s]]))
            for r, one, s in each
        )
    dof = dof[: len(inverses)]
    prior = stats.wishart(scale_dof, np.linalg.inv(rate)).logpdf(scale)
    given = sum(stats.invwishart(nu, scale).logpdf(np.linalg.inv(w)) for nu, w in zip(dof, inverses, strict=True))
    total = scale_dof + dof.sum()
    return prior + given - stats.wishart(total, np.linalg.inv(rate + inverses.sum(axis=0))).logpdf(scale)
