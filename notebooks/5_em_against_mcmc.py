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
# # 5. EM against MCMC
#
# EM takes a fiftieth of a second, a posterior a second or two. Where do they agree, and where does it matter that they
# do not? Two data sets: one where the groups are plain, one where they are not.

# %%
import warnings

import matplotlib.pyplot as plt

import bayesgmm as bg
from bayesgmm import plots

# %% [markdown]
# ## Plain groups: Old Faithful
#
# Every estimate of EM lies in the posterior's interval, and memberships differ by a few percent at most.

# %%
faithful = bg.datasets.load_faithful()
compared = bg.compare(bg.fit(faithful, 2, engine="em", seed=1), bg.fit(faithful, 2, seed=1, progress=False))
print(compared)

# %%
plots.comparison(compared, backend="matplotlib")
plt.show()

# %% [markdown]
# ## Groups in doubt: the galaxies
#
# 82 galaxies, three groups, two of them small. EM calls every membership more than 99 % sure. The posterior does not
# agree: how far the small groups reach is not known so well.

# %%
galaxies = bg.datasets.load_galaxies()
point = bg.fit(galaxies, 3, engine="em", seed=1)
posterior = bg.fit(galaxies, 3, engine=bg.Gibbs(draws=10_000, thin=5), seed=1, progress=False)
print(bg.compare(point, posterior))

# %%
posterior.modes().iloc[:4, :6].round(3)

# %% [markdown]
# The mode atlas lists every optimum that EM found, and Laplace's estimate of the posterior's mass near each. A share of
# EM's starts end in a minor optimum (`basin_share`): one start alone might have given that as the answer.

# %%
plots.comparison(bg.compare(point, posterior), backend="matplotlib")
plt.show()

# %% [markdown]
# ## In between: intervals for EM
#
# The Laplace approximation puts a normal around EM's optimum, reweighted by the posterior. Its `k_hat` says whether
# that is good enough; below .7 it is.

# %%
with warnings.catch_warnings():
    warnings.simplefilter("ignore", bg.errors.BayesGMMWarning)
    for name, data, k in (("Old Faithful", faithful, 2), ("galaxies", galaxies, 3)):
        quick = bg.fit(data, k, engine=bg.EM(uncertainty="laplace"), seed=1)
        print(f"{name}: k-hat {quick.facts['k_hat']:.2f}")

# %% [markdown]
# When is EM enough? When groups are plain, rows are many, and nobody asks how sure a membership is. When samples are
# small, groups overlap, or a number has to be defended, take the posterior: it costs a second.
