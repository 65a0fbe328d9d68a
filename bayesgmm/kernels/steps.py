"""The steps of the pass over one block: those written for this machine, or plain loops where there can be none."""

import warnings

from numba.core import config

from bayesgmm.kernels import blocks, machine
from bayesgmm.kernels.elementary import compiled

if config.DISABLE_JIT:  # pyright: ignore[reportAttributeAccessIssue]
    chosen = blocks
elif machine.is_right():
    chosen = machine
else:
    chosen = blocks
    warnings.warn(
        "vector code for this processor gives wrong numbers here; plain loops, several times slower, take its place",
        RuntimeWarning,
        stacklevel=2,
    )

weigh, soft_maximum = chosen.weigh, chosen.soft_maximum
add_moments, allocate_single = chosen.add_moments, chosen.allocate_single
moments_about = chosen.moments_about


@compiled
def respond(columns, means, factors, log_constants, v, size, r, total, scale, log_density, centred):
    """Return the weighted log-likelihood of a block; see `blocks.soft_maximum` for what is written."""
    for c in range(means.shape[0]):
        weigh(columns, means[c], factors[c], log_constants[c], size, r[c], centred)
    return soft_maximum(r, v, size, total, scale, log_density)


@compiled
def pad_weights(sample_weight, size, v):
    """Copy weights of rows, then a line of zeros; return the number of rows with those of the last line."""
    whole = padded(size)
    for b in range(size):
        v[b] = sample_weight[b]
    for b in range(size, whole):
        v[b] = 0.0
    return whole


@compiled
def padded(size):
    """Return the number of rows that the steps take where ``size`` count: the others are of weight 0."""
    return (size + blocks.LINE - 1) // blocks.LINE * blocks.LINE
