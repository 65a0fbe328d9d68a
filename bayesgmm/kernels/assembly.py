"""The steps of the pass over one block of rows, each written for the number of features at hand.

Arrays are columns of a block, one feature or component a row, whose rows (a multiple of `lanes.WIDTH`) stand side
by side. What each function does is said, in plain loops, by its namesake in `blocks`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, reduce
from typing import Any

import numpy as np
from llvmlite import ir

from bayesgmm.kernels import elementary as el
from bayesgmm.kernels import uniforms as un
from bayesgmm.kernels.blocks import LINE
from bayesgmm.kernels.lanes import BITS, BYTES, DOUBLE, POINTER, WHOLE, WIDTH, Code, Lanes

#: Vectors that fit into registers beside what is loaded.
REGISTERS = 32 if WIDTH == 8 else 16
#: Most features whose centred values stay in registers while their squared distance is computed.
FEW = 12 if WIDTH == 8 else 4
#: Rows (in vectors) and columns of a tile of sums in registers, beside a vector of each row and what is spread.
TILE = (4, 6) if WIDTH == 8 else (4, 2)

VOID = ir.VoidType()


def by_rows(
    code: Code, stop: ir.Value, vectors: int, carried: list[Lanes], body: Callable[..., Any], start: Any = 0
) -> list[Lanes]:
    """Write a loop over rows, several vectors at a time and what is left over singly."""
    over = code.builder.urem(code.builder.sub(stop, start) if start else stop, code.whole(vectors * WIDTH))
    whole = code.builder.sub(stop, over)
    carried = code.loop(start, whole, vectors * WIDTH, carried, lambda at, held: body(at, vectors, held))
    return code.loop(whole, stop, WIDTH, carried, lambda at, held: body(at, 1, held)) if vectors > 1 else carried


class Transpose:
    """``transpose(x, start, origin, inverse_unit, d, size, columns, stride)``; ``d`` is known if there are few."""

    def __init__(self, module: ir.Module, name: str, d: int) -> None:
        kinds = [POINTER, WHOLE, POINTER, POINTER, WHOLE, WHOLE, POINTER, WHOLE]
        self.code, self.d = Code(module, name, kinds, VOID), d
        code, builder = self.code, self.code.builder
        x, start, self.origin, self.inverse_unit, features, size, self.columns, self.stride = code.function.args
        self.x = code.row(x, start, features)
        whole = builder.sub(size, builder.urem(size, code.whole(WIDTH)))
        code.loop(0, whole, WIDTH, [], self.rows)

        def feature(j: ir.Value, _: list[Lanes]) -> None:
            shift, factor = code.scalar(self.origin, j), code.scalar(self.inverse_unit, j)
            row = builder.mul(self.stride, j)

            def one(at: ir.Value, _: list[Lanes]) -> None:
                value = code.scalar(self.x, builder.mul(at, features), j)
                value = builder.fmul(builder.fsub(value, shift), factor)
                builder.store(value, code.at(self.columns, row, at), align=BYTES)

            code.loop(whole, size, 1, [], one)
            for line in range(0, LINE, WIDTH):
                code.store(code.constant(0.0), self.columns, row, size, line)

        code.loop(0, features, 1, [], feature)
        builder.ret_void()

    def rows(self, at: ir.Value, _: list[Lanes]) -> None:
        """Write a vector of rows."""
        code, d = self.code, self.d
        if d < WIDTH:  # All of them side by side are d vectors.
            start = code.builder.mul(at, code.whole(d))
            held = [code.load(self.x, start, v * WIDTH) for v in range(d)]
            picked = [code.picked(held, [j + lane * d for lane in range(WIDTH)]) for j in range(d)]
            self.write(at, code.whole(0), picked)
            return
        over = d % WIDTH
        code.loop(0, d - over, WIDTH, [], lambda j, _: self.features(at, j, WIDTH))
        if over:
            width = 1 << (over - 1).bit_length()
            self.features(at, code.whole(d - width), width)

    def features(self, at: ir.Value, j: ir.Value, width: int) -> None:
        """Write so many features (a power of two) from j on: squares of that many rows, transposed side by side.

        In each step, two rows of a square swap what is left of each other's diagonal.
        """
        code, builder = self.code, self.code.builder
        start = builder.add(builder.mul(at, code.whole(self.d)), j)
        held = [code.gathered(self.x, start, [row * self.d for row in range(n, WIDTH, width)]) for n in range(width)]
        half = width // 2
        while half:
            for low in (n for n in range(width) if not n & half):
                held[low], held[low + half] = code.swapped(held[low], held[low + half], half)
            half //= 2
        self.write(at, j, held)

    def write(self, at: ir.Value, j: ir.Value, columns: list[Lanes]) -> None:
        """Write features from j on, seen from the origin and in the unit."""
        for n, column in enumerate(columns):
            shift, factor = (self.code.read_spread(given, j, n) for given in (self.origin, self.inverse_unit))
            row = self.code.builder.mul(self.stride, self.code.builder.add(j, self.code.whole(n)))
            self.code.store((column - shift) * factor, self.columns, row, at)


class Weigh:
    """``weigh(columns, stride, k, size, first, means, factors, log_constants, log_r, centred, ahead)`` for d features.

    For k components of the grid from ``first`` on; ``ahead`` are the rows that are transposed next.
    """

    def __init__(self, module: ir.Module, name: str, d: int) -> None:
        kinds = [POINTER, WHOLE, WHOLE, WHOLE, WHOLE, *[POINTER] * 6]
        self.code, self.d = Code(module, name, kinds, VOID), d
        self.columns, self.stride, k, size, self.first, *self.components, self.centred, ahead = self.code.function.args

        def component(c: ir.Value, _: list[Lanes]) -> None:
            self.turn_to(c)
            by_rows(self.code, size, TILE[0], [], self.in_tiles)

        def rows(at: ir.Value, vectors: int, _: list[Lanes]) -> None:
            if d <= FEW:
                self.code.prefetch(self.code.row(ahead, at, d), vectors * WIDTH * d // LINE)
            self.code.loop(0, k, 1, [], lambda c, _: self.turn_to(c).in_registers(at, vectors))

        vectors = self.vectors()
        if vectors:
            by_rows(self.code, size, vectors, [], rows)
        else:
            self.code.loop(0, k, 1, [], component)
        self.code.builder.ret_void()

    @property
    def factor_size(self) -> int:
        """Doubles of one factor."""
        return self.d**2

    def vectors(self) -> int:
        """Return of how many vectors of rows all centred features fit into registers."""
        return max(1, min(4, (REGISTERS - 4) // (self.d + 2))) if self.d <= FEW else 0

    def turn_to(self, c: ir.Value) -> Weigh:
        """Say where one component is."""
        code, d, at = self.code, self.d, self.code.builder.add(self.first, c)
        means, factors, log_constants, log_r = self.components
        self.mean, self.factor = code.row(means, at, d), code.row(factors, at, self.factor_size)
        self.start, self.log_r = code.read_spread(log_constants, at), code.row(log_r, c, self.stride)
        return self

    def in_registers(self, at: ir.Value, vectors: int) -> None:
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
        """Keep tiles of what is transformed in registers; from the last to the first, each centres its features."""
        code, d, width = self.code, self.d, TILE[1]
        squares = [code.constant(0.0)] * vectors
        if d % width:
            squares = self.tile(at, code.whole(d - d % width), d % width, squares)

        def tile(n: ir.Value, held: list[Lanes]) -> list[Lanes]:
            return self.tile(at, code.builder.sub(code.whole(d // width * width - width), n), width, held)

        self.finish(at, code.loop(0, d // width * width, width, squares, tile))

    def tile(self, at: ir.Value, j: ir.Value, width: int, squares: list[Lanes]) -> list[Lanes]:
        """Add the squares of so many transformed features from j on."""
        code, vectors = self.code, len(squares)

        def row(i: ir.Value, held: list[Lanes], columns: int = width, *, is_new: bool = False) -> list[Lanes]:
            place = code.builder.mul(i, self.stride)
            t = [code.load(self.columns if is_new else self.centred, place, at, u * WIDTH) for u in range(vectors)]
            if is_new:
                t = [tu - code.read_spread(self.mean, i) for tu in t]
                for u, tu in enumerate(t):
                    code.store(tu, self.centred, place, at, u * WIDTH)
            place = code.builder.mul(i, code.whole(self.d))
            for c in range(columns):
                p = code.read_spread(self.factor, place, j, c)
                for u in range(vectors):
                    held[c * vectors + u] = t[u].times_plus(p, held[c * vectors + u])
            return held

        sums = [code.constant(0.0)] * (width * vectors)
        for i in range(width):  # The triangle, then the rows below it.
            sums = row(code.builder.add(j, code.whole(i)), sums, i + 1, is_new=True)
        sums = code.loop(code.builder.add(j, code.whole(width)), self.d, 1, sums, row)
        for n, y in enumerate(sums):
            squares[n % vectors] = y.times_plus(y, squares[n % vectors])
        return squares

    def finish(self, at: ir.Value, squares: list[Lanes]) -> None:
        """Write the log density of some rows."""
        half, floor = self.code.constant(-0.5), self.code.constant(el.LOWEST)
        for u, square in enumerate(squares):
            self.code.store(square.times_plus(half, self.start).at_least(floor), self.log_r, at, u * WIDTH)


class WeighDiagonal(Weigh):
    """The same where factors are diagonals (k, d)."""

    @property
    def factor_size(self) -> int:
        """Doubles of one factor."""
        return self.d

    def vectors(self) -> int:
        """Return how many vectors of rows are taken at a time, feature by feature."""
        return TILE[0]

    def in_registers(self, at: ir.Value, vectors: int) -> None:
        """Add the squares of one feature after another."""
        code = self.code

        def feature(j: ir.Value, squares: list[Lanes]) -> list[Lanes]:
            m, p, row = (
                code.read_spread(self.mean, j), code.read_spread(self.factor, j), code.builder.mul(self.stride, j)
            )  # fmt: skip
            y = [(code.load(self.columns, row, at, u * WIDTH) - m) * p for u in range(vectors)]
            return [yu.times_plus(yu, square) for yu, square in zip(y, squares, strict=True)]

        self.finish(at, code.loop(0, self.d, 1, [code.constant(0.0)] * vectors, feature))


def exponential(x: Lanes) -> Lanes:
    """Return the exponential of numbers that are at most 0, within 1.5 ulp; 0 below 1e-278.

    Cody & Waite (1980): ``exp(x) = 2**(m / s) * exp(r)`` with ``|r| <= log(2) / (2 s)``. The powers of two for the
    whole numbers below ``s`` are looked up (Tang 1989, doi:10.1145/63522.214928) where one instruction does it.
    """
    code, c = x.code, x.code.constant
    smallest, steps = c(el.SMALLEST_EXPONENT), 16 if WIDTH == 8 else 1
    rounded = x.times_plus(c(steps / np.log(2)), c(el.ROUND))
    m = rounded - c(el.ROUND)
    r = m.times_plus(c(-el.LN2_LOW / steps), m.times_plus(c(-el.LN2_HIGH / steps), x))
    square, series = r * r, el.exponential_series(np.log(2) / (2 * steps), 4 if steps == 16 else 9)
    # Even and odd powers apart: as many instructions, that wait for each other half as long.
    even, odd = (polynomial([c(term) for term in series[parity::2]], square) for parity in (0, 1))
    p = odd.times_plus(r, even).times_plus(square, r)
    exponent = code.builder.shl(rounded.bits(), code.bit_constant(52 - steps.bit_length() + 1))
    # The exponent that the place in the table adds is taken off beforehand.
    table = (2.0 ** (np.arange(steps) / steps)).view(np.int64) - (np.arange(steps) << 48 if steps == 16 else 0)
    power = code.looked_up(table, rounded.bits()) if steps == 16 else code.bit_constant(int(table[0]))
    power = code.from_bits(code.builder.add(power, exponent))
    return power.times_plus(p, power).where_above(smallest, c(0.0), x)


def polynomial(series: list[Lanes], x: Lanes) -> Lanes:
    """Return the value of a polynomial, whose lowest coefficient comes first (Horner's scheme)."""
    return reduce(lambda value, term: value.times_plus(x, term), reversed(series))


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
    """``sum = soft_maximum(log_r, stride, k, size, v, total, scale, log_density, only_sum)``.

    Of two components, if they are known to be two, one has the exponential 1, and the other's alone is computed.
    """

    #: Vectors of rows at a time, and of how many the product of their totals, where only the sum is wanted, has one
    #: logarithm: so few that the product is finite for any number of components.
    VECTORS, MULTIPLIED = 4, 16

    def __init__(self, module: ir.Module, name: str, components: int) -> None:
        kinds = [POINTER, WHOLE, WHOLE, WHOLE, POINTER, POINTER, POINTER, POINTER, WHOLE]
        self.code, self.terms = Code(module, name, kinds, DOUBLE), self.of_two if components == 2 else self.of_any
        self.log_r, self.stride, self.k, size, self.v, self.total, self.scale, self.log_density, only_sum = (
            self.code.function.args
        )
        zero = [self.code.constant(0.0)]
        with self.code.builder.if_then(self.code.builder.icmp_signed("!=", only_sum, self.code.whole(0))):
            step = self.MULTIPLIED * WIDTH
            self.code.builder.ret(self.code.loop(0, size, step, zero, partial(self.stretch, size))[0].total())
        self.code.builder.ret(by_rows(self.code, size, self.VECTORS, zero, self.each)[0].total())

    def each(self, at: ir.Value, vectors: int, value: list[Lanes]) -> list[Lanes]:
        """Write what is asked of some rows, and add their weighted log densities."""
        code = self.code
        for place, weight, whole, top in self.rows(at, vectors):
            log_sum = top + logarithm(whole)
            code.store(log_sum, self.log_density, place)
            value = [weight.times_plus(log_sum, value[0])]
        return value

    def stretch(self, size: ir.Value, at: ir.Value, value: list[Lanes]) -> list[Lanes]:
        """Write all but the log densities of rows whose weights are 0 or 1, and add these."""
        code, builder = self.code, self.code.builder
        stop = builder.add(at, code.whole(self.MULTIPLIED * WIDTH))
        stop = builder.select(builder.icmp_signed("<", stop, size), stop, size)
        held = by_rows(code, stop, self.VECTORS, [*value, code.constant(1.0)], self.summed, at)
        return [held[0] + logarithm(held[1])]

    def summed(self, at: ir.Value, vectors: int, held: list[Lanes]) -> list[Lanes]:
        """Add the largest log densities of some rows, and multiply by their totals."""
        value, product = held
        for _, weight, whole, top in self.rows(at, vectors):
            product = product * whole.where_above(self.code.constant(0.0), self.code.constant(1.0), weight)
            value = weight.times_plus(top, value)
        return [value, product]

    def rows(self, at: ir.Value, vectors: int) -> list[tuple[ir.Value, Lanes, Lanes, Lanes]]:
        """Write exponentials, their totals and scales of some rows; return place, weight, total and largest."""
        code = self.code
        places = [code.builder.add(at, code.whole(u * WIDTH)) for u in range(vectors)]
        largest, sums = self.terms(places)
        weights = [code.load(self.v, place) for place in places]
        for weight, whole, place in zip(weights, sums, places, strict=True):
            code.store(whole, self.total, place)
            code.store(weight / whole, self.scale, place)
        return list(zip(places, weights, sums, largest, strict=True))

    def of_any(self, places: list[ir.Value]) -> tuple[list[Lanes], list[Lanes]]:
        """Write exponentials, component by component; return the largest log densities, and totals."""
        code = self.code

        def compare(c: ir.Value, largest: list[Lanes]) -> list[Lanes]:
            row = code.builder.mul(c, self.stride)
            return [old.at_least(code.load(self.log_r, row, place)) for old, place in zip(largest, places, strict=True)]

        def component(c: ir.Value, sums: list[Lanes]) -> list[Lanes]:
            row = code.builder.mul(c, self.stride)
            terms = [exponential(code.load(self.log_r, row, p) - top) for p, top in zip(places, largest, strict=True)]
            for term, place in zip(terms, places, strict=True):
                code.store(term, self.log_r, row, place)
            return [s + term for s, term in zip(sums, terms, strict=True)]

        largest = code.loop(0, self.k, 1, [code.constant(el.LOWEST)] * len(places), compare)
        return largest, code.loop(0, self.k, 1, [code.constant(0.0)] * len(places), component)

    def of_two(self, places: list[ir.Value]) -> tuple[list[Lanes], list[Lanes]]:
        """Write exponentials of two components, to the bits of `of_any`."""
        code, one, largest, sums = self.code, self.code.constant(1.0), [], []
        for place in places:
            first, second = code.load(self.log_r, place), code.load(self.log_r, self.stride, place)
            top, bottom = first.at_least(second), first.where_above(first, second, second)
            term = exponential(bottom - top)
            code.store(one.where_above(second, term, first), self.log_r, place)
            code.store(one.where_above(first, term, second), self.log_r, self.stride, place)
            largest.append(top)
            sums.append(one + term)
        return largest, sums


class Allocate:
    """``allocate(r, stride, k, size, total, key, first_row)``: the inversion of `allocation.allocate_single`."""

    def __init__(self, module: ir.Module, name: str, _: int) -> None:
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
