"""The pass with labels drawn in place of responsibilities, each from the uniform of its row."""

import numpy as np

from bayesgmm.kernels.blocks import respond, transpose_block
from bayesgmm.kernels.elementary import compiled, compiled_exactly
from bayesgmm.kernels.moments import add_moments, add_moments_diagonal
from bayesgmm.kernels.passes import block_rows
from bayesgmm.kernels.uniforms import binomial, child_key, uniform


@compiled_exactly
def allocate_single(r, total, key, first_row, size, threshold, reached):
    """Replace responsibilities, not yet divided by ``total``, by 1 for the component drawn and 0 for others.

    By inversion of the distribution function: the component in which it passes the row's uniform.
    """
    last = r.shape[0] - 1
    for b in range(size):
        threshold[b] = uniform(key, first_row + b) * total[b]
        reached[b] = 0.0
    for c in range(last + 1):
        for b in range(size):
            before = reached[b]
            after = before + r[c, b]
            reached[b] = after
            r[c, b] = 1.0 if before <= threshold[b] and (threshold[b] < after or c == last) else 0.0


@compiled_exactly
def allocate_copies(r, total, sample_weight, key, first_row, size):
    """Replace responsibilities by how many of a row's copies fall to each component: a multinomial split."""
    last = r.shape[0] - 1
    for b in range(size):
        rest, copies = total[b], np.ceil(sample_weight[b])
        stream, counter = child_key(key, first_row + b), 0
        for c in range(last):
            mine = r[c, b]
            drawn, counter = binomial(copies, min(mine / rest, 1.0) if rest > 0.0 else 0.0, stream, counter)
            r[c, b] = drawn
            copies -= drawn
            rest -= mine
        r[last, b] = copies


@compiled
def gather_component(columns, mean, copies, size, centred, kept):
    """Copy the rows that fell to a component, about its mean; return their number and that of their copies."""
    m, count = 0, 0.0
    rows = kept[0].view(np.int64)
    for b in range(size):
        rows[m] = b
        kept[1, m] = copies[b]
        count += copies[b]
        m += 1 if copies[b] > 0.0 else 0
    for j in range(mean.shape[0]):
        column, out, shift = columns[j], centred[j], mean[j]
        for i in range(m):
            out[i] = column[rows[i]] - shift
    return m, count


@compiled
def allocate_rows(
    x, sample_weight, origin, inverse_unit, log_constants, means, factors, keys,
    start, stop, log_likelihood, counts, first, second, labels,
):  # fmt: skip
    """Add the rows' log-likelihood and the statistics of labels drawn to the last arguments.

    One key (g) for each parameter value; ``labels (g, rows)`` receives the component of each row, unless it is
    empty. Rows whose weight is above 1 are split between components.
    """
    d, k = x.shape[1], means.shape[1]
    rows = min(block_rows(d), stop - start)
    columns, centred, r = np.empty((d, rows)), np.empty((d, rows)), np.empty((k, rows))
    scratch, log_density, kept = np.empty((5, rows)), np.empty(rows), np.empty((2, rows))
    for first_row in range(start, stop, rows):
        size = min(rows, stop - first_row)
        transpose_block(x, origin, inverse_unit, first_row, size, columns)
        v = sample_weight[first_row : first_row + size]
        for g in range(means.shape[0]):
            respond(columns, means[g], factors[g], log_constants[g], size, centred, scratch, r, log_density)
            value, heaviest = 0.0, 0.0
            for b in range(size):
                value += v[b] * log_density[b]
                heaviest = max(heaviest, v[b])
            log_likelihood[g] += value
            if heaviest <= 1.0:
                allocate_single(r, scratch[3], keys[g], first_row, size, scratch[0], scratch[1])
            else:
                allocate_copies(r, scratch[3], v, keys[g], first_row, size)
            for c in range(k):
                m, count = gather_component(columns, means[g, c], r[c], size, centred, kept)
                counts[g, c] += count
                if second.ndim == 3:
                    add_moments_diagonal(centred, kept[1], m, first[g, c], second[g, c])
                else:
                    add_moments(centred, kept[1], m, scratch[0], scratch[1], first[g, c], second[g, c])
            if labels.shape[0] > 0:
                for c in range(k):
                    for b in range(size):
                        if r[c, b] > 0.0:
                            labels[g, first_row - start + b] = c
