"""The steps of the pass over one block: those written for this machine, or plain loops where there can be none."""

import warnings

from bayesgmm.kernels import blocks, machine
from bayesgmm.kernels.elementary import COMPILES, inlined

if not COMPILES:
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

transpose_block, weigh, soft_maximum = chosen.transpose_block, chosen.weigh, chosen.soft_maximum
add_moments, allocate_single = chosen.add_moments, chosen.allocate_single
moments_about = chosen.moments_about


@inlined
def respond(
    columns, means, factors, log_constants, g, v, size, r, total, scale, log_density, only_sum, centred, x, following
):
    """Return the weighted log-likelihood of a block; see `blocks.weigh` and `blocks.soft_maximum`."""
    weigh(columns, means, factors, log_constants, g, size, r, centred, x, following)
    return soft_maximum(r, v, size, total, scale, log_density, only_sum)


@inlined
def are_zeros_and_ones(v, size):
    """Return whether no weight is another number: sums of log densities are then logarithms of products."""
    others = 0
    for b in range(size):
        others += v[b] * (v[b] - 1.0) != 0.0
    return others == 0


@inlined
def read_weights(sample_weight, g, first_row, size, v):
    """Copy row ``g`` of weights (g, n), or (g, 1) where those of all rows are alike, and zeros up to a whole line."""
    alike = sample_weight.shape[1] == 1
    for b in range(size):
        v[b] = sample_weight[g, 0 if alike else first_row + b]
    for b in range(size, padded(size)):
        v[b] = 0.0


@inlined
def are_as_before(sample_weight, start, first_row, size, rows):
    """Return whether the weights of a block are those of the block before: alike, and as many."""
    return sample_weight.shape[1] == 1 and first_row > start and size == rows


@inlined
def padded(size):
    """Return the number of rows that the steps take where ``size`` count: the others are of weight 0."""
    return (size + blocks.LINE - 1) // blocks.LINE * blocks.LINE
