"""The pass with labels drawn in place of responsibilities, each from the uniform of its row."""

import numpy as np

from bayesgmm.kernels.blocks import LINE, block_array, parted, workspace
from bayesgmm.kernels.elementary import compiled, compiled_exactly
from bayesgmm.kernels.passes import block_rows
from bayesgmm.kernels.steps import (
    add_moments,
    allocate_single,
    are_as_before,
    are_zeros_and_ones,
    padded,
    read_weights,
    respond,
    transpose_block,
)
from bayesgmm.kernels.uniforms import binomial, child_key

#: Features up to which it costs less to sum over all rows, most of weight 0, than to gather a component's own.
MOST_DENSE = 5


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
def gather_component(columns, copies, size, gathered, kept):
    """Copy the rows that fell to a component and how often each, then a line of zeros; return their number."""
    m = 0
    rows = kept[0].view(np.int64)
    for b in range(size):
        rows[m] = b
        kept[1, m] = copies[b]
        m += 1 if copies[b] > 0.0 else 0
    for i in range(m, padded(m)):
        kept[1, i] = 0.0
    for j in range(columns.shape[0]):
        column, out = columns[j], gathered[j]
        for i in range(m):
            out[i] = column[rows[i]]
        for i in range(m, padded(m)):
            out[i] = 0.0
    return m


@compiled
def allocate_rows(
    x, sample_weight, origin, inverse_unit, log_constants, means, factors, keys, offset,
    start, stop, log_likelihood, counts, first, second, labels,
):  # fmt: skip
    """Add the rows' log-likelihood and the statistics of labels drawn to the last arguments.

    One key (g) for each parameter value; ``offset`` is the number of row 0; ``labels (g, rows)`` receives the
    component of each row, unless it is empty. One weight may stand for all rows; those whose weight is above 1 are
    split between components.
    """
    d, k = x.shape[1], means.shape[1]
    rows = min(block_rows(d), stop - start)
    columns, centred, r, v, total, scale, log_density = parted(workspace(d, k, rows), d, k)
    gathered, kept, ones = block_array(d, rows), block_array(2, rows), np.ones(rows + LINE)
    copies, only_sum, heaviest = kept[1:], False, 0.0
    weight = sample_weight.reshape((1, sample_weight.shape[0]))
    for first_row in range(start, stop, rows):
        size = min(rows, stop - first_row)
        transpose_block(x, origin, inverse_unit, first_row, size, columns)
        whole = padded(size)
        if not are_as_before(weight, start, first_row, size, rows):
            read_weights(weight, 0, first_row, size, v)
            only_sum, heaviest = are_zeros_and_ones(v, whole), v[:size].max()
        for g in range(means.shape[0]):
            log_likelihood[g] += respond(
                columns, means, factors, log_constants, g, v, whole, r, total, scale, log_density, only_sum,
                centred, x, first_row + rows,
            )  # fmt: skip
            if heaviest <= 1.0:
                allocate_single(r, total, keys[g], offset + first_row, whole)
            else:
                allocate_copies(r, total, v, keys[g], offset + first_row, size)
            if d <= MOST_DENSE:
                r[:, size:whole] = 0.0
                add_moments(columns, means, r, ones, g, 0, k, whole, counts, first, second, centred)
            else:
                for c in range(k):
                    m = gather_component(columns, r[c], size, gathered, kept)
                    add_moments(
                        gathered, means, copies, ones, g, c, c + 1, padded(m), counts, first, second, centred
                    )  # fmt: skip
            if labels.shape[0] > 0:
                for c in range(k):
                    for b in range(size):
                        if r[c, b] > 0.0:
                            labels[g, first_row - start + b] = c


@compiled
def allocate_chunks(
    x, sample_weight, origin, inverse_unit, log_constants, means, factors, keys, offset,
    start, stop, chunk_rows, log_likelihood, counts, first, second, labels,
):  # fmt: skip
    """Do the same for each chunk of the rows, whose sums are an entry each; ``labels`` are those of all rows."""
    for chunk in range(log_likelihood.shape[0]):
        begin = start + chunk * chunk_rows
        end = min(begin + chunk_rows, stop)
        allocate_rows(
            x, sample_weight, origin, inverse_unit, log_constants, means, factors, keys, offset, begin, end,
            log_likelihood[chunk], counts[chunk], first[chunk], second[chunk], labels[:, begin:end],
        )  # fmt: skip
