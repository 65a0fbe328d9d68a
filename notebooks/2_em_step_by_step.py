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
# # 2. EM, step by step
#
# EM alternates two questions. *If we knew the groups, who would belong where?* (expectation). *If we knew who belongs
# where, what would the groups be?* (maximisation). Neither is known, so it guesses and improves both in turn. First by
# hand, in one dimension.

# %%
import matplotlib.pyplot as plt
import numpy as np

import bayesgmm as bg
from bayesgmm import plots

x = bg.datasets.load_faithful()["waiting"].to_numpy()

# %% [markdown]
# ## One dimension, by hand
#
# The density of group $k$ at $x$ is $\mathcal N(x \mid \mu_k, \sigma_k^2) =
# \frac{1}{\sqrt{2\pi\sigma_k^2}} \exp\left(-\frac{(x-\mu_k)^2}{2\sigma_k^2}\right)$. The *responsibility* of group $k$
# for row $i$ is its share of the density there:
#
# $$r_{ik} = \frac{w_k\, \mathcal N(x_i \mid \mu_k, \sigma_k^2)}{\sum_j w_j\, \mathcal N(x_i \mid \mu_j, \sigma_j^2)}.$$
#
# Given these, the groups are weighted averages, with $n_k = \sum_i r_{ik}$:
#
# $$w_k = \frac{n_k}{n}, \qquad \mu_k = \frac{1}{n_k} \sum_i r_{ik} x_i, \qquad
# \sigma_k^2 = \frac{1}{n_k} \sum_i r_{ik} (x_i - \mu_k)^2.$$


# %%
def density(x, mean, variance):
    return np.exp(-((x[:, None] - mean) ** 2) / (2 * variance)) / np.sqrt(2 * np.pi * variance)


weight, mean, variance = np.array([0.5, 0.5]), np.array([50.0, 60.0]), np.array([100.0, 100.0])
history = []
for _ in range(60):
    joint = weight * density(x, mean, variance)
    history.append(np.log(joint.sum(axis=1)).sum())
    r = joint / joint.sum(axis=1, keepdims=True)  # expectation
    n = r.sum(axis=0)
    weight, mean = n / len(x), (r * x[:, None]).sum(axis=0) / n  # maximisation
    variance = (r * (x[:, None] - mean) ** 2).sum(axis=0) / n
print(f"weights {weight.round(3)}, means {mean.round(2)}, sd {np.sqrt(variance).round(2)}")

# %% [markdown]
# The log-likelihood never falls. The library, asked for maximum likelihood (`prior="flat"`), ends at the same point.

# %%
assert (np.diff(history) > -1e-9).all()
fitted = bg.fit(x, bg.MixtureModel(2, prior="flat"), engine="em", seed=1)
print(f"by hand {history[-1]:.4f}, bayesgmm {fitted.criteria()['log_likelihood']:.4f}")
assert abs(history[-1] - fitted.criteria()["log_likelihood"]) < 1e-3

# %% [markdown]
# ## Hard or soft updates
#
# Classification EM gives each row wholly to its most probable group before the groups are updated, as k-means does. It
# cuts the tails off where groups overlap, so that groups look narrower and further apart than they are.

# %%
w, m, v = np.array([0.5, 0.5]), np.array([50.0, 60.0]), np.array([100.0, 100.0])
for _ in range(60):
    own = (w * density(x, m, v)).argmax(axis=1)
    hard = np.eye(2)[own]
    n = hard.sum(axis=0)
    w, m = n / len(x), (hard * x[:, None]).sum(axis=0) / n
    v = (hard * (x[:, None] - m) ** 2).sum(axis=0) / n
print(f"sd by soft updates {np.sqrt(variance).round(2)}, by hard ones {np.sqrt(v).round(2)}")

# %% [markdown]
# ## Two dimensions, five parameters
#
# In two dimensions a group has two means, two variances and a covariance: `plots.bivariate("page.html")` writes a page
# with a slider for each. The formulas stay; the squared distance becomes
# $(x-\mu_k)^\top \Sigma_k^{-1} (x-\mu_k)$, and $\Sigma_k$ is the weighted average of
# $(x_i-\mu_k)(x_i-\mu_k)^\top$. So it goes in any number of dimensions.

# %%
faithful = bg.datasets.load_faithful()
two = bg.fit(faithful, 2, engine="em", seed=1)
two.covariances.squeeze().to_series().unstack().round(3)

# %% [markdown]
# ## The animation
#
# From two wide clouds around random rows to the fit. In a notebook, `plots.animate_em(two)` has a play button and a
# slider; here are the first, a middle and the last frame.

# %%
moving = plots.animate_em(two, seed=3)
frames = [moving.frames[at] for at in (0, len(moving.frames) // 3, -1)]
figure, axes = plt.subplots(1, 3, figsize=(12, 3.6), sharey=True)
for axis, frame in zip(axes, frames, strict=True):
    axis.scatter(frame.data[0].x, frame.data[0].y, c=list(frame.data[0].marker.color), s=12)
    for line in frame.data[1:]:
        axis.plot(line.x, line.y, color=line.line.color)
    axis.set_title(frame.layout.title.text)
    axis.set_xlim(1, 6)
    axis.set_ylim(35, 105)
plt.show()

# %% [markdown]
# From labels drawn at random the climb is long: flat at first, for all groups are alike, then steep, then by a constant
# factor. That factor is the share of information that the labels hide.

# %%
blind = bg.fit(faithful, 2, engine="em", start=np.random.default_rng(1).integers(2, size=len(faithful)))
plots.em_trace(blind, backend="matplotlib")
plt.show()
