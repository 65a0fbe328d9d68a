"""Rows drawn with unequal probabilities, in one pass wherever the rows are."""

import numpy as np

from bayesgmm.kernels.elementary import compiled
from bayesgmm.kernels.partitions import ROWS, assign
from bayesgmm.kernels.uniforms import uniform


@compiled
def rank_rows(values, weight, origin, scale, centres, even, far, key, first, importance, priority, counts):
    """Write the importance and priority of each row, and return the cost: squared distances to the nearest centre.

    The importance of a row is its weight times ``even[nearest] + far * squared distance``; its priority is that over
    a uniform of its own (Duffield, Lund & Thorup 2007, doi:10.1145/1314690.1314696). ``counts`` are the weights of
    the rows nearest to each centre. One weight may stand for all rows.
    """
    n, d = values.shape
    columns, labels, nearest, cost = np.empty((d, ROWS)), np.zeros(ROWS, np.int32), np.empty(ROWS), 0.0
    counts[:] = 0.0
    for start in range(0, n, ROWS):
        size = min(ROWS, n - start)
        for b in range(size):
            for j in range(d):
                columns[j, b] = (values[start + b, j] - origin[j]) * scale[j]
        assign(columns, centres, labels, nearest)
        for b in range(size):
            i, w = start + b, weight[start + b if weight.shape[0] > 1 else 0]
            counts[labels[b]] += w
            cost += w * nearest[b]
            importance[i] = w * (even[labels[b]] + far * nearest[b])
            priority[i] = importance[i] / (1.0 - uniform(key, np.uint64(first + i)))
    return cost
