"""The transparent model: a plain PyMC model in value and gradient, the compact form in other coordinates."""

import warnings

import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
import pytest
import xarray as xr
from mixtures import bound_problem, random_parameters
from scipy import stats

import bayesgmm as bg
from bayesgmm.expectation import pass_over_rows as estep
from bayesgmm.model import covariance as cov
from bayesgmm.model.parameters import COVARIANCE_TYPES
from bayesgmm.posterior.compact import CompactPosterior, Coordinates
from bayesgmm.posterior.pymc_model import build_standardised_model
from bayesgmm.posterior.pymc_operations import MixtureLogDensity
from bayesgmm.posterior.variables import initial_values
from bayesgmm.results.carried import carrying

PRIORS = ["conjugate", "semiconjugate", "hierarchical", "separation"]
#: Interpreted by Python: nothing to compile, and every operation's `perform` runs.
PLAIN = pytensor.compile.mode.Mode(linker="py", optimizer="fast_compile")


def value_and_gradient(model, point):
    function = model.compile_fn([model.logp(), model.dlogp(vars=model.free_RVs)], mode=PLAIN)
    return function(point)


def plain_model(model, k):
    """The same model with the likelihood as `pm.Mixture` of `pm.MvNormal`."""
    x, weight = model["x"].get_value(), model["sample_weight"].get_value()
    with model.copy() as plain:
        means, covariances = plain["means"], plain["covariances"]
        components = [pm.MvNormal.dist(means[c], cov=covariances[c]) for c in range(k)]
        mixture = pm.Mixture.dist(plain["weights"], components)
        likelihood = (pm.logp(mixture, x) * weight).sum()
        without = [p for p in [*plain.basic_RVs, *plain.potentials] if p.name != "observations"]
        prior = plain.logp(vars=without)
        value = plain.replace_rvs_by_values([likelihood])[0] + prior
        order = [plain.rvs_to_values[plain[v.name]] for v in model.free_RVs]
        gradient = pt.concatenate([pt.grad(value, v).ravel() for v in order])
        return plain.compile_fn([value, gradient], inputs=plain.value_vars, mode=PLAIN, on_unused_input="ignore")


@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
@pytest.mark.parametrize("prior", PRIORS)
def test_value_and_gradient_are_those_of_a_plain_mixture(prior, kind):
    rng = np.random.default_rng(3)
    data, bound = bound_problem(rng, prior, kind, n=12)
    model = build_standardised_model(data, bound)
    point = {name: value + 0.1 * rng.normal(size=value.shape) for name, value in model.initial_point().items()}
    value, gradient = value_and_gradient(model, point)
    plain_value, plain_gradient = plain_model(model, 2)(point)
    assert np.isclose(value, plain_value, rtol=1e-8)
    assert np.abs(gradient - plain_gradient).max() < 1e-8 * np.abs(plain_gradient).max()


def log_density_of_scale(prior, parameters):
    """Log density of the scale's mean given the covariances, in the coordinates of the transparent model.

    Bartlett's factors of the precisions stand there about the scale, and not about its prior mean: their entries below
    the diagonal are stretched, row by row, by what the two roots differ.
    """
    kind, d = prior.covariance_type, parameters.n_features
    scale, dof = prior.scale_given(parameters), cov.per_block(prior.dof, kind, 1).sum() + prior.scale_dof
    own = cov.blocks(parameters.covariances, kind)
    if cov.is_diagonal(kind):
        lambdas = np.diag(scale) if kind == "diag" else scale[0, :1]
        rates = np.diag(prior.scale_rate)[: len(lambdas)] + (1 / own).reshape(-1, len(lambdas)).sum(axis=0)
        return (stats.gamma(dof / 2, scale=2 / rates).logpdf(lambdas) + np.log(lambdas)).sum()
    rate = prior.scale_rate + np.linalg.inv(own).sum(axis=0)
    found = stats.wishart(dof, np.linalg.inv(rate)).logpdf(scale)
    chi = initial_values(prior, parameters)["scale_chi"]
    found += ((d - np.arange(d) + 1) / 2 * np.log(chi)).sum()
    fixed, at_scale = Coordinates.of(prior, d).root, Coordinates.of(prior.given(scale), d).root
    stretch = np.diagonal(fixed, axis1=1, axis2=2) / np.diagonal(at_scale, axis1=1, axis2=2)
    return found - (np.arange(d) * np.log(stretch)).sum()


def unconstrained_of(model, values):
    """The value variables of a model at values of its random variables."""
    found = {}
    given = [(v, pt.as_tensor(values[v.name])) for v in model.free_RVs]
    for variable, value in given:
        transform = model.rvs_to_transforms[variable]
        inputs = pytensor.graph.clone_replace(list(variable.owner.inputs), dict(given)) if transform else ()
        moved = value if transform is None else transform.forward(value, *inputs)
        found[model.rvs_to_values[variable].name] = moved.eval(mode=PLAIN)
    return found


@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
@pytest.mark.parametrize("prior", PRIORS)
def test_compact_and_transparent_form_are_one_density(prior, kind):
    """They differ by the log Jacobian between their unconstrained vectors, written down here, and a constant.

    Under the conjugate prior the transparent means come from offsets: the determinant of the precision
    factors. Under the separation prior its factor L is the inverse of the compact one: with logarithms of
    both diagonals, the determinant to the power d - 1. Under the hierarchical prior it has the scale too, whose
    density given the covariances is Wishart.
    """
    rng = np.random.default_rng(4)
    data, bound = bound_problem(rng, prior, kind, n=12)
    posterior = CompactPosterior.of(data, bound)
    coordinates = posterior.coordinates
    model = build_standardised_model(data, bound)
    density = model.compile_fn(model.logp(jacobian=True), mode=PLAIN)
    gaps = []
    for _ in range(4):
        theta = 0.4 * rng.normal(size=coordinates.size)
        parameters = coordinates.unpack(theta)
        compact, _ = posterior.value_and_gradient(theta)
        transparent = density(unconstrained_of(model, initial_values(bound, parameters)))
        log_det_factors = -0.5 * np.linalg.slogdet(cov.blocks(parameters.covariances, kind))[1]
        if prior == "conjugate":
            compact -= -0.5 * np.linalg.slogdet(parameters.covariances)[1].sum()
        elif prior == "separation" and not cov.is_diagonal(kind):
            compact += (data.n_features - 1) * log_det_factors.sum()
        elif prior == "hierarchical":
            compact += log_density_of_scale(bound, parameters)
        gaps.append(compact - transparent)
    assert np.ptp(gaps) < 1e-10 * max(1.0, abs(compact))


def test_pointwise_form_is_the_log_density_of_each_row(rng):
    data = bg.Observations.of(rng.normal(size=(20, 2)), rng.integers(1, 3, size=20))
    parameters = random_parameters(rng, 2, 2)
    factors = estep.whiten(parameters).factors[0]
    density = MixtureLogDensity(False)
    found = density(parameters.weights, parameters.means, factors, data.values, data.sample_weight)[0].eval(mode=PLAIN)
    assert np.allclose(found, data.sample_weight * estep.log_densities(parameters, data), rtol=1e-12)


def test_gradient_of_rows_that_count_differently_is_a_second_pass(rng):
    x, parameters = rng.normal(size=(20, 2)), random_parameters(rng, 2, 2)
    factors = estep.whiten(parameters).factors[0]
    along, means = rng.normal(size=20), pt.dmatrix("means")
    rows = MixtureLogDensity(False)(parameters.weights, means, factors, x, np.ones(20))[0]
    slope = pytensor.function([means], pt.grad(rows @ along, means), mode=PLAIN)(parameters.means)
    step = 1e-6
    for c in range(2):
        for j in range(2):
            ends = []
            for sign in (1, -1):
                moved = parameters.means.copy()
                moved[c, j] += sign * step
                value = bg.MixtureParameters(parameters.weights, moved, parameters.covariances)
                ends.append(along @ estep.log_densities(value, bg.Observations.of(x)))
            assert np.isclose(slope[c, j], (ends[0] - ends[1]) / (2 * step), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("kind", ["full", "diag"])
@pytest.mark.parametrize("prior", ["hierarchical", "separation"])
def test_form_in_jax_has_the_same_value_and_gradient(prior, kind):
    rng = np.random.default_rng(3)
    data, bound = bound_problem(rng, prior, kind, n=12)
    model = build_standardised_model(data, bound)
    point = {name: value + 0.1 * rng.normal(size=value.shape) for name, value in model.initial_point().items()}
    function = model.compile_fn([model.logp(), model.dlogp(vars=model.free_RVs)], mode="JAX")
    for found, expected in zip(function(point), value_and_gradient(model, point), strict=True):
        assert np.allclose(found, expected, rtol=1e-11, atol=1e-11)


def test_jax_has_second_derivatives(rng):
    import jax

    from bayesgmm.posterior.jax_forms import mixture_log_density

    jax.config.update("jax_enable_x64", True)
    parameters, x = random_parameters(rng, 2, 2), rng.normal(size=(20, 2))
    factors = estep.whiten(parameters).factors[0]

    def slope(means):
        return mixture_log_density(parameters.weights, means, factors, x, np.ones(20))[2]

    found = np.asarray(jax.jacobian(slope)(parameters.means)).reshape(4, 4)
    steps = 1e-6 * np.eye(4).reshape(4, 2, 2)
    expected = [(slope(parameters.means + s) - slope(parameters.means - s)).ravel() / 2e-6 for s in steps]
    assert np.allclose(found, expected, rtol=1e-6, atol=1e-6)


def test_second_derivatives_are_refused(rng):
    parameters, means = random_parameters(rng, 2, 2), pt.dmatrix("means")
    factors = estep.whiten(parameters).factors[0]
    rows = MixtureLogDensity(False)(parameters.weights, means, factors, rng.normal(size=(5, 2)), np.ones(5))[0]
    with pytest.raises(NotImplementedError, match=r"no second derivative in PyTensor; use jax\.hessian"):
        pt.grad(pt.grad(rows.sum(), means).sum(), means)


def test_names_dims_and_coords_are_those_of_the_data(customers):
    model = bg.build_pymc_model(customers, 2)
    scale = {"scale_chi", "scale_lower"}
    assert {v.name for v in model.free_RVs} == {"weights", "precision_chi", "precision_lower", "means"} | scale
    assert {v.name for v in model.deterministics} == {"scale", "covariances"}
    assert model.named_vars_to_dims["scale"] == ("feature", "feature_bis")
    assert model.named_vars_to_dims["covariances"] == ("component", "feature", "feature_bis")
    assert list(model.coords["feature"]) == ["basket_value", "orders_per_year"]
    assert model.coords["observation"][199] == "C200"
    assert "weights" in pm.model_to_mermaid(model)


def test_flat_prior_has_no_model(faithful):
    with pytest.raises(bg.ModelError, match="improper posterior"):
        bg.build_pymc_model(faithful, bg.MixtureModel(2, prior="flat"))


def test_start_is_the_point_given(faithful, em_result, kind):
    result = em_result if kind == "full" else bg.fit(faithful, bg.MixtureModel(2, kind), engine="em", seed=1)
    model = bg.build_pymc_model(faithful, bg.MixtureModel(2, kind), start=result.parameters)
    assert set(model.initvals) == {v.name for v in model.free_RVs}
    names = ("means", "covariances")
    free = {v: pt.as_tensor(model.initvals[v.name]) for v in model.free_RVs}
    found = pytensor.graph.clone_replace([model[name] for name in names], free)
    for name, value in zip(names, found, strict=True):
        assert np.allclose(value.eval(mode=PLAIN), getattr(result.parameters, name), rtol=1e-6)
    assert bg.build_pymc_model(faithful, 2).initvals == {}


def at_start(model, values, prefix=""):
    """Whether PyMC starts each variable where it should."""
    found = model.initial_point()
    wanted = unconstrained_of(model, {prefix + name: value for name, value in values.items()})
    return all(np.allclose(found[name], value, rtol=1e-9, atol=1e-9) for name, value in wanted.items())


@pytest.mark.parametrize("prior", PRIORS)
def test_variables_start_where_they_are_told_and_so_do_copies(prior, kind):
    """`initval` would be lost: PyMC refuses to copy such a model, and to compute log-likelihoods by it."""
    data, bound = bound_problem(np.random.default_rng(3), prior, kind, n=40)
    model = bg.MixtureModel(2, kind, bound)
    start = random_parameters(np.random.default_rng(1), 2, 2, kind)
    built, values = bg.build_pymc_model(data, model, start=start), initial_values(bound, start)
    assert at_start(built, values)
    assert at_start(built.copy(), values)
    assert not at_start(bg.build_pymc_model(data, model), values)
    assert np.isclose(
        *[m.compile_logp(mode=PLAIN)(built.initial_point()) for m in (built, bg.build_pymc_model(data, model))]
    )


def test_map_search_of_pymc_starts_at_em(faithful, em_result):
    elsewhere = bg.build_pymc_model(faithful, 2).initial_point()
    with bg.build_pymc_model(faithful, 2, start=em_result.parameters) as model:
        density = model.compile_logp(mode=PLAIN)
        assert density(elsewhere) < density(model.initial_point()) - 100
        found = pm.find_MAP(progressbar=False, return_inferencedata=True, jitter=False)
    assert np.allclose(found["posterior"]["means"], em_result.parameters.means, rtol=0.02)


@pytest.fixture(scope="module")
def sampled(faithful, em_result):
    """What a user does: build, add a variable of her own, sample from the EM start."""
    model = bg.build_pymc_model(faithful, 2, start=em_result.parameters)
    with model:
        pm.Deterministic("gap", model["means"][1, 0] - model["means"][0, 0])
        tree = pm.sample(
            100, tune=200, chains=2, initvals=model.initvals, random_seed=1, progressbar=False, nuts_sampler="nutpie",
            compile_kwargs={"jitter_rvs": set()},
        )  # fmt: skip
        pm.compute_log_likelihood(tree, progressbar=False)
    return model, tree


@pytest.mark.compiled
def test_user_can_add_to_the_model_and_sample_it(sampled):
    _, tree = sampled
    assert 2.1 < float(tree.posterior["gap"].mean()) < 2.4
    assert tree.posterior["means"].dims == ("chain", "draw", "component", "feature")


@pytest.mark.compiled
def test_log_likelihood_of_pymc_is_the_marginal_density_of_rows(sampled, faithful):
    import arviz as az

    _, tree = sampled
    draw = bg.MixtureParameters(*(tree.posterior[n].values[0, 5] for n in ("weights", "means", "covariances")))
    expected = estep.log_densities(draw, bg.Observations.of(faithful))
    assert np.allclose(tree.log_likelihood["observations"][0, 5], expected, rtol=1e-9)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of Pareto's shape, for the draws are few
        assert np.isclose(az.loo(tree).elpd, -1141, atol=3)


@pytest.mark.compiled
@pytest.mark.filterwarnings("ignore:The effect of Potentials:UserWarning")
def test_posterior_predictive_rows_look_like_the_data(sampled, faithful):
    model, tree = sampled
    with model:
        drawn = pm.sample_posterior_predictive(tree, random_seed=1, progressbar=False)
    rows = drawn.posterior_predictive["observations"].values.reshape(-1, 2)
    assert np.allclose(rows.mean(axis=0), faithful.mean(), rtol=0.02)
    assert np.allclose(rows.std(axis=0), faithful.std(), rtol=0.04)


@pytest.mark.parametrize("mode", [None, "FAST_COMPILE"])
def test_rows_and_weights_of_unequal_number_are_refused(faithful, mode):
    """Memory beyond the weights was read."""
    rows = np.asarray(faithful)
    with bg.build_pymc_model(rows[:100], 2) as model:
        density = model.compile_logp(vars=[model["observations"]], sum=False, mode=mode)
        point = model.initial_point()
        before = density(point)[0]
        pm.set_data({"x": rows}, coords={"observation": np.arange(len(rows))})
        with pytest.raises(ValueError, match=r"give pm\.set_data both x"):
            density(point)
        pm.set_data({"sample_weight": np.ones(len(rows))})
        assert np.allclose(density(point)[0][:100], before)


def test_names_of_rows_follow_new_data(customers):
    with bg.build_pymc_model(customers, 2) as model:
        fewer = customers.iloc[:50, ::-1]
        pm.set_data({"x": fewer, "sample_weight": np.ones(50)})
        assert list(model.coords["observation"]) == list(fewer.index)
        assert np.array_equal(model["x"].get_value(), customers.iloc[:50])
        pm.set_data({"x": np.asarray(customers)[:60], "sample_weight": np.ones(60)})
        assert list(model.coords["observation"]) == list(range(60))
        with pytest.raises(bg.DataError, match="has to have the columns"):
            pm.set_data({"x": customers.rename(columns={"basket_value": "basket"})})
        assert np.isfinite(model.compile_logp(mode=PLAIN)(model.initial_point()))


def test_weights_of_rows_are_those_of_the_copy(faithful):
    """The likelihood held the weights of the model it was copied from."""
    model = bg.build_pymc_model(faithful, 2)
    copied = model.copy()
    copied.set_data("sample_weight", np.full(len(faithful), 2.0))
    point = model.initial_point()
    densities = [m.compile_logp(vars=[m["observations"]], mode=PLAIN)(point) for m in (model, copied)]
    assert np.isclose(2 * densities[0], densities[1])


def test_two_mixtures_stand_in_one_model(faithful, galaxies, em_result):
    with pm.Model() as outer:
        first = bg.build_pymc_model(faithful, 2, start=em_result.parameters, name="a")
        bg.build_pymc_model(galaxies, 3, name="b")
        with pytest.raises(bg.ModelError, match="give it another `name`"):
            bg.build_pymc_model(galaxies, 3, name="b")
    assert outer.named_vars_to_dims["a::means"] == ("a::component", "a::feature")
    assert outer["b::means"].eval(mode=PLAIN).shape == (3, 1)
    assert at_start(first, first.initvals)
    alone = [bg.build_pymc_model(faithful, 2), bg.build_pymc_model(galaxies, 3)]
    point, parts = outer.initial_point(), []
    for name, model in zip("ab", alone, strict=True):
        own = {key.removeprefix(f"{name}::"): value for key, value in point.items() if key.startswith(f"{name}::")}
        parts.append(model.compile_logp(mode=PLAIN)(own))
    assert np.isclose(outer.compile_logp(mode=PLAIN)(point), sum(parts))


@pytest.mark.parametrize("prior", PRIORS)
def test_posterior_of_a_result_is_one_of_the_model(prior, kind):
    """Covariances came from the prior: the tree had none of the variables that they are made of."""
    data, bound = bound_problem(np.random.default_rng(3), prior, kind, n=40)
    model = bg.MixtureModel(2, kind, bound)
    rng = np.random.default_rng(5)
    draws = [random_parameters(rng, 2, 2, kind) for _ in range(6)]
    grid = bg.MixtureParameters(
        *(np.stack(a).reshape(2, 3, *a[0].shape) for a in zip(*(d.arrays for d in draws), strict=True))
    )
    dims = {"weights": ("component",), "means": ("component", "feature")}
    dims |= {"covariances": ("component", "feature", "feature_bis")}
    arrays = {name: (("chain", "draw", *dims[name]), getattr(grid, name)) for name in dims}
    posterior = carrying(xr.Dataset(arrays, {"feature": ["a", "b"]}), bound)
    built = bg.build_pymc_model(data, model)
    inputs = {v.name: v for v in built.free_RVs}
    assert set(inputs) <= set(posterior.data_vars)
    for at in np.ndindex(2, 3):
        free = {v: pt.as_tensor(posterior[name].values[at]) for name, v in inputs.items()}
        means, covariances = pytensor.graph.clone_replace([built["means"], built["covariances"]], free)
        assert np.allclose(means.eval(mode=PLAIN), grid[at].means, rtol=1e-8)
        assert np.allclose(covariances.eval(mode=PLAIN), grid[at].covariances, rtol=1e-8)


@pytest.mark.compiled
def test_pymc_answers_from_the_tree_of_a_result(faithful, tmp_path):
    result = bg.fit(faithful, 2, engine=bg.Gibbs(draws=1000, tune=50, chains=2), seed=1, progress=False)
    result.save(tmp_path / "fit.nc")
    trees = [result.tree, result.relabelled("stephens").tree, bg.load(tmp_path / "fit.nc").tree]
    trees = [tree.sel(draw=slice(0, None, 20)) for tree in trees]
    with bg.build_pymc_model(faithful, 2):
        for tree in trees:
            found = pm.compute_log_likelihood(
                tree, extend_inferencedata=False, progressbar=False, compile_kwargs={"mode": PLAIN}
            )
            assert np.allclose(found["observations"], tree["log_likelihood"]["observations"], rtol=1e-9)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of potentials
            drawn = pm.sample_posterior_predictive(
                trees[1], random_seed=1, progressbar=False, compile_kwargs={"mode": PLAIN}
            )
    rows = drawn.posterior_predictive["observations"].values.reshape(-1, 2)
    assert np.allclose(np.cov(rows.T), faithful.cov(), rtol=0.05)
