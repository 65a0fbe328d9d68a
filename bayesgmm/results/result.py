"""The common result: what every engine returns, and what can be asked of it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload
from warnings import warn

import numpy as np
from jaxtyping import Float, Int

from bayesgmm.answers import memberships as soft
from bayesgmm.answers import predictive
from bayesgmm.answers.diagnostics import (
    CLEAR_MARGIN,
    Run,
    complaints,
    doubts,
    effective_share,
    invariants,
    label_doubts,
    stuck_chains,
    table,
)
from bayesgmm.answers.memberships_file import write_memberships
from bayesgmm.answers.relabelling import (
    ALIGNMENT_ROWS,
    METHODS,
    Relabelling,
    RelabelMethod,
    relabelling,
    switch_rate,
)
from bayesgmm.answers.tables import named_values, summarised
from bayesgmm.arguments import one_of, random_generator, real_number, whole_number
from bayesgmm.data import Observations, Reading, Rows, rows_of
from bayesgmm.data.doubles import read_only
from bayesgmm.data.weights import COPIED_VALUES
from bayesgmm.engines.elsewhere import Elsewhere, draws_from
from bayesgmm.errors import WARNINGS, BayesGMMWarning, DataError, LabelSwitchingWarning, ModelError
from bayesgmm.expectation.pass_over_rows import log_densities, responsibilities
from bayesgmm.model.mixture import MixtureModel
from bayesgmm.model.parameters import Draws, MixtureParameters
from bayesgmm.model.priors import Prior, is_exchangeable
from bayesgmm.model.simulation import draw_rows
from bayesgmm.results import storage
from bayesgmm.results.doubts import doubts_of_groups
from bayesgmm.results.modes import atlas, chain_optima, doubts_of_search, reached
from bayesgmm.results.tree import (
    dataset,
    digest_of,
    observations_of,
    parameters_of,
    prior_of,
    settled,
    tree_of,
    with_parameters,
)

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

#: Pointwise log-likelihoods are kept with the result up to so many values (64 MB); beyond, on request.
POINTWISE_VALUES = 8_000_000


def _frozen(array: xr.DataArray) -> xr.DataArray:
    """Return an array that cannot be written to."""
    return array.copy(data=read_only(array.values))


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class MixtureResult:
    """A fitted mixture: one draw from EM, many from a sampler, and the same questions to both.

    Attributes
    ----------
    tree : xarray.DataTree
        ArviZ's schema: ``posterior``, ``sample_stats``, ``observed_data``, ``constant_data``, for samplers
        ``log_likelihood``; and ``optima``, ``trace``, ``prior_hyperparameters``. Draws carry the labels of one
        optimum, the `pivot`; `relabelled` gives them others, or back as they were sampled.
    engine : object
        Settings that made it.
    model : MixtureModel
        What was fitted.

    Examples
    --------
    >>> import bayesgmm as bg
    >>> result = bg.fit(bg.datasets.load_faithful(), 2, engine="em", seed=1)
    >>> result.weights.dims
    ('chain', 'draw', 'component')
    """

    tree: xr.DataTree
    engine: Any
    model: MixtureModel

    @classmethod
    def of(
        cls,
        draws: Draws,
        data: Rows,
        model: MixtureModel,
        engine: Any,
        *,
        seed: int | None,
        seconds: float,
        prior: Prior | None = None,
    ) -> MixtureResult:
        """Put draws, in the coordinates of the fit, into a result in data units, as is ``prior``."""
        prior = model.prior_for(data) if prior is None else prior
        tree = tree_of(settled(draws, data, model, prior), data, model, prior, engine, seed=seed, seconds=seconds)
        result = cls(tree, engine, model)
        result._say(result._found_wanting())
        small = len(data) * draws.log_posterior.size <= POINTWISE_VALUES and isinstance(data, Observations)
        return result.with_log_likelihood() if small and not result.is_point else result

    @classmethod
    def from_draws(
        cls,
        draws: Any,
        data: Any,
        model: MixtureModel | int,
        *,
        names: Mapping[str, str] | None = None,
        sample_weight: Any = None,
        seed: int = 0,
    ) -> MixtureResult:
        """Return the result of posterior draws that were made elsewhere: by an edited PyMC model, NumPyro, Stan, JAGS.

        Parameters
        ----------
        draws : DataTree, Dataset, InferenceData or dict of arrays
            ``weights`` (chain, draw, k), ``means`` (chain, draw, k, d) and ``covariances`` (chain, draw, k, d, d), in
            data units; arrays without a chain axis are one chain. Features with names are found by name. ``diverging``
            and other ``sample_stats`` are kept where they are.
        data : table
            The rows that the draws are about, as `fit` takes them.
        model : MixtureModel or int
            With a proper prior. The modes that EM finds, by which labels are aligned, and log posteriors (``lp``) are
            those of this model; of an edited one they are approximations.
        names : mapping, optional
            Other names of the arrays: ``{"weights": "theta"}``.
        sample_weight : array (n,) or str, optional
            Frequency weights of the rows.
        seed : int
            Of EM's search.

        Returns
        -------
        MixtureResult
            Relabelled, with memberships, diagnostics and warnings, as from a sampler of this package.

        Raises
        ------
        DataError, ModelError
            If the draws hold no mixtures of the model, or the data do not fit.

        Warns
        -----
        BayesGMMWarning
            As `fit`.

        Examples
        --------
        >>> import bayesgmm as bg
        >>> faithful = bg.datasets.load_faithful()
        >>> made = bg.fit(faithful, 2, engine="gibbs", seed=1, progress=False)
        >>> arrays = {name: made.tree["posterior"][name].values for name in ("weights", "means", "covariances")}
        >>> result = bg.MixtureResult.from_draws(arrays, faithful, 2)
        >>> bool(abs(result.predict_proba() - made.predict_proba()).max() < 1e-9)
        True
        """
        mixture, observations = MixtureModel.of(model), rows_of(data, sample_weight)
        frame = mixture.frame_of(observations)
        seen, prior = mixture.seen(observations, frame), mixture.prior_for(observations, frame)
        rng = random_generator(whole_number(seed, "seed", 0))
        within = prior.in_units(seen.origin, seen.unit)
        found = draws_from(draws, names or {}, seen.counted(), mixture, within, rng)
        chains, each = found.log_posterior.shape
        result = cls.of(found, seen, mixture, Elsewhere(each, chains), seed=seed, seconds=0.0, prior=prior)
        for warning in result.warnings:
            warn(warning, stacklevel=2)
        return result

    def _say(self, warnings: list[BayesGMMWarning]) -> None:
        """Write into the tree, which is new, what keeps the result from being trusted."""
        self.tree.attrs["warnings"] = json.dumps([[type(w).__name__, str(w)] for w in warnings])

    def _found_wanting(self) -> list[BayesGMMWarning]:
        """Return what keeps the fit from being trusted."""
        said = doubts(self.facts) + doubts_of_groups(self.tree, self.model)
        if self.kind != "posterior":
            return said + doubts_of_search(self.tree, self.model.is_flat)
        stats = dataset(self.tree, "sample_stats")
        k = self.model.n_components
        run = Run(
            stats["lp"].values,
            chain_optima(self.tree),
            self.divergences,
            float((stats["occupied"] < k).mean()) if "occupied" in stats else 0.0,
            *self._unclear_labels(),
            self.facts.get("missing_information"),
        )
        return said + complaints(self.diagnostics(), run)

    def _unclear_labels(self) -> tuple[float, float]:
        """Return the share of draws whose labels are hardly clear, and of those where they switched unasked."""
        stats = dataset(self.tree, "sample_stats")
        by_design = getattr(self.engine, "permutation", "none") == "random"
        unclear = float((stats["label_margin"] < CLEAR_MARGIN).mean()) if "label_margin" in stats else 0.0
        return unclear, 0.0 if by_design else self.switch_rate

    @property
    def warnings(self) -> list[BayesGMMWarning]:
        """What keeps the fit from being trusted, with what to do; `fit` has warned of each."""
        written = json.loads(self.tree.attrs["warnings"])
        return [WARNINGS[name](sentence) for name, sentence in written]

    @property
    def weights(self) -> xr.DataArray:
        """Weights (chain, draw, component)."""
        return _frozen(dataset(self.tree, "posterior")["weights"])

    @property
    def means(self) -> xr.DataArray:
        """Means (chain, draw, component, feature), in data units."""
        return _frozen(dataset(self.tree, "posterior")["means"])

    @property
    def covariances(self) -> xr.DataArray:
        """Covariances (chain, draw, component, feature, feature_bis), in squared data units."""
        return _frozen(dataset(self.tree, "posterior")["covariances"])

    @property
    def is_point(self) -> bool:
        """Whether this is a point estimate alone: one draw, from EM without ``uncertainty``."""
        return self.weights.sizes["chain"] * self.weights.sizes["draw"] == 1

    @property
    def kind(self) -> str:
        """What the draws are: "posterior", "point estimate", or the name of an approximation about one."""
        return str(self.tree.attrs["kind"])

    @property
    def facts(self) -> dict[str, float]:
        """What says how far the result can be trusted, such as ``k_hat`` of an approximation.

        ``missing_information``: the largest fraction of information on a parameter that the labels hide, by EM's rate
        of convergence; with 0.99, one draw of Gibbs in 200 is worth an independent one.
        """
        return json.loads(self.tree.attrs["facts"])

    @property
    def parameters(self) -> MixtureParameters:
        """The best point: EM's estimate, or the optimum from which a sampler started; in data units."""
        return parameters_of(dataset(self.tree, "posterior"))[0, 0].frozen() if self.is_point else self.optimum

    @property
    def optimum(self) -> MixtureParameters:
        """The best optimum that EM climbed to, in data units."""
        return parameters_of(dataset(self.tree, "optima"))[0].frozen()

    @property
    def pivot(self) -> MixtureParameters:
        """The optimum that most draws are nearest to, in data units: labels are aligned to it."""
        optima = dataset(self.tree, "optima")
        return parameters_of(optima)[int(optima.attrs.get("pivot", 0))].frozen()

    @property
    def relabelling(self) -> RelabelMethod | Literal["none"]:
        """The method of `relabelled` whose labels all answers use; "none" where the draws carry their own."""
        return self.tree.attrs.get("relabelling", "em")

    @property
    def data(self) -> Observations:
        """The rows that were fitted, not to be written to; of a source a sample, weighted to stand for all.

        Raises
        ------
        DataError
            If they were too many to be copied, and have been written to since.
        """
        self._check_unchanged()
        return self._rows.frozen()

    @property
    def _rows(self) -> Observations:
        return observations_of(self.tree)

    def _check_unchanged(self) -> None:
        """Refuse to answer about rows that somebody else has written to; those that were copied are our own."""
        rows = self._rows
        if rows.values.size > COPIED_VALUES and digest_of(rows) != self.tree.attrs["data_sha256"]:
            raise DataError("the rows that were fitted have been written to since; fit again, to a copy of them")

    @property
    def n_rows(self) -> int:
        """Number of rows that were fitted."""
        return self._source["rows"] if self._source else len(self._rows)

    @property
    def _source(self) -> dict[str, Any]:
        """Where the rows are that are not kept with the result; empty if all are kept."""
        return json.loads(self.tree.attrs.get("source", "{}"))

    @property
    def seconds(self) -> float:
        """Wall time of the fit."""
        return float(self.tree.attrs["seconds"])

    def as_seen(self, data: Any = None) -> Rows:
        """Return the fitted rows, or others, in the coordinates of the fit (`Observations.origin` and ``unit``)."""
        fitted = self._rows
        if data is None:
            self._refuse_to_stand_for_source()
            self._check_unchanged()
            return fitted
        reading = Reading(of_fit=fitted.features if fitted.named else ())
        return (
            rows_of(data, reading=reading).matching(fitted.features, fitted.named).in_units(fitted.origin, fitted.unit)
        )

    def _in_memory(self, data: Any) -> Observations:
        """Return training or new rows, or say that what is wanted of them would not fit into memory."""
        rows = self.as_seen(data)
        if not isinstance(rows, Observations):
            raise DataError(
                f"what is asked of {len(rows):,} rows would be held in memory; write it to a file: "
                "memberships(data, to='memberships.parquet')"
            )
        return rows

    def _refuse_to_stand_for_source(self) -> None:
        """Refuse to answer for all rows of a source from the sample that is kept."""
        if self._source:
            raise DataError(
                f"the {self.n_rows:,} rows of {self._source['path']!r} are not kept with the result; give them as "
                "`data`, and a file to write to: memberships(data, to='memberships.parquet')"
            )

    def draws(self) -> MixtureParameters:
        """Return the draws, labelled by `relabelling`: grid (chain, draw), in data units."""
        return parameters_of(dataset(self.tree, "posterior")).frozen()

    def draws_as_seen(self) -> MixtureParameters:
        """Return the same draws in the coordinates of the fit."""
        data = self._rows
        return parameters_of(dataset(self.tree, "posterior")).moved(data.origin, data.unit)

    @overload
    def memberships(self, data: Any = None, *, ci_prob: float = 0.9, to: None = None) -> xr.Dataset: ...

    @overload
    def memberships(self, data: Any = None, *, ci_prob: float = 0.9, to: str | os.PathLike[str]) -> Path: ...

    def memberships(
        self, data: Any = None, *, ci_prob: float = 0.9, to: str | os.PathLike[str] | None = None
    ) -> xr.Dataset | Path:
        """Return the membership of every row in every component, with its uncertainty.

        Parameters
        ----------
        data : table or source, optional
            New rows with the columns of the fit; the fitted rows where not given.
        ci_prob : float
            Probability inside the credible interval ``lower`` ... ``upper``.
        to : path, optional
            A ``.parquet`` file or ``.zarr`` group to which one line a row is written, block by block, instead; its
            path is returned. Rows that are read by blocks need it.

        Returns
        -------
        xarray.Dataset or Path
            ``probability`` (observation, component): responsibilities averaged over relabelled draws (at most
            2,000 of them, evenly spaced: attribute ``draws``);
            ``lower``, ``upper``: their equal-tailed interval, NaN for a point estimate without ``uncertainty`` (where
            nearly all draws say 0 or 1, a few others can pull the mean outside it); ``label``: the most probable
            component; ``entropy`` = ``entropy_overlap`` (the groups overlap there; more data will not
            help) + ``entropy_parameter`` (the parameters are uncertain; more data will help; NaN where the interval
            is), in nats.

        Raises
        ------
        DataError
            If the new rows do not fit.

        Examples
        --------
        >>> import bayesgmm as bg
        >>> result = bg.fit(bg.datasets.load_customers(), 2, engine="em", seed=1)
        >>> float(result.memberships().probability.sel(observation="C200").sum().round(12))
        1.0
        """
        real_number(ci_prob, "ci_prob", 0.0, 1.0)
        kind = self.model.covariance_type
        if to is not None:
            return write_memberships(to, soft.thinned(self.draws_as_seen()), self.as_seen(data), kind, ci_prob)
        found = soft.memberships(self.draws_as_seen(), self._in_memory(data), kind, ci_prob)
        return found.assign_attrs(kind=self.kind)

    def predict_proba(self, data: Any = None) -> Float[np.ndarray, "n k"]:
        """Return the memberships (n, k) of fitted or new rows."""
        return self.memberships(data).probability.values

    def predict(self, data: Any = None) -> Int[np.ndarray, " n"]:
        """Return the most probable component of fitted or new rows."""
        return self.memberships(data).label.values

    def log_density(self, data: Any = None) -> Float[np.ndarray, " n"]:
        """Return the log of the density averaged over (at most 2,000) draws at fitted or new rows, in nats."""
        return soft.log_average_density(self.draws_as_seen(), self._in_memory(data), self.model.covariance_type)

    def sample(self, n: int, *, seed: Any = None) -> pd.DataFrame:
        """Draw ``n`` new rows from the posterior predictive distribution: a draw each, then a row."""
        import pandas as pd

        rng = random_generator(seed)
        draws = parameters_of(dataset(self.tree, "posterior"))
        flat = draws.reshaped((-1,))
        rows, _ = draw_rows(flat[rng.integers(len(flat.weights), size=whole_number(n, "n", 1))], rng)
        return pd.DataFrame(rows, columns=list(self._rows.features))

    def loo(self, data: Any = None) -> Any:
        """Return the leave-one-out estimate of predictive accuracy, as ArviZ's ``ELPDData``.

        By Pareto-smoothed importance sampling (Vehtari et al. 2017), of the density with labels summed out. It needs
        no ``log_likelihood`` group: rows are read block by block, and memory does not grow with them. The elpd of a
        row of weight 3 is of the three left out together.

        Parameters
        ----------
        data : table or source, optional
            The rows that were fitted, where they are not kept with the result.

        Raises
        ------
        ModelError
            If this is a point estimate: nothing tells how sure the parameters are.
        DataError
            If ``data`` are not the rows that were fitted, or are needed and not given.

        Examples
        --------
        >>> import bayesgmm as bg
        >>> result = bg.fit(bg.datasets.load_faithful(), 2, engine="gibbs", seed=1, progress=False)
        >>> bool(-1145 < result.loo().elpd < -1138)
        True
        """
        if self.is_point:
            raise ModelError("leaving rows out needs draws; fit with engine='gibbs' or 'nuts'")
        rows = self.as_seen(data)
        if len(rows) != self.n_rows:
            raise DataError(f"`data` has to be the {self.n_rows:,} rows that were fitted, got {len(rows):,}")
        share = effective_share(dataset(self.tree, "posterior"))
        return predictive.loo(self.draws_as_seen(), rows, self.model.covariance_type, share)

    def predictive_check(self, data: Any = None, *, draws: int = 200, seed: Any = 0) -> pd.DataFrame:
        """Return a posterior predictive check: statistics of the rows beside those of replicated data.

        Every one of ``draws`` draws replicates the data, as many rows as there are; both are summed up block by block.

        Parameters
        ----------
        data : table or source, optional
            The rows that were fitted where they are not kept with the result, or others with the same columns.
        draws : int
            Number of replicates.
        seed : int or numpy Generator
            The same seed gives the same replicates.

        Returns
        -------
        DataFrame
            One row a statistic: mean, sd, skewness, excess kurtosis, least and largest value of each column, and the
            correlation of each pair. ``observed``; mean, ``lower`` and ``upper`` (90 %) of the ``replicated``; and
            ``p_value``, the share of replicates that lie above (Gelman, Meng & Stern 1996). Near 0 or 1 the model
            does not reproduce the statistic; as the model was fitted to the same rows, it is seldom near either.

        Examples
        --------
        >>> import bayesgmm as bg
        >>> result = bg.fit(bg.datasets.load_faithful(), 2, engine="gibbs", seed=1, progress=False)
        >>> bool(result.predictive_check(seed=1).loc["mean[eruptions]", "p_value"] > 0.05)
        True
        """
        rows = self.as_seen(data)
        some = soft.thinned(self.draws_as_seen(), whole_number(draws, "draws", 2))
        if len(some.weights) == 1:
            some = some[np.zeros(draws, int)]
        return predictive.check(some, rows, int(random_generator(seed).integers(2**31)))

    def with_log_likelihood(self) -> MixtureResult:
        """Return the result with the pointwise ``log_likelihood`` group that ``az.loo`` reads.

        Samplers' results have it already unless rows times draws exceed `POINTWISE_VALUES`.
        """
        import xarray as xr

        self._refuse_to_stand_for_source()
        data = self._rows
        draws = parameters_of(dataset(self.tree, "posterior")).moved(data.origin, data.unit)
        values = log_densities(draws, data, self.model.covariance_type)
        # A row that does not count may have no density at all.
        values = np.where(data.sample_weight > 0, values * data.sample_weight, 0.0)
        tree = self.tree.copy()
        coords = {"chain": self.weights["chain"], "draw": self.weights["draw"], "observation": data.index}
        group = xr.Dataset({"observations": (("chain", "draw", "observation"), values)}, coords)
        tree["log_likelihood"] = xr.DataTree(group)
        return replace(self, tree=tree)

    def summary(self, *, ci_prob: float = 0.9) -> pd.DataFrame:
        """Return mean, sd, interval, R-hat and effective draws of every parameter, in data units.

        Of a point estimate there is only the value: the rest is NaN.
        """
        real_number(ci_prob, "ci_prob", 0.0, 1.0)
        values = named_values(self.draws(), self._rows.features)
        return summarised(values, ci_prob, self.is_point)

    def diagnostics(self) -> pd.DataFrame:
        """Return what tells whether the result can be trusted; no permutation of labels changes it.

        For samplers: R-hat and effective draws of label-invariant quantities, then the switch rate, the
        number of divergent draws and of stuck chains. For EM: convergence, iterations, optima.
        """
        import pandas as pd

        if self.kind != "posterior":
            return pd.DataFrame({"mean": self._em_facts() | self.facts}).rename_axis("quantity")
        data, stats = self._rows, dataset(self.tree, "sample_stats")
        draws = parameters_of(dataset(self.tree, "posterior")).moved(data.origin, data.unit)
        quantities = {"log_posterior": stats["lp"].values, "log_likelihood": stats["log_likelihood_total"].values}
        if "occupied" in stats:
            quantities["occupied_components"] = stats["occupied"].values
        found = table(quantities | invariants(draws, data, self.model.covariance_type))
        facts = {
            "switch_rate": self.switch_rate,
            "divergences": self.divergences,
            "stuck_chains": len(self.stuck_chains),
        }
        return pd.concat([found, pd.DataFrame({"mean": facts})]).rename_axis("quantity")

    def _em_facts(self) -> dict[str, float]:
        optima, trace = dataset(self.tree, "optima"), dataset(self.tree, "trace")
        return {
            "converged": float(self.tree.attrs["converged"]),
            "iterations": float(trace.sizes["iteration"] - 1),
            "log_posterior": float(optima["log_posterior"][0]),
            "optima": float(reached(optima).sum()),
            "basin_share": float(optima["basin_share"][0]),
            "dropped_starts": float(optima.attrs["dropped_starts"]),
        }

    @property
    def switch_rate(self) -> float:
        """Share of draws whose labels, as sampled, differ from those of the draw before; NaN if none were compared."""
        if self.has_free_labels and self.relabelling == "none":
            return np.nan
        stats = dataset(self.tree, "sample_stats")
        return switch_rate(stats["label_order"].values) if "label_order" in stats else 0.0

    @property
    def divergences(self) -> int:
        """Number of divergent transitions."""
        stats = dataset(self.tree, "sample_stats")
        return int(stats["diverging"].sum()) if "diverging" in stats else 0

    @property
    def stuck_chains(self) -> list[int]:
        """Chains whose log posterior stays far below the best chain's."""
        return stuck_chains(dataset(self.tree, "sample_stats")["lp"].values)

    def criteria(self) -> pd.Series:
        """Return log-likelihood, number of free parameters, AIC, BIC and ICL at the point estimate.

        Smaller is better: BIC is ``p log(n) - 2 log L``, minus the one that mclust prints; ICL adds
        ``-2 sum(log max_k r_ik)`` (Biernacki, Celeux & Govaert 2000, doi:10.1109/34.865189). n is the total weight.
        Under a proper prior they are taken at the posterior mode, as by Fraley & Raftery (2007). ICL is NaN where
        the rows were read from a source and are not there any more.

        Raises
        ------
        ModelError
            If this is no point estimate: criteria of a sample are `with_log_likelihood` and ``az.loo``.
        """
        import pandas as pd

        if self.kind == "posterior":
            raise ModelError(
                "criteria are defined at a point estimate; fit with engine='em', or use az.loo(result.tree)"
            )
        data = self._rows
        point = self.parameters.moved(data.origin, data.unit)
        kind = self.model.covariance_type
        if self._source:
            if not self.is_point:
                raise ModelError("criteria of rows that are not kept need a point estimate: EM() without uncertainty")
            found, certain = float(dataset(self.tree, "sample_stats")["log_likelihood_total"][0, 0]), np.nan
        else:
            found = float(log_densities(point, data, kind) @ data.sample_weight)
            certain = data.sample_weight @ np.log(responsibilities(point, data, kind).max(axis=0))
        p = self.model.free_parameters(data.n_features)
        bic = p * np.log(data.total_weight) - 2 * found
        return pd.Series(
            {"log_likelihood": found, "parameters": p, "aic": 2 * p - 2 * found, "bic": bic, "icl": bic - 2 * certain},
            name="criteria",
        )

    def relabelled(
        self, method: RelabelMethod | Literal["none"] = "em", *, rows: int = ALIGNMENT_ROWS, seed: int = 0
    ) -> MixtureResult:
        """Return the result with components permuted, draw by draw, all chains jointly; its answers use those labels.

        The draws are relabelled by "em" when they are fitted, and never again unless asked.

        Parameters
        ----------
        method : {"em", "stephens", "ecr", "ecr-iterated", "none"}
            "em" agrees best with the optimum of EM that most draws are nearest to; "stephens" with the mean of the
            relabelled responsibilities; "ecr" and "ecr-iterated" compare allocations of rows with those of
            the draw of highest posterior density, or with the most frequent ones (see `answers.relabelling`); "none"
            gives the draws as they were sampled.
            Where the prior differs between components their labels mean what it says, and all methods leave them.
        rows, seed : int
            Labels are compared on so many rows, drawn by this seed.
        """
        one_of(method, "method", (*METHODS, "none"))
        rows, seed = whole_number(rows, "rows", 2), whole_number(seed, "seed", 0)
        if not self.has_free_labels:
            return self
        if method == "none":
            stats = dataset(self.tree, "sample_stats")
            order = np.argsort(stats["label_order"].values, axis=-1)
        else:
            order = self._relabelling(method, rows, seed).order
        draws = parameters_of(dataset(self.tree, "posterior"))
        result = replace(self, tree=with_parameters(self.tree, draws.permuted(order), order, method))
        others = [w for w in self.warnings if not isinstance(w, LabelSwitchingWarning)]
        result._say(others + label_doubts(*result._unclear_labels()))
        return result

    @property
    def has_free_labels(self) -> bool:
        """Whether there are draws whose labels could be others: the prior does not tell components apart."""
        one = self.model.n_components == 1 or self.is_point
        return not one and is_exchangeable(prior_of(self.tree)) and "label_order" in dataset(self.tree, "sample_stats")

    def _relabelling(self, method: RelabelMethod, rows: int, seed: int) -> Relabelling:
        data, stats = self._rows, dataset(self.tree, "sample_stats")
        draws = parameters_of(dataset(self.tree, "posterior")).moved(data.origin, data.unit)
        best = draws.reshaped((-1,))[int(stats["lp"].values.argmax())]
        reference = self.pivot.moved(data.origin, data.unit)
        pivots = MixtureParameters(*(np.stack(pair) for pair in zip(reference.arrays, best.arrays, strict=True)))
        return relabelling(method, draws, pivots, data, self.model.covariance_type, rows, seed)

    def label_switching(self, *, rows: int = ALIGNMENT_ROWS, seed: int = 0) -> pd.DataFrame:
        """Return what each relabelling method finds, and how far they agree.

        Returns
        -------
        DataFrame
            One row a method: ``switch_rate``, the share of draws that it labels otherwise than the draw before, as
            they were sampled; its ``agreement`` with each other method, the share of draws that both permute alike;
            its ``cost`` (see `relabel.Relabelling`) and ``iterations``. Empty where labels are not free to switch.
        """
        import pandas as pd

        rows, seed = whole_number(rows, "rows", 2), whole_number(seed, "seed", 0)
        if not self.has_free_labels:
            return pd.DataFrame(index=pd.Index([], name="method"))
        sampled = dataset(self.tree, "sample_stats")["label_order"].values
        found = {method: self._relabelling(method, rows, seed) for method in METHODS}
        table = {}
        for method, one in found.items():
            agreement = {f"agreement[{m}]": float((one.order == o.order).all(axis=-1).mean()) for m, o in found.items()}
            order = np.take_along_axis(sampled, one.order, axis=-1)
            table[method] = {
                "switch_rate": switch_rate(order),
                **agreement,
                "cost": one.cost,
                "iterations": one.iterations,
            }
        return pd.DataFrame.from_dict(table, orient="index").rename_axis("method")

    def modes(self) -> pd.DataFrame:
        """Return the mode atlas: every distinct optimum that EM climbed to, best first.

        Returns
        -------
        DataFrame
            ``log_posterior`` (nats; the log-likelihood under the flat prior) and how far it is ``below_best``;
            whether it was ``found_by`` EM's starts, by moves (splits and merges of what these found) or by a climb from
            the best of the draws of a chain; ``basin_share`` of EM's starts; whether it is ``spurious``; whether EM
            ``converged`` there: else the start was cut short, by ``max_iter`` or far below the best, and this is no
            optimum; ``mass``, Laplace's estimate of the posterior share of the mode that it leads to (chains start in
            proportion to that of the optima known before; NaN under the flat prior, of a start cut short, and beyond
            the first eight); for draws, ``draws``, the share of them nearest to it, ``chains``, those that stay there,
            and a ``note`` where draws and mass do not agree; then its weights and means, in data units. Of optima that
            lead to one mode, the first has its mass.

        Examples
        --------
        >>> import bayesgmm as bg
        >>> result = bg.fit(bg.datasets.load_galaxies(), 3, engine="em", seed=1)
        >>> bool(result.modes()["log_posterior"].is_monotonic_decreasing)
        True
        """
        return atlas(self.tree, self.model.is_flat)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the result to a NetCDF file, whole or not at all; `load` reads it, and so does ArviZ.

        Raises
        ------
        DataError
            If rows have names that no file can hold: complex numbers, or dates beyond the years that have one.
        OSError
            If it cannot be written.
        """
        import xarray as xr

        from bayesgmm.results.carried import without_carried

        self._check_unchanged()
        tree = self.tree.copy()
        tree["posterior"] = xr.DataTree(without_carried(tree["posterior"].to_dataset(), prior_of(tree)))
        storage.save_tree(tree, path)

    def __repr__(self) -> str:
        from bayesgmm.results.words import result_text

        return result_text(self)

    def _repr_html_(self) -> str:
        from bayesgmm.results.words import result_html

        return result_html(self)
