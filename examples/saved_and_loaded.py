"""Saved, loaded, and read by ArviZ: one NetCDF file holds data, draws, model, seed and versions."""

import arviz as az
import numpy as np

import bayesgmm as bg

result = bg.fit(bg.datasets.load_faithful(), 2, engine="gibbs", seed=1, progress=False)
result.save("faithful.nc")

loaded = bg.load("faithful.nc")
assert np.array_equal(loaded.predict_proba(), result.predict_proba())
print(az.summary(loaded.tree, var_names=["weights", "means"]))
print(loaded.loo())
