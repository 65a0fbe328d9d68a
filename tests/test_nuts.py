"""NUTS: the posterior, from EM's modes, the same whatever the form, the sampler and the number of cores."""

import re
import time
import warnings

import numpy as np
import pytest

import bayesgmm as bg
from bayesgmm.answers.diagnostics import Run, complaints, invariants, stuck_chains, table
from bayesgmm.data import sums
from bayesgmm.engines.nuts import nuts
from bayesgmm.engines.nuts.nuts import Sampling, _sample_compact
from bayesgmm.expectation.pass_over_rows import e_step
from bayesgmm.posterior.chain_starts import Starts
from bayesgmm.posterior.compact import CompactPosterior, Whitening
from bayesgmm.results.tree import dataset, parameters_of

QUICK = {"draws": 250, "tune": 150, "chains": 4}


def quietly(data, model, engine, seed=1, **more):
    """Fit with few draws, which say that they are few."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bg.errors.BayesGMMWarning)
        return bg.fit(data, model, engine=engine, seed=seed, progress=False, **more)


def test_same_seed_gives_the_same_bits_on_any_number_of_cores(faithful):
    runs = [quietly(faithful, 2, bg.NUTS(**QUICK, cores=cores)).means.values for cores in (1, 2, 4, 1)]
    assert all(np.array_equal(run, runs[0]) for run in runs)


@pytest.mark.compiled
def test_the_sampler_that_calls_no_python_draws_the_same_bits(monkeypatch, faithful):
    """Where it turns back as well: of four components some transitions diverge."""
    data = bg.Observations.of(faithful).standardised()
    prior = bg.ConjugatePrior.from_data(faithful, 4).in_units(data.origin, data.unit)

    def run():
        return bg.NUTS(**QUICK, target_accept=0.3).run(data, prior, None, np.random.default_rng(1))

    with monkeypatch.context() as patched:
        patched.delattr(nuts, "_in_python")
        runs = [run()]
    in_python = lambda white, start: nuts._in_python(white.value_and_gradient, start, white.centre.size)  # noqa: E731
    monkeypatch.setattr(nuts, "_in_c", in_python)
    runs.append(run())
    one, other = ({"means": run.parameters.means, **run.sample_stats} for run in runs)
    assert {"diverging", "n_steps", "energy"} < set(one)
    assert all(np.array_equal(one[name], other[name]) for name in one)
    assert one["diverging"].any()


@pytest.mark.parametrize("at", [0, 150])
@pytest.mark.parametrize("kept", [False, True])
def test_what_fails_in_the_middle_is_raised_as_what_it_was(at, kept, monkeypatch, faithful, tmp_path):
    """A source that can no longer be read: at the first evaluation of a chain, and later."""
    compute, run, calls = Whitening.value_and_gradient, nuts._run_nutpie, []

    def lost(self, eta):
        if calls:
            calls.append(0)
        if len(calls) > at + 1:
            raise OSError("the disk is gone")
        return compute(self, eta)

    def run_on_lost(*arguments):
        calls.append(0)
        return run(*arguments)

    monkeypatch.setattr(sums, "CHUNK_ROWS", 64)
    monkeypatch.setattr(Whitening, "value_and_gradient", lost)
    monkeypatch.setattr(nuts, "_run_nutpie", run_on_lost)
    engine = bg.NUTS(**QUICK, cores=1, checkpoint=tmp_path / "c.npz" if kept else None)
    with pytest.raises(OSError, match="the disk is gone"):
        bg.fit(faithful, 2, engine=engine, seed=1, progress=False)
    assert len(calls) < at + 20, "what is lost is not asked again and again"


def test_a_chain_that_finds_no_start_ends_all(monkeypatch, faithful):
    draw_near, compute, calls = Starts.draw_near, Whitening.value_and_gradient, []

    def fails_once(self, seed, at):
        if not calls:
            calls.append(seed)
            raise OSError("the disk was away")
        return draw_near(self, seed, at)

    def counted(self, eta):
        calls.extend([0] * bool(calls))
        return compute(self, eta)

    monkeypatch.setattr(sums, "CHUNK_ROWS", 64)
    monkeypatch.setattr(Starts, "draw_near", fails_once)
    monkeypatch.setattr(Whitening, "value_and_gradient", counted)
    with pytest.raises(OSError, match="the disk was away"):
        bg.fit(faithful, 2, engine=bg.NUTS(**QUICK, cores=1), seed=1, progress=False)
    assert len(calls) < 20, "what cannot end well is not sampled"


def test_chains_that_are_finished_are_kept_when_another_fails(monkeypatch, faithful, tmp_path):
    run, runs, path = nuts._run_nutpie, [], tmp_path / "c.npz"

    def second_fails(*arguments):
        runs.append(0)
        if len(runs) == 2:
            raise OSError("no more")
        found = run(*arguments)
        time.sleep(0.5)  # It ends after the second has failed.
        return found

    monkeypatch.setattr(nuts, "_run_nutpie", second_fails)
    engine = bg.NUTS(**QUICK, cores=2, checkpoint=path)
    with pytest.raises(OSError, match="no more"):
        bg.fit(faithful, 2, engine=engine, seed=1, progress=False)
    assert any(name.startswith("chain") for name in np.load(path).files)
    quietly(faithful, 2, engine)
    assert len(runs) == 5


def test_seeds_and_chains_differ(faithful):
    one, two = (quietly(faithful, 2, bg.NUTS(**QUICK), seed=seed).means.values for seed in (1, 2))
    assert not np.array_equal(one, two)
    assert len({chain.tobytes() for chain in one}) == 4


def test_shipped_customers_and_faithful_pass_every_diagnostic(customers, faithful):
    for data in (customers, faithful):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = bg.fit(data, 2, seed=1, progress=False).diagnostics()
        assert found["r_hat"].max() < 1.01
        assert found["ess_bulk"].min() > 400


def z_scores(one, two):
    """Differences of the means of label-invariant quantities in Monte Carlo standard errors."""
    tables = []
    for result in (one, two):
        data = result.data
        draws = parameters_of(dataset(result.tree, "posterior")).moved(data.origin, data.unit)
        stats = dataset(result.tree, "sample_stats")
        quantities = {"lp": stats["lp"].values} | invariants(draws, data, result.model.covariance_type)
        tables.append(table(quantities))
    error = np.sqrt(sum(t["sd"] ** 2 / t["ess_bulk"] for t in tables))
    return ((tables[0]["mean"] - tables[1]["mean"]) / error).abs().max()


@pytest.mark.statistical
@pytest.mark.parametrize(
    "engine",
    [bg.NUTS(sampler="pymc", draws=400, tune=300, chains=2), bg.NUTS(form="transparent", draws=1000, tune=500)],
    ids=["pymc-compact", "nutpie-transparent"],
)
def test_forms_and_samplers_agree(faithful, engine):
    """Alert at 3, fail at 5 standard errors."""
    reference = bg.fit(faithful, 2, engine=bg.NUTS(draws=4000), seed=1, progress=False)
    assert z_scores(quietly(faithful, 2, engine, seed=2), reference) < 5


@pytest.mark.slow
@pytest.mark.statistical
def test_transparent_form_runs_on_the_sampler_of_pymc(faithful):
    engine = bg.NUTS(sampler="pymc", form="transparent", draws=400, tune=400, chains=2)
    reference = bg.fit(faithful, 2, engine=bg.NUTS(draws=4000), seed=1, progress=False)
    assert z_scores(quietly(faithful, 2, engine, seed=2), reference) < 5


@pytest.mark.slow
@pytest.mark.statistical
def test_the_whole_operation_agrees_with_a_plain_mixture(faithful):
    """The same prior, the likelihood written as `pm.Mixture` of `pm.MvNormal`; alert at 3, fail at 5."""
    import nutpie

    from bayesgmm.posterior.variables import initial_values
    from benchmarks.plain_model import build_plain_model

    reference = bg.fit(faithful, 2, engine=bg.NUTS(draws=4000), seed=1, progress=False)
    data = bg.Observations.of(faithful)
    prior = bg.MixtureModel(2).prior_for(data)
    start = initial_values(prior, reference.optimum)
    compiled = nutpie.compile_pymc_model(build_plain_model(data, prior), initial_points=start, jitter_rvs=set())
    tree = nutpie.sample(compiled, draws=1000, tune=500, chains=4, seed=2, progress_bar=False)
    found = []
    for posterior in (tree["posterior"], reference.tree["posterior"]):
        draws = bg.MixtureParameters(*(posterior[name].values for name in ("weights", "means", "covariances")))
        seen = reference.data
        found.append(table(invariants(draws.moved(seen.origin, seen.unit), seen, "full")))
    error = np.sqrt(sum(t["sd"] ** 2 / t["ess_bulk"] for t in found))
    assert ((found[0]["mean"] - found[1]["mean"]) / error).abs().max() < 5


@pytest.mark.statistical
def test_a_model_compiled_once_is_refitted_to_other_rows(faithful):
    """By nutpie's ``with_data``, with another number of rows: the posterior is Gibbs'; alert at 3, fail at 5."""
    import nutpie

    prior = bg.ConjugatePrior.from_data(faithful, 2)
    model, some = bg.MixtureModel(2, prior=prior), faithful.iloc[:150]
    reference = bg.fit(some, model, engine=bg.Gibbs(draws=4000), seed=1, progress=False)
    built = bg.build_pymc_model(faithful, model, start=reference.optimum)
    compiled = nutpie.compile_pymc_model(built, initial_points=built.initvals, jitter_rvs=set())
    refitted = compiled.with_data(x=some.to_numpy(), sample_weight=np.ones(len(some)))
    tree = nutpie.sample(refitted, draws=1000, tune=500, chains=4, seed=2, progress_bar=False)
    seen, found = reference.data, []
    for posterior in (tree["posterior"], reference.tree["posterior"]):
        draws = bg.MixtureParameters(*(posterior[name].values for name in ("weights", "means", "covariances")))
        found.append(table(invariants(draws.moved(seen.origin, seen.unit), seen, "full")))
    error = np.sqrt(sum(t["sd"] ** 2 / t["ess_bulk"] for t in found))
    assert ((found[0]["mean"] - found[1]["mean"]) / error).abs().max() < 5


def test_flat_prior_cannot_be_sampled(faithful):
    with pytest.raises(bg.ModelError, match="improper posterior"):
        bg.fit(faithful, bg.MixtureModel(2, prior="flat"), progress=False)


def test_em_has_no_update_for_the_separation_prior(faithful):
    model = bg.MixtureModel(2, prior=bg.SeparationPrior.from_data(faithful, 2))
    with pytest.raises(bg.ModelError, match="no update for SeparationPrior"):
        bg.fit(faithful, model, engine="em")


@pytest.mark.parametrize("kind", ["full", "tied", "diag", "spherical"])
@pytest.mark.parametrize("prior", ["conjugate", "semiconjugate", "separation"])
def test_other_priors_are_sampled(faithful, prior, kind):
    x = (faithful - faithful.mean()) / faithful.std()
    chosen = {
        "conjugate": bg.ConjugatePrior.from_data(x, 2, kind),
        "semiconjugate": bg.SemiConjugatePrior(1, 0, 4, 5, 1),
        "separation": bg.SeparationPrior.from_data(x, 2, kind),
    }[prior]
    result = quietly(x, bg.MixtureModel(2, kind, chosen), bg.NUTS(**QUICK))
    assert result.diagnostics()["r_hat"].max() < 1.05
    assert abs(float(result.weights.mean(("chain", "draw")).min()) - 0.36) < 0.08


def test_whole_weights_are_repeated_rows_for_nuts(faithful):
    x = faithful.to_numpy()[:60]
    times = np.random.default_rng(0).integers(1, 4, size=60)
    start = (x[:, 0] > 3).astype(int)
    weighted = quietly(x, 2, bg.NUTS(**QUICK), sample_weight=times, start=start)
    repeated = quietly(np.repeat(x, times, 0), 2, bg.NUTS(**QUICK), start=np.repeat(start, times))
    assert np.allclose(weighted.weights.mean(("chain", "draw")), repeated.weights.mean(("chain", "draw")), atol=0.02)


def test_a_stuck_chain_is_named_and_warned_of(monkeypatch):
    """One chain is sent to where two components share a group and one covers the other two.

    The concentration keeps a component from emptying, which is how chains leave that mode otherwise.
    """
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(m, 1, 60) for m in (0, 100, 200)])
    data = bg.Observations.of(x).standardised()
    minor = bg.MixtureParameters(
        np.full(3, 1 / 3), np.array([[0.0], [0.5], [150.0]]), np.array([[[1.0]], [[1.0]], [[2500.0]]])
    )
    draw, seeds = Starts.draw_near, []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bg.errors.BayesGMMWarning)
        model = bg.MixtureModel(3, prior=bg.ConjugatePrior.from_data(x, 3, concentration=50.0))
        minor = bg.fit(x, model, engine="em", start=minor).parameters

    def misled(self, seed, at):
        seeds.append(seed)
        if len(set(seeds)) == 1:
            posterior = self.modes[0].posterior
            mode = posterior.whitened(posterior.coordinates.pack(minor.moved(data.origin, data.unit)))
            return self.modes[at].eta(mode.theta(np.full(mode.centre.size, 0.3)))
        return draw(self, seed, at)

    monkeypatch.setattr(Starts, "draw_near", misled)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = bg.fit(x, model, engine=bg.NUTS(**QUICK, cores=1), seed=1, progress=False)
    assert len(result.stuck_chains) == 1
    said = [str(w.message) for w in caught if issubclass(w.category, bg.ConvergenceWarning)]
    assert any(
        f"chain(s) {result.stuck_chains} are stuck in a minor mode" in s and "fewer components" in s for s in said
    )
    assert "Do NOT trust" in repr(result)
    assert result.diagnostics().loc["stuck_chains", "mean"] == 1


def test_each_complaint_says_what_to_do():
    log_posterior = np.random.default_rng(0).normal(size=(4, 100)) - np.array([[0], [0], [12], [0]])
    assert stuck_chains(log_posterior) == [2]
    said = complaints(table({"lp": log_posterior}), Run(log_posterior, [0, 0, 1, 0], 3, 0.2, 0.3, 0.4))
    assert [type(s).__name__ for s in said] == 4 * ["ConvergenceWarning"] + ["EmptyComponentWarning"] + 2 * [
        "LabelSwitchingWarning"
    ]
    for sentence, says in zip(
        said,
        [
            r"chain\(s\) \[2\] .*nearest optimum by chain: \[0, 0, 1, 0\].*modes\(\)",
            "R-hat of lp .* raise draws",
            "effective draws of lp .* raise draws",
            "3 divergent transitions: raise target_accept",
            "no row in 20% of draws",
            "in 30% of draws components can hardly be told apart",
            "switched in 40% of draws",
        ],
        strict=True,
    ):
        assert re.search(says, str(sentence))


def test_a_sound_run_has_no_complaint():
    log_posterior = np.random.default_rng(0).normal(size=(4, 1000))
    assert not complaints(table({"lp": log_posterior}), Run(log_posterior, [0, 0, 0, 0], 0, 0.0, 0.0, 0.0))


def test_few_draws_are_warned_of(faithful):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        bg.fit(faithful, 2, engine=bg.NUTS(draws=50, tune=100), seed=1, progress=False)
    assert any("effective draws of" in str(w.message) and "raise draws" in str(w.message) for w in caught)


def test_switching_labels_are_warned_of():
    x = np.random.default_rng(1).normal(size=30)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = bg.fit(x, 3, engine=bg.NUTS(draws=400, tune=200), seed=0, progress=False)
    assert result.switch_rate > 0.05
    assert any(issubclass(w.category, bg.LabelSwitchingWarning) for w in caught)
    assert "Do NOT trust" in repr(result)


def test_one_component_is_a_mixture_too(faithful):
    result = bg.fit(faithful, 1, seed=1, progress=False)
    assert (result.weights == 1).all()
    assert (result.predict_proba() == 1).all()


def test_optima_that_lead_to_one_mode_count_once(faithful):
    data = bg.Observations.of(faithful).standardised()
    prior = bg.ConjugatePrior.from_data(faithful, 2).in_units(data.origin, data.unit)
    posterior = CompactPosterior.of(data, prior)
    optima = bg.EM().run(data, prior, None, np.random.default_rng(0)).optima
    theta = posterior.coordinates.pack(optima.parameters[0])
    starts = Starts.of([posterior.whitened(theta), posterior.whitened(theta + 0.05)])
    assert len(starts.modes) == 1
    assert starts.mass == [1.0]


def test_labels_that_the_prior_tells_apart_stay_as_sampled():
    x = np.random.default_rng(0).normal(size=40)
    apart = bg.MixtureModel(2, prior=bg.ConjugatePrior(2, [[-1.0], [1.0]], [5.0, 1.0], 4, 1))
    result = quietly(x, apart, bg.NUTS(**QUICK))
    assert result.switch_rate == 0
    assert result.relabelled() is result
    prior, stats = apart.prior_for(bg.Observations.of(x)), result.tree["sample_stats"]
    draws = parameters_of(dataset(result.tree, "posterior"))
    assert np.allclose(stats["lp"], stats["log_likelihood_total"] + prior.log_density(draws), rtol=1e-10)


def test_chains_start_from_several_modes_where_several_have_mass(galaxies):
    data = bg.Observations.of(galaxies).standardised()
    prior = bg.ConjugatePrior.from_data(galaxies, 4).in_units(data.origin, data.unit)
    optima = bg.EM(n_init=30).run(data, prior, None, np.random.default_rng(0)).optima
    posterior = CompactPosterior.of(data, prior)
    starts = Starts.of([posterior.whitened(t) for t in posterior.coordinates.pack(optima.parameters[:4])])
    assert np.isclose(starts.mass.sum(), 1)
    assert (np.diff(starts.mass) <= 0).all()
    assert np.array_equal(starts.draw(5), starts.draw(5))
    thetas = np.array(starts.draws(3, 200))
    assert (thetas.std(axis=0) > 0).all()


def test_settings_may_be_numbers_of_numpy(faithful, tmp_path):
    """They are kept with the result as plain ones."""
    result = bg.fit(faithful, 2, engine=bg.EM(n_init=np.int64(3), tol=np.float64(1e-6)), seed=1)
    result.save(tmp_path / "r.nc")
    assert bg.load(tmp_path / "r.nc").engine == bg.EM(n_init=3, tol=1e-6)
    assert type(bg.NUTS(draws=np.int32(20), target_accept=np.float32(0.5)).target_accept) is float
    assert type(bg.Gibbs(draws=np.int32(20), label_every=np.int16(5)).label_every) is int


@pytest.mark.parametrize("most_whole", [10, 1000])
def test_starts_of_hundreds_of_parameters_fit_the_stack_of_a_samplers_thread(most_whole, monkeypatch):
    """OpenBLAS takes 540 kB of stack to solve 200 equations, and a thread of nutpie's died of it."""
    monkeypatch.setattr("bayesgmm.posterior.compact.MOST_WHOLE", most_whole)
    rng = np.random.default_rng(1)
    x = rng.normal(size=(400, 12)) + 4 * rng.normal(size=(4, 12))[rng.integers(4, size=400)]
    result = quietly(x, 4, bg.NUTS(draws=10, tune=20, chains=2))
    assert np.isfinite(result.tree["sample_stats"]["lp"]).all()


@pytest.mark.parametrize("sampler", ["nutpie", "pymc"])
def test_chains_start_near_modes_in_proportion_to_their_mass(sampler, galaxies):
    """Each in coordinates whitened at its own mode, and in the order of the chains."""
    data = bg.Observations.of(galaxies).standardised()
    prior = bg.ConjugatePrior.from_data(galaxies, 4).in_units(data.origin, data.unit)
    optima = bg.EM(n_init=30).run(data, prior, None, np.random.default_rng(0)).optima
    starts = Starts.at(optima.parameters[:4], data, prior)
    assert len(starts.modes) > 1
    shares = np.array([len(chains) for chains in starts.shared_out(3, 4000)]) / 4000
    assert np.abs(shares - starts.mass).max() < 5 * np.sqrt(0.25 / 4000)
    engine = bg.NUTS(draws=20, tune=20, chains=6, sampler=sampler)
    seed = next(s for s in range(100) if sum(map(bool, starts.shared_out(s, 6))) > 1)
    parameters, stats = _sample_compact(Sampling(engine, starts, seed, False, 1), data, prior)
    assert parameters.grid == (6, 20)
    assert all(len(values) == 6 for values in stats.values())
    log_posterior = e_step(parameters.reshaped((-1,)), data).log_likelihood
    assert np.isfinite(log_posterior).all()


@pytest.mark.statistical
def test_blocks_and_axes_sample_the_same_posterior(monkeypatch, faithful):
    """As a whole matrix: invariants within five standard errors; with a few axes, as efficiently."""
    whole = bg.fit(faithful, 2, engine=bg.NUTS(draws=1500, chains=2), seed=1, progress=False)
    monkeypatch.setattr("bayesgmm.posterior.compact.MOST_WHOLE", 0)
    few = bg.fit(faithful, 2, engine=bg.NUTS(draws=1500, chains=2), seed=2, progress=False)
    one, other = whole.diagnostics(), few.diagnostics()
    for quantity in ("log_posterior", "log_likelihood"):
        error = np.hypot(*(t.loc[quantity, "sd"] / np.sqrt(t.loc[quantity, "ess_bulk"]) for t in (one, other)))
        assert abs(one.loc[quantity, "mean"] - other.loc[quantity, "mean"]) < 5 * error
    assert other["ess_bulk"].min() > 0.3 * one["ess_bulk"].min()
