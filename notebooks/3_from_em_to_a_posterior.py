# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 3. From EM to a posterior
#
# EM gives one point: the best. A posterior gives all points that agree with data and prior, in proportion. This
# notebook builds the model in PyMC, starts it where EM ended, and meets the peculiarity of mixtures: their labels.

# %%
import warnings

import matplotlib.pyplot as plt
import numpy as np

import bayesgmm as bg
from bayesgmm import plots

faithful = bg.datasets.load_faithful()
point = bg.fit(faithful, 2, engine="em", seed=1)
model = bg.build_pymc_model(faithful, 2, start=point.parameters)
print(model.str_repr())

# %% [markdown]
# The weights are Dirichlet; means and covariances have priors scaled by the data, weak enough to be overruled by a few
# rows. The covariances are written by Bartlett's decomposition, so that every free variable has a simple prior. Labels
# are summed out: NUTS never sees a discrete variable. As a graph, in Mermaid's words:

# %%
import pymc as pm

print(pm.model_to_mermaid(model))

# %% [markdown]
# ## Priors that say more
#
# The default prior is weakly informative. Who knows more can say so: here, that groups are of similar size.

# %%
even = bg.HierarchicalPrior.from_data(faithful, 2, concentration=50.0)
informed = bg.fit(faithful, bg.MixtureModel(2, prior=even), engine="em", seed=1)
print(
    "weights by default",
    point.weights.values.ravel().round(3),
    "and pulled together",
    informed.weights.values.ravel().round(3),
)

# %% [markdown]
# ## Sampling
#
# `fit` starts chains at EM's optimum, in coordinates that its curvature makes round, so that NUTS moves freely.

# %%
posterior = bg.fit(faithful, 2, seed=1, progress=False)
print(posterior)

# %% [markdown]
# ## Label switching, seen
#
# Nothing in the model says which group is the first. Any renaming of groups in a draw gives an equally good draw. Three
# groups on two: names change hands, and a mean over draws of "group 0" is a mean over different things.

# %%
with warnings.catch_warnings():
    warnings.simplefilter("ignore", bg.errors.BayesGMMWarning)
    three = bg.fit(
        bg.datasets.load_galaxies(), 3, engine=bg.Gibbs(draws=2000, permutation="random"), seed=2, progress=False
    )
raw, aligned = three.relabelled("none"), three.relabelled("stephens")
figure, axes = plt.subplots(1, 2, figsize=(11, 3.4), sharey=True)
for axis, result, title in zip(axes, (raw, aligned), ("as sampled", "relabelled"), strict=True):
    for c in range(3):
        axis.plot(
            result.means.values[0, :400, c, 0], ".", markersize=3, color=plots.canvas.colour(c), label=f"group {c}"
        )
    axis.set(title=title, xlabel="draw", ylabel="mean velocity")
axes[0].legend()
plt.show()

# %% [markdown]
# Relabelling names the groups alike in all draws, by the memberships that they give to rows. What does not depend on
# names needs none of it: the density, the log posterior, and whether two rows belong together.

# %%
together = "together"
table = three.diagnostics()
table.loc[[name for name in table.index if str(name).startswith(together) or name == "log_posterior"]].round(3)

# %%
assert np.isclose(raw.log_density(), aligned.log_density(), rtol=1e-9).all()
plots.density(three, backend="matplotlib")
plt.show()
