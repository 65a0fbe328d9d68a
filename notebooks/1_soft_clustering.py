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
# # 1. Soft clustering
#
# A shop has two kinds of customers: *premium* ones, who spend much on each visit, and *discount* ones, who come often
# and spend little. Most of its customers are easy to place. Customer C200 is not. This notebook asks three methods
# about her: k-means, which must put her wholly into one group; a Gaussian mixture, which may split her between both;
# and a Bayesian mixture, which also says how sure that split is.

# %%
import matplotlib.pyplot as plt
import pandas as pd
from sklearn.cluster import KMeans
from sklearn.preprocessing import StandardScaler

import bayesgmm as bg
from bayesgmm import plots

customers = bg.datasets.load_customers()
customers.describe().round(1)

# %% [markdown]
# ## k-means: one group, no doubt
#
# k-means gives every customer one label. It does not say that some labels are all but arbitrary.

# %%
scaled = StandardScaler().fit_transform(customers)
hard = pd.Series(KMeans(2, n_init=10, random_state=0).fit_predict(scaled), index=customers.index, name="k-means")
hard.loc[["C001", "C200"]]

# %% [markdown]
# ## A mixture: shares
#
# A Gaussian mixture describes each group by a bell-shaped cloud, and asks of every customer: how likely would such a
# customer be in each group? The answer is her *membership*, a share between 0 and 1. EM finds the best clouds.

# %%
point = bg.fit(customers, 2, engine="em", seed=1)
shares = pd.DataFrame(point.predict_proba(), index=customers.index, columns=["group 0", "group 1"])
shares.loc[["C001", "C200"]].round(3)

# %% [markdown]
# ## A Bayesian mixture: how sure the shares are
#
# The clouds are estimated from a few hundred customers, so they are not known exactly, and neither are the shares. The
# posterior tells which clouds agree with the data; each of them gives other shares. Their spread is the interval.

# %%
posterior = bg.fit(customers, 2, seed=1, progress=False)
found = posterior.memberships()
found[["probability", "lower", "upper"]].sel(observation="C200").to_dataframe().round(3)

# %%
plots.membership(posterior, "C200", backend="matplotlib")
plt.show()

# %% [markdown]
# So "this customer is both" is the honest answer, and the figure says how far it can be relied on. Two things make a
# customer hard to place, and they call for different remedies: where the groups overlap (`entropy_overlap`) no amount
# of data helps; where the clouds are uncertain (`entropy_parameter`) more data will.

# %%
unsure = found.entropy.to_series().sort_values(ascending=False).index[:5]
found[["entropy_overlap", "entropy_parameter"]].sel(observation=list(unsure)).to_dataframe().round(3)

# %%
plots.components(posterior, backend="matplotlib")
plt.show()

# %% [markdown]
# Each point has the colour of its memberships, and is opaque where they are sure. The thin ellipses are draws of the
# posterior: where they spread, the groups themselves are uncertain.
