"""Weighted first and second moments of a block of rows about a fixed point."""

from bayesgmm.kernels.elementary import compiled


@compiled
def add_moments(centred, r, size, u, w, first, second):
    """Add the block's weighted sums of ``t`` and (lower triangle of) ``t t'`` of one component."""
    d = first.shape[0]
    i = 0
    while i + 2 <= d:
        ti, tj = centred[i], centred[i + 1]
        f0, f1, s00, s10, s11 = 0.0, 0.0, 0.0, 0.0, 0.0
        for b in range(size):
            ub = r[b] * ti[b]
            wb = r[b] * tj[b]
            u[b] = ub
            w[b] = wb
            f0 += ub
            f1 += wb
            s00 += ub * ti[b]
            s10 += wb * ti[b]
            s11 += wb * tj[b]
        first[i] += f0
        first[i + 1] += f1
        second[i, i] += s00
        second[i + 1, i] += s10
        second[i + 1, i + 1] += s11
        j = 0
        while j + 4 <= i:
            t0, t1, t2, t3 = centred[j], centred[j + 1], centred[j + 2], centred[j + 3]
            a0, a1, a2, a3, c0, c1, c2, c3 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
            for b in range(size):
                a0 += u[b] * t0[b]
                a1 += u[b] * t1[b]
                a2 += u[b] * t2[b]
                a3 += u[b] * t3[b]
                c0 += w[b] * t0[b]
                c1 += w[b] * t1[b]
                c2 += w[b] * t2[b]
                c3 += w[b] * t3[b]
            second[i, j] += a0
            second[i, j + 1] += a1
            second[i, j + 2] += a2
            second[i, j + 3] += a3
            second[i + 1, j] += c0
            second[i + 1, j + 1] += c1
            second[i + 1, j + 2] += c2
            second[i + 1, j + 3] += c3
            j += 4
        while j < i:
            t0 = centred[j]
            a0, c0 = 0.0, 0.0
            for b in range(size):
                a0 += u[b] * t0[b]
                c0 += w[b] * t0[b]
            second[i, j] += a0
            second[i + 1, j] += c0
            j += 1
        i += 2
    if i < d:
        ti = centred[i]
        f0 = 0.0
        for b in range(size):
            u[b] = r[b] * ti[b]
            f0 += u[b]
        first[i] += f0
        for j in range(d):
            t0 = centred[j]
            a0 = 0.0
            for b in range(size):
                a0 += u[b] * t0[b]
            second[i, j] += a0


@compiled
def add_moments_diagonal(centred, r, size, first, second):
    """Add the block's weighted sums of ``t`` and ``t * t`` of one component."""
    for j in range(first.shape[0]):
        t = centred[j]
        f, s = 0.0, 0.0
        for b in range(size):
            rt = r[b] * t[b]
            f += rt
            s += rt * t[b]
        first[j] += f
        second[j] += s
