"""A covariate on the weights: whether an eruption is long depends on how long the last one was."""

import numpy as np
import nutpie
import pymc as pm
import pytensor.tensor as pt

import bayesgmm as bg

faithful = bg.datasets.load_faithful()  # in the order of time
rows, last = faithful.to_numpy()[1:], faithful["eruptions"].to_numpy()[:-1]
start = bg.fit(faithful, 2, engine="em", seed=1).parameters

with pm.Model() as model:
    intercept, slope = pm.Normal("intercept", 0, 3), pm.Normal("slope", 0, 3)
    is_long = pm.math.sigmoid(intercept + slope * (last - last.mean()))
    weights = pt.stack([1 - is_long, is_long], axis=1)  # (n, k): those of each row
    means = pm.Normal("means", faithful.mean().to_numpy(), 5 * faithful.std().to_numpy(), shape=(2, 2))
    deviations = pm.HalfNormal("deviations", faithful.std().to_numpy(), shape=(2, 2))
    correlations = pm.Uniform("correlations", -1, 1, shape=2)
    white = (rows[:, None] - means) / deviations  # (n, k, d)
    first, second = white[..., 0], white[..., 1]
    share = 1 - correlations**2
    distance = (first**2 - 2 * correlations * first * second + second**2) / share
    of_component = -distance / 2 - pt.log(deviations).sum(axis=-1) - pt.log(share) / 2
    pm.Potential("rows", pt.logsumexp(pt.log(weights) + of_component, axis=1).sum())

deviation = np.sqrt(np.diagonal(start.covariances, axis1=1, axis2=2))
correlation = start.covariances[:, 0, 1] / deviation.prod(axis=1)
values = {"means": start.means, "deviations": deviation, "correlations": correlation}
compiled = nutpie.compile_pymc_model(model, initial_points=values, jitter_rvs=set())
posterior = nutpie.sample(compiled, draws=500, tune=500, chains=2, seed=1, progress_bar=False)["posterior"]
slope = posterior["slope"].values
print(f"an eruption a minute longer multiplies the odds that the next is long by {np.exp(slope.mean()):.2f}")
print(f"with 90 % probability by {np.exp(np.quantile(slope, 0.05)):.2f} to {np.exp(np.quantile(slope, 0.95)):.2f}")
