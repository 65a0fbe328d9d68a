"""The three steps of the pass over one block of rows, each written for the number of features at hand.

Arrays are columns of a block, one feature or component a row, whose rows (a multiple of `lanes.WIDTH`) stand side
by side. What each function does is said, in plain loops, by its namesake in `blocks` and `moments`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir

from bayesgmm.kernels import elementary as el
from bayesgmm.kernels.lanes import DOUBLE, POINTER, WHOLE, WIDTH, Code, Lanes

#: Vectors that fit into registers beside what is loaded.
REGISTERS = 32 if WIDTH == 8 else 16
#: Most features whose centred values stay in registers while their squared distance is computed.
FEW = 12 if WIDTH == 8 else 5
#: Rows (in vectors) and columns of a tile of sums in registers.
TILE = (4, 4) if WIDTH == 8 else (2, 4)

VOID = ir.VoidType()
VV = 4


def by_rows(code: Code, size: ir.Value, vectors: int, carried: list[Lanes], body: Callable[..., Any]) -> list[Lanes]:
    """Write a loop over rows, several vectors at a time and what is left over singly."""
    whole = code.builder.sub(size, code.builder.urem(size, code.whole(vectors * WIDTH)))
    carried = code.loop(0, whole, vectors * WIDTH, carried, lambda at, held: body(at, vectors, held))
    return code.loop(whole, size, WIDTH, carried, lambda at, held: body(at, 1, held)) if vectors > 1 else carried


def write_weigh(module: ir.Module, name: str, d: int) -> None:
    """Write ``weigh(columns, stride, size, mean, factor, log_constant, log_r, centred)``."""
    code = Code(module, name, [POINTER, WHOLE, WHOLE, POINTER, POINTER, DOUBLE, POINTER, POINTER], VOID)
    columns, stride, size, mean, factor, log_constant, log_r, centred = code.function.args
    start, half, floor = code.spread(log_constant), code.constant(-0.5), code.constant(el.LOWEST)

    def finish(at: ir.Value, squares: list[Lanes]) -> None:
        for u, square in enumerate(squares):
            code.store(square.times_plus(half, start).at_least(floor), log_r, at, u * WIDTH)

    def few(at: ir.Value, vectors: int, _: list[Lanes]) -> None:
        rows = [code.builder.mul(stride, code.whole(j)) for j in range(d)]
        t = [
            [code.load(columns, row, at, u * WIDTH) - code.read_spread(mean, j) for u in range(vectors)]
            for j, row in enumerate(rows)
        ]
        squares = [code.constant(0.0)] * vectors
        for j in range(d):
            y = [tj * code.read_spread(factor, j * d + j) for tj in t[j]]
            for i in range(j + 1, d):
                p = code.read_spread(factor, i * d + j)
                y = [ti.times_plus(p, yu) for ti, yu in zip(t[i], y, strict=True)]
            squares = [yu.times_plus(yu, s) for yu, s in zip(y, squares, strict=True)]
        finish(at, squares)

    def many(at: ir.Value, vectors: int, _: list[Lanes]) -> None:
        def centre(j: ir.Value, _: list[Lanes]) -> None:
            m, row = code.read_spread(mean, j), code.builder.mul(j, stride)
            for u in range(vectors):
                code.store(code.load(columns, row, at, u * WIDTH) - m, centred, row, at, u * WIDTH)

        def tile(j: Any, width: int, squares: list[Lanes]) -> list[Lanes]:
            def below(i: Any, held: list[Lanes], columns_of: int = width) -> list[Lanes]:
                row = code.builder.mul(i, stride)
                t = [code.load(centred, row, at, u * WIDTH) for u in range(vectors)]
                row = code.builder.mul(i, code.whole(d))
                for jj in range(columns_of):
                    p = code.read_spread(factor, row, j, jj)
                    for u in range(vectors):
                        held[jj * vectors + u] = t[u].times_plus(p, held[jj * vectors + u])
                return held

            sums = [code.constant(0.0)] * (width * vectors)
            for ii in range(width):  # The triangle, then the rows below it.
                sums = below(code.builder.add(j, code.whole(ii)), sums, ii + 1)
            sums = code.loop(code.builder.add(j, code.whole(width)), d, 1, sums, below)
            for jj in range(width):
                squares = [
                    y.times_plus(y, s) for y, s in zip(sums[jj * vectors : (jj + 1) * vectors], squares, strict=True)
                ]
            return squares

        code.loop(0, d, 1, [], centre)
        width = TILE[1]
        squares = code.loop(
            0, d - d % width, width, [code.constant(0.0)] * vectors, lambda j, held: tile(j, width, held)
        )
        if d % width:
            squares = tile(code.whole(d - d % width), d % width, squares)
        finish(at, squares)

    if d <= FEW:
        by_rows(code, size, max(1, min(4, (REGISTERS - 4) // (d + 2))), [], few)
    else:
        by_rows(code, size, TILE[0], [], many)
    code.builder.ret_void()


def exponential(x: Lanes) -> Lanes:
    """Return the exponential of numbers that are at most 0, within 1.1 ulp; 0 below 1e-278.

    Cody & Waite (1980): ``exp(x) = 2**(m / s) * exp(r)`` with ``|r| <= log(2) / (2 s)``. The powers of two for the
    whole numbers below ``s`` are looked up (Tang 1989, doi:10.1145/63522.214928) where one instruction does it.
    """
    code, c = x.code, x.code.constant
    smallest, steps = c(el.SMALLEST_EXPONENT), 16 if WIDTH == 8 else 1
    clipped = x.at_least(smallest)
    rounded = clipped.times_plus(c(steps / np.log(2)), c(el.ROUND))
    m = rounded - c(el.ROUND)
    r = m.times_plus(c(-el.LN2_LOW / steps), m.times_plus(c(-el.LN2_HIGH / steps), clipped))
    highest, *series = el.exponential_series(np.log(2) / (2 * steps), 4 if steps == 16 else 9)
    q = c(highest)
    for term in series:
        q = q.times_plus(r, c(term))
    p = q.times_plus(r * r, r)
    exponent = code.builder.shl(rounded.bits(), code.bit_constant(52 - steps.bit_length() + 1))
    # The exponent that the place in the table adds is taken off beforehand.
    table = (2.0 ** (np.arange(steps) / steps)).view(np.int64) - (np.arange(steps) << 48 if steps == 16 else 0)
    power = code.looked_up(table, rounded.bits()) if steps == 16 else code.bit_constant(int(table[0]))
    power = code.from_bits(code.builder.add(power, exponent))
    return power.times_plus(p, power).where_above(smallest, c(0.0), x)


def logarithm(x: Lanes) -> Lanes:
    """Return the natural logarithm of numbers of at least 1, within 1 ulp (fdlibm's rational form)."""
    code, c = x.code, x.code.constant
    builder = code.builder
    above = builder.sub(x.bits(), code.bit_constant(el.SQRT_HALF_BITS))
    whole = builder.lshr(above, code.bit_constant(52))
    f = code.from_bits(builder.sub(x.bits(), builder.shl(whole, code.bit_constant(52)))) - c(1.0)
    exponent = code.from_bits(builder.add(whole, code.bit_constant(el.ROUND_BITS))) - c(el.ROUND)
    s = f / (f + c(2.0))
    z = s * s
    w = z * z
    even = w * (w * (w.times_plus(c(el.LOG_EVEN[2]), c(el.LOG_EVEN[1]))) + c(el.LOG_EVEN[0]))
    odd = z * (w * (w * (w.times_plus(c(el.LOG_ODD[3]), c(el.LOG_ODD[2]))) + c(el.LOG_ODD[1])) + c(el.LOG_ODD[0]))
    half = f * f * c(0.5)
    low = exponent * c(el.LN2_LOW)
    return exponent * c(el.LN2_HIGH) - ((half - (s * (half + even + odd) + low)) - f)


def write_soft_maximum(module: ir.Module, name: str) -> None:
    """Write ``sum = soft_maximum(log_r, stride, k, size, v, total, scale, log_density)``."""
    code = Code(module, name, [POINTER, WHOLE, WHOLE, WHOLE, POINTER, POINTER, POINTER, POINTER], DOUBLE)
    log_r, stride, k, size, v, total, scale, log_density = code.function.args

    def rows(at: ir.Value, vectors: int, value: list[Lanes]) -> list[Lanes]:
        places = [code.builder.add(at, code.whole(u * WIDTH)) for u in range(vectors)]

        def compare(c: ir.Value, largest: list[Lanes]) -> list[Lanes]:
            row = code.builder.mul(c, stride)
            return [old.at_least(code.load(log_r, row, place)) for old, place in zip(largest, places, strict=True)]

        def component(c: ir.Value, sums: list[Lanes]) -> list[Lanes]:
            row = code.builder.mul(c, stride)
            terms = [exponential(code.load(log_r, row, p) - top) for p, top in zip(places, largest, strict=True)]
            for term, place in zip(terms, places, strict=True):
                code.store(term, log_r, row, place)
            return [s + term for s, term in zip(sums, terms, strict=True)]

        largest = code.loop(0, k, 1, [code.constant(el.LOWEST)] * vectors, compare)
        sums = code.loop(0, k, 1, [code.constant(0.0)] * vectors, component)
        for whole, top, place in zip(sums, largest, places, strict=True):
            weight, log_sum = code.load(v, place), top + logarithm(whole)
            code.store(whole, total, place)
            code.store(weight / whole, scale, place)
            code.store(log_sum, log_density, place)
            value = [weight.times_plus(log_sum, value[0])]
        return value

    value = by_rows(code, size, 4, [code.constant(0.0)], rows)
    code.builder.ret(value[0].total())


def write_moments(module: ir.Module, name: str, d: int) -> None:
    """Write ``count = moments(columns, stride, size, mean, r, scale, first, second, centred)``.

    ``r`` becomes ``r * scale``, whose sum is returned.
    """
    code = Code(module, name, [POINTER, WHOLE, WHOLE, POINTER, POINTER, POINTER, POINTER, POINTER, POINTER], DOUBLE)
    columns, stride, size, mean, r, scale, first, second, centred = code.function.args
    zero = code.constant(0.0)
    pairs = [(i, j) for i in range(d) for j in range(i + 1)]

    def weight(at: ir.Value) -> Lanes:
        return code.load(r, at) * code.load(scale, at)

    def shifted(j: Any, at: ir.Value) -> Lanes:
        row = code.builder.mul(stride, j if not isinstance(j, int) else code.whole(j))
        return code.load(columns, row, at) - code.read_spread(mean, j)

    def all_at_once(at: ir.Value, held: list[Lanes]) -> list[Lanes]:
        w = weight(at)
        t = [shifted(j, at) for j in range(d)]
        u = [w * tj for tj in t]
        sums = [held[0] + w] + [h + ui for h, ui in zip(held[1 : d + 1], u, strict=True)]
        return sums + [u[i].times_plus(t[j], h) for (i, j), h in zip(pairs, held[d + 1 :], strict=True)]

    def centre(at: ir.Value, held: list[Lanes]) -> list[Lanes]:
        w = weight(at)
        code.store(w, r, at)

        def one(j: ir.Value, _: list[Lanes]) -> None:
            code.store(shifted(j, at), centred, code.builder.mul(j, stride), at)

        code.loop(0, d, 1, [], one)
        return [held[0] + w]

    def rows_of(i: Any, number: int) -> list[ir.Value]:
        return [code.builder.mul(code.builder.add(i, code.whole(n)), stride) for n in range(number)]

    def place(i: Any, j: Any, ii: int, jj: int) -> ir.Value:
        row = code.builder.mul(code.builder.add(i, code.whole(ii)), code.whole(d))
        return code.builder.add(code.builder.add(row, j), code.whole(jj))

    def square(i: Any, j: Any, height: int) -> None:
        """Add the tile of so many rows from i and four columns from j, all left of the diagonal."""
        left, right = rows_of(i, height), rows_of(j, 4)

        def step(at: ir.Value, held: list[Lanes]) -> list[Lanes]:
            w = code.load(r, at)
            u = [w * code.load(centred, row, at) for row in left]
            t = [code.load(centred, row, at) for row in right]
            return [u[n // 4].times_plus(t[n % 4], h) for n, h in enumerate(held)]

        sums = code.loop(0, size, WIDTH, [zero] * (4 * height), step)
        for n, value in enumerate(sums):
            code.add_to(second, place(i, j, n // 4, n % 4), value.total())

    def triangle(i: Any, height: int) -> None:
        """Add the tile on the diagonal from i, and the first moments of its rows."""
        rows, inside = rows_of(i, height), [(a, b) for a in range(height) for b in range(a + 1)]

        def step(at: ir.Value, held: list[Lanes]) -> list[Lanes]:
            w = code.load(r, at)
            t = [code.load(centred, row, at) for row in rows]
            u = [w * ti for ti in t]
            sums = [h + ui for h, ui in zip(held[:height], u, strict=True)]
            return sums + [u[a].times_plus(t[b], h) for (a, b), h in zip(inside, held[height:], strict=True)]

        sums = code.loop(0, size, WIDTH, [zero] * (height + len(inside)), step)
        for n, value in enumerate(sums[:height]):
            code.add_to(first, code.builder.add(i, code.whole(n)), value.total())
        for (a, b), value in zip(inside, sums[height:], strict=True):
            code.add_to(second, place(i, i, a, b), value.total())

    def panel(i: Any, height: int) -> None:
        code.loop(0, i, 4, [], lambda j, _: square(i, j, height))
        triangle(i, height)

    if 1 + d + len(pairs) <= REGISTERS - 10:
        sums = code.loop(0, size, WIDTH, [zero] * (1 + d + len(pairs)), all_at_once)
        for j in range(d):
            code.add_to(first, j, sums[1 + j].total())
        for (i, j), value in zip(pairs, sums[d + 1 :], strict=True):
            code.add_to(second, i * d + j, value.total())
    else:
        sums = code.loop(0, size, WIDTH, [zero], centre)
        code.loop(0, d - d % 4, 4, [], lambda i, _: panel(i, 4))
        if d % 4:
            panel(code.whole(d - d % 4), d % 4)
    code.builder.ret(sums[0].total())
