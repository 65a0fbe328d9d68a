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
from bayesgmm.kernels import uniforms as un
from bayesgmm.kernels.lanes import BITS, DOUBLE, POINTER, WHOLE, WIDTH, Code, Lanes

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


class Weigh:
    """``weigh(columns, stride, size, mean, factor, log_constant, log_r, centred)`` for d features."""

    def __init__(self, module: ir.Module, name: str, d: int) -> None:
        kinds = [POINTER, WHOLE, WHOLE, POINTER, POINTER, DOUBLE, POINTER, POINTER]
        self.code, self.d = Code(module, name, kinds, VOID), d
        arguments = self.code.function.args
        self.columns, self.stride, size, self.mean, self.factor, log_constant, self.log_r, self.centred = arguments
        self.start = self.code.spread(log_constant)
        if d <= FEW:
            by_rows(self.code, size, max(1, min(4, (REGISTERS - 4) // (d + 2))), [], self.in_registers)
        else:
            by_rows(self.code, size, TILE[0], [], self.in_tiles)
        self.code.builder.ret_void()

    def in_registers(self, at: ir.Value, vectors: int, _: list[Lanes]) -> None:
        """Keep all centred features of some rows in registers."""
        code, d = self.code, self.d
        rows = [code.builder.mul(self.stride, code.whole(j)) for j in range(d)]
        t = [
            [code.load(self.columns, row, at, u * WIDTH) - code.read_spread(self.mean, j) for u in range(vectors)]
            for j, row in enumerate(rows)
        ]
        squares = [code.constant(0.0)] * vectors
        for j in range(d):
            y = [tj * code.read_spread(self.factor, j * d + j) for tj in t[j]]
            for i in range(j + 1, d):
                p = code.read_spread(self.factor, i * d + j)
                y = [ti.times_plus(p, yu) for ti, yu in zip(t[i], y, strict=True)]
            squares = [yu.times_plus(yu, s) for yu, s in zip(y, squares, strict=True)]
        self.finish(at, squares)

    def in_tiles(self, at: ir.Value, vectors: int, _: list[Lanes]) -> None:
        """Centre features in memory, and keep tiles of what is transformed in registers."""
        code, d, width = self.code, self.d, TILE[1]

        def centre(j: ir.Value, _: list[Lanes]) -> None:
            m, row = code.read_spread(self.mean, j), code.builder.mul(j, self.stride)
            for u in range(vectors):
                code.store(code.load(self.columns, row, at, u * WIDTH) - m, self.centred, row, at, u * WIDTH)

        code.loop(0, d, 1, [], centre)
        whole, zero = d - d % width, [code.constant(0.0)] * vectors
        squares = code.loop(0, whole, width, zero, lambda j, held: self.tile(at, j, width, held))
        self.finish(at, self.tile(at, code.whole(whole), d % width, squares) if d % width else squares)

    def tile(self, at: ir.Value, j: ir.Value, width: int, squares: list[Lanes]) -> list[Lanes]:
        """Add the squares of so many transformed features from j on."""
        code, vectors = self.code, len(squares)

        def row(i: ir.Value, held: list[Lanes], columns: int = width) -> list[Lanes]:
            place = code.builder.mul(i, self.stride)
            t = [code.load(self.centred, place, at, u * WIDTH) for u in range(vectors)]
            place = code.builder.mul(i, code.whole(self.d))
            for c in range(columns):
                p = code.read_spread(self.factor, place, j, c)
                for u in range(vectors):
                    held[c * vectors + u] = t[u].times_plus(p, held[c * vectors + u])
            return held

        sums = [code.constant(0.0)] * (width * vectors)
        for i in range(width):  # The triangle, then the rows below it.
            sums = row(code.builder.add(j, code.whole(i)), sums, i + 1)
        sums = code.loop(code.builder.add(j, code.whole(width)), self.d, 1, sums, row)
        for n, y in enumerate(sums):
            squares[n % vectors] = y.times_plus(y, squares[n % vectors])
        return squares

    def finish(self, at: ir.Value, squares: list[Lanes]) -> None:
        """Write the log density of some rows."""
        half, floor = self.code.constant(-0.5), self.code.constant(el.LOWEST)
        for u, square in enumerate(squares):
            self.code.store(square.times_plus(half, self.start).at_least(floor), self.log_r, at, u * WIDTH)


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


class SoftMaximum:
    """``sum = soft_maximum(log_r, stride, k, size, v, total, scale, log_density)``."""

    def __init__(self, module: ir.Module, name: str) -> None:
        kinds = [POINTER, WHOLE, WHOLE, WHOLE, POINTER, POINTER, POINTER, POINTER]
        self.code = Code(module, name, kinds, DOUBLE)
        self.log_r, self.stride, self.k, size, self.v, self.total, self.scale, self.log_density = (
            self.code.function.args
        )
        value = by_rows(self.code, size, 4, [self.code.constant(0.0)], self.rows)
        self.code.builder.ret(value[0].total())

    def rows(self, at: ir.Value, vectors: int, value: list[Lanes]) -> list[Lanes]:
        """Write what is asked of some rows, and add their weighted log densities."""
        code = self.code
        places = [code.builder.add(at, code.whole(u * WIDTH)) for u in range(vectors)]

        def compare(c: ir.Value, largest: list[Lanes]) -> list[Lanes]:
            row = code.builder.mul(c, self.stride)
            return [old.at_least(code.load(self.log_r, row, place)) for old, place in zip(largest, places, strict=True)]

        def component(c: ir.Value, sums: list[Lanes]) -> list[Lanes]:
            row = code.builder.mul(c, self.stride)
            terms = [exponential(code.load(self.log_r, row, p) - top) for p, top in zip(places, largest, strict=True)]
            for term, place in zip(terms, places, strict=True):
                code.store(term, self.log_r, row, place)
            return [s + term for s, term in zip(sums, terms, strict=True)]

        largest = code.loop(0, self.k, 1, [code.constant(el.LOWEST)] * vectors, compare)
        sums = code.loop(0, self.k, 1, [code.constant(0.0)] * vectors, component)
        for whole, top, place in zip(sums, largest, places, strict=True):
            weight, log_sum = code.load(self.v, place), top + logarithm(whole)
            code.store(whole, self.total, place)
            code.store(weight / whole, self.scale, place)
            code.store(log_sum, self.log_density, place)
            value = [weight.times_plus(log_sum, value[0])]
        return value


class Moments:
    """``count = moments(columns, stride, size, mean, r, scale, first, second, centred)`` for d features.

    ``r`` becomes ``r * scale``, whose sum is returned.
    """

    def __init__(self, module: ir.Module, name: str, d: int) -> None:
        kinds = [POINTER, WHOLE, WHOLE, POINTER, POINTER, POINTER, POINTER, POINTER, POINTER]
        self.code, self.d = Code(module, name, kinds, DOUBLE), d
        arguments = self.code.function.args
        self.columns, self.stride, self.size, self.mean, self.r, self.scale = arguments[:6]
        self.first, self.second, self.centred = arguments[6:]
        # What is summed at once has to leave registers for what is loaded.
        one_pass = 1 + d + d * (d + 1) // 2 <= REGISTERS - 10
        count = self.in_one_pass() if one_pass else self.in_tiles()
        self.code.builder.ret(count.total())

    def weight(self, at: ir.Value) -> Lanes:
        """Return the weights of some rows."""
        return self.code.load(self.r, at) * self.code.load(self.scale, at)

    def shifted(self, j: Any, at: ir.Value) -> Lanes:
        """Return one feature of some rows about the mean."""
        code = self.code
        row = code.builder.mul(self.stride, j if not isinstance(j, int) else code.whole(j))
        return code.load(self.columns, row, at) - code.read_spread(self.mean, j)

    def in_one_pass(self) -> Lanes:
        """Keep all sums in registers over the whole block."""
        code, d = self.code, self.d
        pairs = [(i, j) for i in range(d) for j in range(i + 1)]

        def step(at: ir.Value, held: list[Lanes]) -> list[Lanes]:
            w, t = self.weight(at), [self.shifted(j, at) for j in range(d)]
            u = [w * tj for tj in t]
            sums = [h + x for h, x in zip(held, [w, *u], strict=False)]
            return sums + [u[i].times_plus(t[j], h) for (i, j), h in zip(pairs, held[d + 1 :], strict=True)]

        sums = code.loop(0, self.size, WIDTH, [code.constant(0.0)] * (1 + d + len(pairs)), step)
        for j in range(d):
            code.add_to(self.first, j, sums[1 + j].total())
        for (i, j), value in zip(pairs, sums[d + 1 :], strict=True):
            code.add_to(self.second, i * d + j, value.total())
        return sums[0]

    def in_tiles(self) -> Lanes:
        """Centre features in memory, and keep the sums of four by four pairs of them in registers at a time."""
        code, d = self.code, self.d

        def centre(at: ir.Value, held: list[Lanes]) -> list[Lanes]:
            w = self.weight(at)
            code.store(w, self.r, at)

            def one(j: ir.Value, _: list[Lanes]) -> None:
                code.store(self.shifted(j, at), self.centred, code.builder.mul(j, self.stride), at)

            code.loop(0, d, 1, [], one)
            return [held[0] + w]

        def panel(i: Any, height: int) -> None:
            code.loop(0, i, 4, [], lambda j, _: self.square(i, j, height))
            self.triangle(i, height)

        count = code.loop(0, self.size, WIDTH, [code.constant(0.0)], centre)
        code.loop(0, d - d % 4, 4, [], lambda i, _: panel(i, 4))
        if d % 4:
            panel(code.whole(d - d % 4), d % 4)
        return count[0]

    def square(self, i: Any, j: Any, height: int) -> None:
        """Add the tile of so many rows from i and four columns from j, all left of the diagonal."""
        code, left, right = self.code, self.rows_from(i, height), self.rows_from(j, 4)

        def step(at: ir.Value, held: list[Lanes]) -> list[Lanes]:
            w = code.load(self.r, at)
            u = [w * code.load(self.centred, row, at) for row in left]
            t = [code.load(self.centred, row, at) for row in right]
            return [u[n // 4].times_plus(t[n % 4], h) for n, h in enumerate(held)]

        sums = code.loop(0, self.size, WIDTH, [code.constant(0.0)] * (4 * height), step)
        for n, value in enumerate(sums):
            code.add_to(self.second, self.place(i, j, n // 4, n % 4), value.total())

    def triangle(self, i: Any, height: int) -> None:
        """Add the tile on the diagonal from i, and the first moments of its rows."""
        code, rows = self.code, self.rows_from(i, height)
        inside = [(a, b) for a in range(height) for b in range(a + 1)]

        def step(at: ir.Value, held: list[Lanes]) -> list[Lanes]:
            w = code.load(self.r, at)
            t = [code.load(self.centred, row, at) for row in rows]
            u = [w * ti for ti in t]
            sums = [h + ui for h, ui in zip(held, u, strict=False)]
            return sums + [u[a].times_plus(t[b], h) for (a, b), h in zip(inside, held[height:], strict=True)]

        sums = code.loop(0, self.size, WIDTH, [code.constant(0.0)] * (height + len(inside)), step)
        for n, value in enumerate(sums[:height]):
            code.add_to(self.first, code.builder.add(i, code.whole(n)), value.total())
        for (a, b), value in zip(inside, sums[height:], strict=True):
            code.add_to(self.second, self.place(i, i, a, b), value.total())

    def rows_from(self, i: Any, number: int) -> list[ir.Value]:
        """Return where so many centred features from i on begin."""
        code = self.code
        return [code.builder.mul(code.builder.add(i, code.whole(n)), self.stride) for n in range(number)]

    def place(self, i: Any, j: Any, down: int, across: int) -> ir.Value:
        """Return where the second moment of a pair of features is."""
        code = self.code
        row = code.builder.mul(code.builder.add(i, code.whole(down)), code.whole(self.d))
        return code.builder.add(code.builder.add(row, j), code.whole(across))


class Allocate:
    """``allocate(r, stride, k, size, total, key, first_row)``: the inversion of `allocation.allocate_single`."""

    def __init__(self, module: ir.Module, name: str) -> None:
        self.code = Code(module, name, [POINTER, WHOLE, WHOLE, WHOLE, POINTER, WHOLE, WHOLE], VOID)
        self.r, self.stride, self.k, size, self.total, self.key, self.first_row = self.code.function.args
        by_rows(self.code, size, 4, [], self.rows)
        self.code.builder.ret_void()

    def rows(self, at: ir.Value, vectors: int, _: list[Lanes]) -> None:
        """Replace the responsibilities of some rows by 1 for the component drawn and 0 for others."""
        code, zero, one = self.code, self.code.constant(0.0), self.code.constant(1.0)
        places = [code.builder.add(at, code.whole(u * WIDTH)) for u in range(vectors)]
        thresholds = [self.uniforms(place) * code.load(self.total, place) for place in places]

        def component(c: ir.Value, reached: list[Lanes], is_last: bool = False) -> list[Lanes]:
            row, after = code.builder.mul(c, self.stride), []
            for before, place, threshold in zip(reached, places, thresholds, strict=True):
                passed = zero.where_above(threshold, one, before)
                after.append(before + code.load(self.r, row, place))
                drawn = passed if is_last else passed.where_above(threshold, zero, after[-1])
                code.store(drawn, self.r, row, place)
            return after

        last = code.builder.sub(self.k, code.whole(1))
        reached = code.loop(0, last, 1, [zero] * vectors, component)
        component(last, reached, is_last=True)

    def uniforms(self, place: ir.Value) -> Lanes:
        """Return the uniform of each row: see `uniforms.uniform`."""
        code, builder = self.code, self.code.builder
        golden = int(un.GOLDEN)
        steps = [ir.Constant(WHOLE, (lane + 1) * golden % 2**64) for lane in range(WIDTH)]
        first = builder.mul(builder.add(self.first_row, place), code.whole(golden))
        bits = builder.add(code.spread_whole(builder.add(self.key, first)), ir.Constant(BITS, steps))
        for shift, factor in ((un.FIRST_SHIFT, un.FIRST_FACTOR), (un.SECOND_SHIFT, un.SECOND_FACTOR)):
            bits = builder.xor(bits, builder.lshr(bits, code.bit_constant(int(shift))))
            bits = builder.mul(bits, code.bit_constant(int(factor)))
        bits = builder.xor(bits, builder.lshr(bits, code.bit_constant(int(un.LAST_SHIFT))))
        # 52 bits below the exponent of 2**52 are that number and a whole one.
        held = builder.or_(builder.lshr(bits, code.bit_constant(int(un.UNUSED_BITS))), code.bit_constant(0x433 << 52))
        return (code.from_bits(held) - code.constant(2.0**52)) * code.constant(un.UNIT)
