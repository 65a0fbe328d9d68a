"""The PyMC model, edited: a prior opinion that the longer eruptions are the rule, sampled by nutpie."""

import nutpie
import pymc as pm

import bayesgmm as bg

faithful = bg.datasets.load_faithful()
point = bg.fit(faithful, 2, engine="em", seed=1)
model = bg.build_pymc_model(faithful, 2, start=point.parameters)
with model:
    pm.Potential("long_ones_are_the_rule", pm.logp(pm.Beta.dist(90, 10), model["weights"][1]))

compiled = nutpie.compile_pymc_model(model, jitter_rvs=set())
tree = nutpie.sample(compiled, draws=1000, tune=500, chains=2, seed=1, progress_bar=False)
edited = bg.MixtureResult.from_draws(tree, faithful, 2)
plain, opinion = float(point.weights[0, 0, 1]), float(edited.weights[..., 1].mean())
print(f"share of long eruptions: {plain:.2f} by EM, {opinion:.2f} with the opinion")
print(edited.memberships().probability[:3].round(3).values)
