"""What the default prior finds where the groups are known: simulated kinds of data, and tables with classes."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.console import Console
from scipy.optimize import linear_sum_assignment

import bayesgmm as bg
from benchmarks.report import Table

#: Memberships above this are called sure.
SURE = 0.99
#: Priors by the name of their row.
PRIORS = {"HierarchicalPrior (default)": None, "ConjugatePrior.from_data": bg.ConjugatePrior}


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of data.

    Attributes
    ----------
    n, d, k : int
        Rows, features and groups.
    apart : float
        How far apart centres are, in standard deviations of a group: of the normal from which they are drawn, each at
        least so far from the others as well.
    smallest : float
        Weight of the smallest group over that of the largest; the others lie between, evenly in logarithms.
    volumes : float
        Standard deviation of the widest group over that of the narrowest.
    correlation : float
        Of neighbouring columns, in directions that differ by group.
    shape : {"normal", "skewed", "tails", "rounded"}
        Of groups: exponentials of normals, Student's t with 4 degrees of freedom, or rounded to a fifth of a deviation.
    """

    n: int
    d: int
    k: int
    apart: float = 4.0
    smallest: float = 1.0
    volumes: float = 1.0
    correlation: float = 0.0
    shape: str = "normal"

    def drawn(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Return rows, and the group of each."""
        weights = np.geomspace(1.0, self.smallest, self.k)
        labels = np.sort(rng.choice(self.k, size=self.n, p=weights / weights.sum()))
        widths = rng.permutation(np.geomspace(1.0, self.volumes, self.k))
        x = self._noise(rng)
        for c, centre in enumerate(self._centres(rng)):
            x[labels == c] = centre + widths[c] * x[labels == c] @ self._root(rng)
        return (np.round(5 * x) / 5 if self.shape == "rounded" else x), labels

    def _noise(self, rng: np.random.Generator) -> np.ndarray:
        z = rng.standard_normal((self.n, self.d))
        if self.shape == "skewed":
            return (np.exp(z / 2) - np.exp(1 / 8)) / 0.6
        return z / np.sqrt(rng.chisquare(4, size=(self.n, 1)) / 4) if self.shape == "tails" else z

    def _centres(self, rng: np.random.Generator) -> np.ndarray:
        """Draw centres until no two are nearer than ``apart``, on an ever wider scale."""
        scale = self.apart / np.sqrt(2 * self.d)
        while True:
            centres = scale * rng.standard_normal((self.k, self.d))
            gaps = np.linalg.norm(centres[:, None] - centres, axis=-1) + np.diag(np.full(self.k, np.inf))
            if gaps.min() >= self.apart:
                return centres
            scale *= 1.02

    def _root(self, rng: np.random.Generator) -> np.ndarray:
        if self.d == 1 or self.correlation == 0:
            return np.eye(self.d)
        signs = rng.choice([-1.0, 1.0], size=self.d)
        apart = np.abs(np.subtract.outer(np.arange(self.d), np.arange(self.d)))
        return np.linalg.cholesky(self.correlation**apart * np.multiply.outer(signs, signs)).T

    @property
    def words(self) -> str:
        """The kind in a few words."""
        extra = [f"weights 1 : {self.smallest:g}"] * (self.smallest < 1) + [f"widths 1 : {self.volumes:g}"] * (
            self.volumes > 1
        )
        extra += [f"correlated {self.correlation:g}"] * (self.correlation > 0) + [self.shape] * (self.shape != "normal")
        return f"{self.n} x {self.d}, K = {self.k}, {self.apart:g} sd" + "".join(f", {word}" for word in extra)


KINDS = [
    Kind(30, 1, 2), Kind(30, 2, 2), Kind(50, 4, 2), Kind(60, 2, 3), Kind(100, 1, 2, 3), Kind(100, 2, 2, 2.5),
    Kind(100, 4, 3), Kind(100, 8, 2), Kind(150, 4, 3, 3), Kind(150, 4, 3, correlation=0.8), Kind(180, 13, 3),
    Kind(200, 1, 3), Kind(200, 2, 3, 3), Kind(200, 2, 4), Kind(200, 5, 4, correlation=0.95),
    Kind(200, 6, 2, smallest=0.2), Kind(300, 1, 2, 2), Kind(300, 2, 2, 2), Kind(300, 2, 3, smallest=0.1),
    Kind(300, 2, 3, volumes=4), Kind(300, 3, 3, correlation=0.9), Kind(300, 4, 2, 3, 0.1), Kind(300, 4, 4, volumes=3),
    Kind(300, 8, 3, correlation=0.8), Kind(300, 10, 5), Kind(400, 2, 6), Kind(400, 2, 8, 5), Kind(400, 5, 3, 3),
    Kind(400, 15, 3), Kind(500, 1, 4), Kind(500, 2, 2, smallest=0.05), Kind(500, 6, 4, 3, 0.3, 2, 0.5),
    Kind(500, 10, 4, correlation=0.9), Kind(600, 12, 6), Kind(1000, 2, 5, 3), Kind(1000, 4, 6), Kind(2000, 3, 8),
    Kind(200, 2, 2, shape="skewed"), Kind(300, 4, 3, 5, shape="skewed"), Kind(300, 2, 2, 5, shape="tails"),
    Kind(400, 5, 3, 6, shape="tails"), Kind(100, 2, 2, shape="rounded"), Kind(200, 4, 3, shape="rounded"),
    Kind(500, 2, 4, shape="rounded"), Kind(150, 1, 2, shape="rounded"),
    Kind(300, 6, 3, correlation=0.8, shape="rounded"),
]  # fmt: skip


def scores(x: np.ndarray, labels: np.ndarray, k: int, prior: Any, seed: int) -> dict[str, float]:
    """Fit by Gibbs and return how right memberships are, components being matched to the known groups."""
    from sklearn.metrics import adjusted_rand_score

    model = bg.MixtureModel(k, prior=None if prior is None else prior.from_data(x, k))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bg.errors.BayesGMMWarning)
        result = bg.fit(x, model, engine="gibbs", seed=seed, progress=False)
    found = result.memberships()
    probability = found.probability.values
    groups = np.eye(labels.max() + 1)[labels]
    rows, columns = linear_sum_assignment(-(groups.T @ probability))
    matched = np.zeros((len(x), groups.shape[1]))
    matched[:, rows] = probability[:, columns]
    said = np.maximum(matched[np.arange(len(x)), labels], np.finfo(float).tiny)
    sure = matched.max(axis=1) > SURE
    return {
        "ari": float(adjusted_rand_score(labels, found.label.values)),
        "log_loss": float(-np.log(said).mean()),
        "brier": float(((matched - groups) ** 2).sum(axis=1).mean()),
        "sure_and_wrong": float((sure & (matched.argmax(axis=1) != labels)).mean()),
        "warned": float(bool(result.warnings)),
    }


def simulated(quick: bool) -> Table:
    """Hold the default prior against the one before it on simulated kinds of data."""
    kinds, seeds, console = (KINDS[:4], 1, Console()) if quick else (KINDS, 3, Console())
    found: dict[str, list[dict[str, float]]] = {name: [] for name in PRIORS}
    for at, kind in enumerate(kinds):
        for seed in range(seeds):
            x, labels = kind.drawn(np.random.default_rng([at, seed]))
            for name, prior in PRIORS.items():
                found[name].append(scores(x, labels, kind.k, prior, seed))
        console.print(kind.words, {name: round(each[-1]["ari"], 2) for name, each in found.items()})
    rows = [_summary(f"{len(kinds)} kinds, {seeds} sets each", name, each) for name, each in found.items()]
    return Table("default_prior", "Simulated data with known groups, by Gibbs: means over data sets", rows)


def _summary(data: str, name: str, each: list[dict[str, float]]) -> dict[str, Any]:
    means = {score: float(np.mean([one[score] for one in each])) for score in each[0]}
    return {"data": data, "form": name, **means}


def tables() -> dict[str, tuple[np.ndarray, np.ndarray, int]]:
    """Return rows, known classes and their number, of tables that come with scikit-learn."""
    from sklearn import datasets
    from sklearn.decomposition import PCA

    iris, wine, cancer = (load() for load in (datasets.load_iris, datasets.load_wine, datasets.load_breast_cancer))
    digits = datasets.load_digits(n_class=4)
    return {
        "iris": (iris.data, iris.target, 3),
        "wine": (wine.data, wine.target, 3),
        "breast cancer, 30 columns": (cancer.data, cancer.target, 2),
        "breast cancer, first 5 columns": (cancer.data[:, :5], cancer.target, 2),
        "digits 0 to 3, 12 components": (PCA(12, svd_solver="full").fit_transform(digits.data), digits.target, 4),
    }


def known_classes(quick: bool) -> Table:
    """Return the adjusted Rand index of each engine's groups against known classes, over seeds."""
    from sklearn.metrics import adjusted_rand_score

    rows, console = [], Console()
    for data, (x, classes, k) in tables().items():
        for name, prior in PRIORS.items():
            model = bg.MixtureModel(k, prior=None if prior is None else prior.from_data(x, k))
            seeds_of = {"em": 2} if quick else {"em": 10, "gibbs": 3} | ({"nuts": 3} if prior is None else {})
            for engine, seeds in seeds_of.items():
                index = [adjusted_rand_score(classes, _labels(x, model, engine, seed)) for seed in range(seeds)]
                low, median, high = map(float, np.quantile(index, [0, 0.5, 1]))
                rows.append({"data": data, "form": f"{name}, {engine}", "ari": median, "least": low, "most": high})
                console.print(rows[-1])
    return Table("known_classes", "Adjusted Rand index against known classes, default settings, over seeds", rows)


def _labels(x: np.ndarray, model: Any, engine: str, seed: int) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bg.errors.BayesGMMWarning)
        return bg.fit(x, model, engine=engine, seed=seed, progress=False).predict()
