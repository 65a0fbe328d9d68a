"""The weighted moments of one block of rows, written for the number of features at hand.

What is summed is said, in plain loops, by `blocks.add_moments`; how code is written, by `assembly`.
"""

from __future__ import annotations

import math

from llvmlite import ir

from bayesgmm.kernels.assembly import REGISTERS, VOID
from bayesgmm.kernels.lanes import POINTER, WHOLE, WIDTH, Code, Lanes

#: Most features whose sums are taken range by range, and not in tiles.
MOST_RANGED = 12
#: Features of a panel, and of the tiles before it, whose pairs are summed in registers. Of 16, twelve sums leave room
#: for no more than two features across: with four, sums are moved to memory and back, and the loop takes twice as long.
TALL, ACROSS = (6, 4) if WIDTH == 8 else (6, 2)


class Moments:
    """``moments(columns, stride, k, size, first, means, r, scale, counts, firsts, seconds, centred)`` for d features.

    For k components of the grid from ``first`` on. ``r`` may become ``r * scale`` or its root.
    """

    def __init__(self, module: ir.Module, name: str, d: int) -> None:
        kinds = [POINTER, WHOLE, WHOLE, WHOLE, WHOLE, *[POINTER] * 7]
        self.code, self.d = Code(module, name, kinds, VOID), d
        self.columns, self.stride, k, self.size, self.skipped, *self.components, self.centred = self.code.function.args
        self.tiled = d > MOST_RANGED
        self.code.loop(0, k, 1, [], self.component)
        self.code.builder.ret_void()

    @property
    def second_size(self) -> int:
        """Doubles of one component's second moments."""
        return self.d**2

    def component(self, c: ir.Value, _: list[Lanes]) -> None:
        """Add the sums of one component."""
        code, d = self.code, self.d
        means, r, self.scale, counts, first, second = self.components
        self.r, c = code.row(r, c, self.stride), code.builder.add(self.skipped, c)
        self.mean, self.first, self.second = (
            code.row(means, c, d),
            code.row(first, c, d),
            code.row(second, c, self.second_size),
        )
        code.add_to(counts, c, self.sums().total())

    def sums(self) -> Lanes:
        """Add the moments, and return the sum of the weights."""
        return self.in_tiles() if self.tiled else self.in_registers()

    def weights(self, *, rooted: bool) -> Lanes:
        """Write the weights, or their roots, and return the sum of the weights."""
        code = self.code

        def weight(at: ir.Value, held: list[Lanes]) -> list[Lanes]:
            w = code.load(self.r, at) * code.load(self.scale, at)
            code.store(w.root() if rooted else w, self.r, at)
            return [held[0] + w]

        return code.loop(0, self.size, WIDTH, [code.constant(0.0)], weight)[0]

    def in_registers(self) -> Lanes:
        """Sum over all features, as many at a time as registers hold the sums of; return the sum of the weights."""
        counts = [self.features(self.code.whole(0), begin, end) for begin, end in _ranges(self.d)]
        return counts[0][0]

    def features(self, start: ir.Value, begin: int, end: int) -> list[Lanes]:
        """Add what features ``begin ... end``, counted from ``start``, sum to with themselves and those before.

        Returns the sum of the weights, if these are computed here. What others need is written: weights, and centred
        features, in tiles times the roots of the weights, so that products of two have the weight.
        """
        code, zero, goes_on = self.code, self.code.constant(0.0), self.tiled or end < self.d
        counted = begin == 0 and not self.tiled
        features = [code.builder.add(start, code.whole(n)) for n in range(end)]
        columns = [code.builder.mul(feature, self.stride) for feature in features]
        # Their own pairs first: what is loaded of those before then takes one register at a time.
        pairs = [(i, j) for j in (*range(begin, end), *range(begin)) for i in range(max(j, begin), end)]

        def step(at: ir.Value, held: list[Lanes]) -> list[Lanes]:
            w = code.load(self.r, at)
            if counted:
                w = w * code.load(self.scale, at)
                if goes_on:
                    code.store(w, self.r, at)
            t: dict[int, Lanes] = {}
            u: dict[int, Lanes] = {}
            for n in range(begin, end):
                t[n] = code.load(self.columns, columns[n], at) - code.read_spread(self.mean, features[n])
                u[n] = w * t[n]
                if self.tiled:
                    t[n] = u[n]
                if goes_on:
                    code.store(t[n], self.centred, columns[n], at)
            sums = [h + w for h in held[:counted]]
            sums += [
                w.times_plus(x, h) if self.tiled else h + x for x, h in zip(u.values(), held[counted:], strict=False)
            ]
            for (i, j), h in zip(pairs, held[len(sums) :], strict=True):
                if j not in t:
                    t[j] = code.load(self.centred, columns[j], at)
                sums.append(u[i].times_plus(t[j], h))
            return sums

        number = counted + end - begin + len(pairs)
        sums = code.loop(0, self.size, WIDTH, [zero] * number, step)
        firsts, corner = [(self.first, start, n) for n in range(begin, end)], self.place(start, start)
        code.add_each(firsts, sums[counted : counted + end - begin])
        seconds = sorted(zip(pairs, sums[counted + end - begin :], strict=True), key=lambda pair: pair[0])
        code.add_each([(self.second, corner, i * self.d + j) for (i, j), _ in seconds], [s for _, s in seconds])
        return sums[:counted]

    def in_tiles(self) -> Lanes:
        """Sum over panels of features, each with the tiles before it; return the sum of the weights."""
        code, d, count = self.code, self.d, self.weights(rooted=True)

        def panels(i: ir.Value, _: list[Lanes]) -> None:
            for n in range(0, period, TALL):
                self.add_panel(code.builder.add(i, code.whole(n)), TALL, n % ACROSS)

        period = math.lcm(TALL, ACROSS)
        whole = d - d % period
        code.loop(0, whole, period, [], panels)
        for i in range(whole, d, TALL):
            self.add_panel(code.whole(i), min(TALL, d - i), i % ACROSS)
        return count

    def add_panel(self, i: ir.Value, height: int, over: int) -> None:
        """Add a panel of so many features from i; ``over`` of those before it are left by tiles of full width."""
        code = self.code
        for begin, end in _ranges(height):
            self.features(i, begin, end)
        before = code.builder.sub(i, code.whole(over))
        code.loop(0, before, ACROSS, [], lambda j, _: self.tile(i, j, height, ACROSS))
        if over:
            self.tile(i, before, height, over)

    def tile(self, i: ir.Value, j: ir.Value, height: int, width: int) -> None:
        """Add the sums of a panel with so many features from j, all before those of the panel."""
        code = self.code
        left, right = (
            [code.builder.mul(code.builder.add(start, code.whole(n)), self.stride) for n in range(number)]
            for start, number in ((i, height), (j, width))
        )

        def step(at: ir.Value, held: list[Lanes]) -> list[Lanes]:
            t, u = ([code.load(self.centred, row, at) for row in rows] for rows in (right, left))
            return [u[n // width].times_plus(t[n % width], h) for n, h in enumerate(held)]

        sums = code.loop(0, self.size, WIDTH, [code.constant(0.0)] * (width * height), step)
        corner, offsets = self.place(i, j), [n // width * self.d + n % width for n in range(width * height)]
        code.add_each([(self.second, corner, offset) for offset in offsets], sums)

    def place(self, i: ir.Value, j: ir.Value) -> ir.Value:
        """Return where the second moment of a pair of features is."""
        return self.code.builder.add(self.code.builder.mul(i, self.code.whole(self.d)), j)


class MomentsDiagonal(Moments):
    """The same where of the second moments the diagonals (k, d) alone are wanted."""

    @property
    def second_size(self) -> int:
        """Doubles of one component's second moments."""
        return self.d

    def sums(self) -> Lanes:
        """Add the moments, and return the sum of the weights."""
        code, whole, count = self.code, self.d - self.d % ACROSS, self.weights(rooted=False)
        code.loop(0, whole, ACROSS, [], lambda j, _: self.squares(j, ACROSS))
        if self.d % ACROSS:
            self.squares(code.whole(whole), self.d % ACROSS)
        return count

    def squares(self, j: ir.Value, number: int) -> None:
        """Add what so many features from j on sum to."""
        code = self.code
        features = [code.builder.add(j, code.whole(n)) for n in range(number)]

        def step(at: ir.Value, held: list[Lanes]) -> list[Lanes]:
            w, t = code.load(self.r, at), []
            for feature in features:
                row = code.builder.mul(feature, self.stride)
                t.append(code.load(self.columns, row, at) - code.read_spread(self.mean, feature))
            u = [w * ti for ti in t]
            firsts = [h + ui for h, ui in zip(held, u, strict=False)]
            return firsts + [ui.times_plus(ti, h) for ui, ti, h in zip(u, t, held[number:], strict=True)]

        sums = code.loop(0, self.size, WIDTH, [code.constant(0.0)] * (2 * number), step)
        code.add_each([(pointer, j, n) for pointer in (self.first, self.second) for n in range(number)], sums)


def _ranges(number: int) -> list[tuple[int, int]]:
    """Divide features into ranges: their sums with themselves and those before fit into registers, beside operands."""
    ranges, begin = [], 0
    for end in range(1, number + 1):
        sums = 1 + (end + 1 - begin) + sum(range(begin + 1, end + 2))
        if end == number or sums + (end + 1 - begin) + 2 > REGISTERS:
            ranges.append((begin, end))
            begin = end
    return ranges
