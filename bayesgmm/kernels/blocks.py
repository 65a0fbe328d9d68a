"""One block of rows, transposed into a scratch of columns that stays in cache.

Coordinates are ``(x - origin) * inverse_unit``. A component is given by its mean and its
lower-triangular precision factor ``P`` (``inv(covariance) = P @ P.T``), so that
``y = P.T @ (x - mean)`` has the identity as covariance; a factor of shape (d,) is a diagonal.
"""

from bayesgmm.kernels.elementary import compiled, exponentiate, logarithms

#: Below every log density of a row that a double can hold.
LOWEST = -1.7976931348623157e308


@compiled
def transpose_block(x, origin, inverse_unit, start, size, columns):
    """Copy rows ``start ... start + size`` of ``x`` into ``columns``, one feature a row."""
    for j in range(x.shape[1]):
        shift, factor, column = origin[j], inverse_unit[j], columns[j]
        for b in range(size):
            column[b] = (x[start + b, j] - shift) * factor


@compiled
def centre_block(columns, mean, size, centred):
    for j in range(mean.shape[0]):
        m, column, out = mean[j], columns[j], centred[j]
        for b in range(size):
            out[b] = column[b] - m


@compiled
def squared_distances(centred, factor, size, y, z, out):
    """Write ``|P.T @ t|**2`` of every row ``t`` of the block; ``factor`` is lower triangular.

    Columns are taken two at a time and rows four at a time, so that a value loaded is used
    twice and a sum stored has grown by four products.
    """
    d = factor.shape[0]
    for b in range(size):
        out[b] = 0.0
    j = 0
    while j + 2 <= d:
        p00, p10, p11 = factor[j, j], factor[j + 1, j], factor[j + 1, j + 1]
        t0, t1 = centred[j], centred[j + 1]
        for b in range(size):
            y[b] = p00 * t0[b] + p10 * t1[b]
            z[b] = p11 * t1[b]
        i = j + 2
        while i + 4 <= d:
            p0, p1, p2, p3 = factor[i, j], factor[i + 1, j], factor[i + 2, j], factor[i + 3, j]
            q0, q1, q2, q3 = factor[i, j + 1], factor[i + 1, j + 1], factor[i + 2, j + 1], factor[i + 3, j + 1]
            t0, t1, t2, t3 = centred[i], centred[i + 1], centred[i + 2], centred[i + 3]
            for b in range(size):
                y[b] += p0 * t0[b] + p1 * t1[b] + p2 * t2[b] + p3 * t3[b]
                z[b] += q0 * t0[b] + q1 * t1[b] + q2 * t2[b] + q3 * t3[b]
            i += 4
        while i < d:
            p0, q0, t0 = factor[i, j], factor[i, j + 1], centred[i]
            for b in range(size):
                y[b] += p0 * t0[b]
                z[b] += q0 * t0[b]
            i += 1
        for b in range(size):
            out[b] += y[b] * y[b] + z[b] * z[b]
        j += 2
    if j < d:
        p00, t0 = factor[j, j], centred[j]
        for b in range(size):
            out[b] += (p00 * t0[b]) * (p00 * t0[b])


@compiled
def squared_distances_diagonal(centred, factor, size, out):
    for b in range(size):
        out[b] = 0.0
    for j in range(factor.shape[0]):
        p, t = factor[j], centred[j]
        for b in range(size):
            out[b] += (p * t[b]) * (p * t[b])


@compiled
def weigh_component(columns, mean, factor, log_constant, size, centred, scratch, log_r, largest):
    """Write ``log(weight_k N(x | mean_k, covariance_k))`` into ``log_r`` and raise ``largest``."""
    centre_block(columns, mean, size, centred)
    if factor.ndim == 1:
        squared_distances_diagonal(centred, factor, size, log_r)
    else:
        squared_distances(centred, factor, size, scratch[0], scratch[1], log_r)
    for b in range(size):
        value = log_constant - 0.5 * log_r[b]
        # So far out that no double holds it: as far from every such component as from any other.
        value = value if value > LOWEST else LOWEST
        log_r[b] = value
        largest[b] = value if value > largest[b] else largest[b]


@compiled
def exponentiate_about(log_r, largest, size, scratch, total):
    for b in range(size):
        log_r[b] -= largest[b]
    exponentiate(log_r, scratch, size)
    for b in range(size):
        total[b] += log_r[b]


@compiled
def respond(columns, means, factors, log_constants, size, centred, scratch, r, log_density):
    """Write responsibilities, not yet divided by ``scratch[3]``, and the log density of each row."""
    k = means.shape[0]
    largest, total = scratch[2], scratch[3]
    for b in range(size):
        largest[b] = LOWEST
        total[b] = 0.0
    for c in range(k):
        weigh_component(columns, means[c], factors[c], log_constants[c], size, centred, scratch, r[c], largest)
    for c in range(k):
        exponentiate_about(r[c], largest, size, scratch[0], total)
    for b in range(size):
        scratch[0, b] = total[b]
    logarithms(scratch[0], scratch[1], size)
    for b in range(size):
        log_density[b] = largest[b] + scratch[1, b]
