"""Rows drawn with unequal probabilities, in one pass wherever the rows are."""

import numpy as np

from bayesgmm.kernels.elementary import compiled_exactly
from bayesgmm.kernels.uniforms import uniform


@compiled_exactly
def rank_rows(values, weight, origin, scale, centres, even, far, key, first, importance, priority, counts):
    """Write the importance and priority of each row, and return the cost: squared distances to the nearest centre.

    The importance of a row is its weight times ``even[nearest] + far * squared distance``; its priority is that over
    a uniform of its own (Duffield, Lund & Thorup 2007, doi:10.1145/1314690.1314696). ``counts`` are the weights of
    the rows nearest to each centre. One weight may stand for all rows.
    """
    k, d = centres.shape
    counts[:] = 0.0
    cost = 0.0
    for i in range(values.shape[0]):
        nearest, at = np.inf, 0
        for c in range(k):
            apart = 0.0
            for j in range(d):
                apart += ((values[i, j] - origin[j]) * scale[j] - centres[c, j]) ** 2
            if apart < nearest:
                nearest, at = apart, c
        w = weight[i if weight.shape[0] > 1 else 0]
        counts[at] += w
        cost += w * nearest
        importance[i] = w * (even[at] + far * nearest)
        priority[i] = importance[i] / (1.0 - uniform(key, np.uint64(first + i)))
    return cost
