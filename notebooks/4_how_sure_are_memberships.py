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
# # 4. How sure are the memberships?
#
# A membership of .99 should be wrong once in a hundred times. On small data, EM's are wrong far more often: it takes
# its clouds for the truth. This notebook looks at intervals, splits doubt into its two sources, and then checks, on
# data whose truth is known, whether what was said came true.

# %%
import warnings

import matplotlib.pyplot as plt

import bayesgmm as bg
from bayesgmm import plots

faithful = bg.datasets.load_faithful()
few = faithful.sample(30, random_state=3)
posterior = bg.fit(few, 2, engine="gibbs", seed=1, progress=False)
found = posterior.memberships()
table = found[["probability", "lower", "upper"]].sel(component=0).to_dataframe().drop(columns="component")
table.loc[found.entropy.to_series().sort_values(ascending=False).index[:8]].round(3)

# %%
plots.memberships(posterior, backend="matplotlib")
plt.show()

# %% [markdown]
# ## Two sources of doubt
#
# Entropy measures doubt, in nats: 0 is certainty, .69 a coin. It splits exactly into what the overlap of the groups
# contributes, and what uncertain parameters do.

# %%
plots.entropy(posterior, backend="matplotlib")
plt.show()

# %%
more = bg.fit(faithful, 2, engine="gibbs", seed=1, progress=False).memberships(few)
print(
    f"doubt from parameters, mean over rows: {float(found.entropy_parameter.mean()):.4f} with 30 rows, "
    f"{float(more.entropy_parameter.mean()):.4f} with {len(faithful)}"
)

# %% [markdown]
# ## Calibration: did it come true?
#
# We draw groups from the prior, data from the groups, and fit; the true group of every row is known. Of the
# memberships that an engine calls more than 99 % sure, what share is wrong? (A small run; the table in
# the README is of 2,000 data sets.)

# %%
prior = bg.ConjugatePrior(concentration=1.0, loc=0.0, shrinkage=0.1, dof=4.0, scale=1.0)
with warnings.catch_warnings():
    warnings.simplefilter("ignore", bg.errors.BayesGMMWarning)
    calibrated = bg.calibrate(
        bg.MixtureModel(2, prior=prior),
        30,
        engines={"EM, likelihood": "em-ml", "Gibbs": "gibbs"},
        replicates=60,
        seed=1,
    )
calibrated.memberships.round(3)

# %%
plots.calibration(calibrated, backend="matplotlib")
plt.show()

# %% [markdown]
# On the diagonal, what was said is what happened. EM's points bend away at both ends: it is too sure.
