"""Loops over rows in vector registers: expressions in Python that write LLVM's code.

numba leaves vectors to LLVM's own discovery, which neither keeps sums in registers nor unrolls for a number of
features known beforehand. Here a function is written for one such number, value by value: a `Lanes` is a register
with one double for each of `WIDTH` rows, and arithmetic on it appends an instruction.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir

from bayesgmm.kernels.blocks import LINE

DOUBLE, WHOLE, INDEX, POINTER = ir.DoubleType(), ir.IntType(64), ir.IntType(32), ir.PointerType()
#: Bytes of a double.
BYTES = 8


def _width() -> int:
    """Return how many doubles a register of this machine holds, at least two."""
    features = llvm.get_host_cpu_features()
    return 8 if features.get("avx512f") else 4 if features.get("avx2") and features.get("fma") else 2


WIDTH = _width()
VECTOR = ir.VectorType(DOUBLE, WIDTH)
BITS = ir.VectorType(WHOLE, WIDTH)


class Lanes:
    """A register of doubles, one for each of `WIDTH` rows."""

    __slots__ = ("code", "value")

    def __init__(self, code: Code, value: ir.Value) -> None:
        self.code, self.value = code, value

    def __add__(self, other: Lanes) -> Lanes:
        return Lanes(self.code, self.code.builder.fadd(self.value, other.value))

    def __sub__(self, other: Lanes) -> Lanes:
        return Lanes(self.code, self.code.builder.fsub(self.value, other.value))

    def __mul__(self, other: Lanes) -> Lanes:
        return Lanes(self.code, self.code.builder.fmul(self.value, other.value))

    def __truediv__(self, other: Lanes) -> Lanes:
        return Lanes(self.code, self.code.builder.fdiv(self.value, other.value))

    def times_plus(self, other: Lanes, addend: Lanes) -> Lanes:
        """Return ``self * other + addend``, rounded once."""
        return self.code.called("llvm.fma", self, other, addend)

    def root(self) -> Lanes:
        """Return the square root."""
        return self.code.called("llvm.sqrt", self)

    def at_least(self, other: Lanes) -> Lanes:
        """Return the larger of both; ``other`` where ``self`` is NaN."""
        larger = self.code.builder.fcmp_ordered(">", self.value, other.value)
        return Lanes(self.code, self.code.builder.select(larger, self.value, other.value))

    def where_above(self, limit: Lanes, otherwise: Lanes, of: Lanes) -> Lanes:
        """Return ``self`` where ``of`` is above the limit, else ``otherwise``."""
        above = self.code.builder.fcmp_ordered(">", of.value, limit.value)
        return Lanes(self.code, self.code.builder.select(above, self.value, otherwise.value))

    def bits(self) -> ir.Value:
        """Return the bits of each double as a whole number."""
        return self.code.builder.bitcast(self.value, BITS)

    def total(self) -> ir.Value:
        """Return the sum over the lanes."""
        return self.code.sum_lanes(self)


class Code:
    """What is written of one function."""

    def __init__(self, module: ir.Module, name: str, arguments: Sequence[ir.Type], result: ir.Type) -> None:
        self.module = module
        self.function = ir.Function(module, ir.FunctionType(result, arguments), name)
        for argument in self.function.args:
            if argument.type == POINTER:
                argument.add_attribute("noalias")
        self.builder: Any = ir.IRBuilder(self.function.append_basic_block())

    def whole(self, number: int) -> ir.Constant:
        """Return a whole number known beforehand."""
        return ir.Constant(WHOLE, number)

    def constant(self, number: float) -> Lanes:
        """Return a number known beforehand, the same in all lanes."""
        return Lanes(self, ir.Constant(VECTOR, [ir.Constant(DOUBLE, float(number))] * WIDTH))

    def bit_constant(self, number: int) -> ir.Constant:
        """Return a whole number known beforehand, the same in all lanes."""
        return ir.Constant(BITS, [ir.Constant(WHOLE, number)] * WIDTH)

    def from_bits(self, value: ir.Value) -> Lanes:
        """Return the doubles that have these bits."""
        return Lanes(self, self.builder.bitcast(value, VECTOR))

    def at(self, pointer: ir.Value, *offsets: ir.Value | int) -> ir.Value:
        """Return the address of a double so many doubles on."""
        for offset in offsets:
            index = self.whole(offset) if isinstance(offset, int) else offset
            pointer = self.builder.gep(pointer, [index], inbounds=True, source_etype=DOUBLE)
        return pointer

    def row(self, pointer: ir.Value, index: ir.Value, length: ir.Value | int) -> ir.Value:
        """Return the address of a row of an array, each of which is so many doubles long."""
        return self.at(pointer, self.builder.mul(index, self.whole(length) if isinstance(length, int) else length))

    def load(self, pointer: ir.Value, *offsets: ir.Value | int) -> Lanes:
        """Read `WIDTH` doubles side by side."""
        return Lanes(self, self.builder.load(self.at(pointer, *offsets), typ=VECTOR, align=BYTES))

    def store(self, value: Lanes, pointer: ir.Value, *offsets: ir.Value | int) -> None:
        """Write `WIDTH` doubles side by side."""
        self.builder.store(value.value, self.at(pointer, *offsets), align=BYTES)

    def scalar(self, pointer: ir.Value, *offsets: ir.Value | int) -> ir.Value:
        """Read one double."""
        return self.builder.load(self.at(pointer, *offsets), typ=DOUBLE, align=BYTES)

    def add_to(self, pointer: ir.Value, offset: ir.Value | int, amount: ir.Value) -> None:
        """Add to one double in memory."""
        where = self.at(pointer, offset)
        held = self.builder.load(where, typ=DOUBLE, align=BYTES)
        self.builder.store(self.builder.fadd(held, amount), where, align=BYTES)

    def add_each(self, places: Sequence[tuple[ir.Value, ir.Value, int]], amounts: Sequence[Lanes]) -> None:
        """Add the sum over the lanes of each register to a double in memory: a pointer, and how far on.

        Sums that follow each other there as here are added together.
        """
        for first in range(0, len(amounts), WIDTH):
            some, sums = places[first : first + WIDTH], self.sums_of(amounts[first : first + WIDTH])
            begin = 0
            for end in range(1, len(some) + 1):
                pointer, start, offset = some[begin]
                if end < len(some) and some[end] == (pointer, start, offset + end - begin):
                    continue
                lanes = ir.Constant(ir.VectorType(INDEX, end - begin), list(range(begin, end)))
                amount = self.builder.shuffle_vector(sums.value, sums.value, lanes)
                where = self.at(pointer, start, offset)
                held = self.builder.load(where, typ=ir.VectorType(DOUBLE, end - begin), align=BYTES)
                self.builder.store(self.builder.fadd(held, amount), where, align=BYTES)
                begin = end

    def sums_of(self, each: Sequence[Lanes]) -> Lanes:
        """Return a register of the sums over the lanes of up to `WIDTH` others.

        Two that are added have first swapped halves, then quarters: half of each stays where it is, which costs less
        than to move all.
        """
        order = [int(f"{n:0{WIDTH.bit_length() - 1}b}"[::-1], 2) for n in range(WIDTH)]
        level, run = [each[min(n, len(each) - 1)] for n in order], WIDTH // 2
        while run:
            level = [self.halves_added(*pair, run) for pair in zip(level[::2], level[1::2], strict=True)]
            run //= 2
        return level[0]

    def halves_added(self, one: Lanes, two: Lanes, run: int) -> Lanes:
        """Return, in turn, so many lanes of the one and of the other, each plus the lane as far on or back as that."""
        stay = [lane + WIDTH if lane & run else lane for lane in range(WIDTH)]
        move = [lane + WIDTH - run if lane & run else lane + run for lane in range(WIDTH)]
        return self.shuffled(one, two, stay) + self.shuffled(one, two, move)

    def shuffled(self, one: Lanes, two: Lanes, places: Sequence[int]) -> Lanes:
        """Return what stands in these places of two registers, those of the second counted on."""
        mask = ir.Constant(ir.VectorType(INDEX, WIDTH), list(places))
        return Lanes(self, self.builder.shuffle_vector(one.value, two.value, mask))

    def picked(self, held: Sequence[Lanes], places: Sequence[int]) -> Lanes:
        """Return what stands in these places of several registers, counted through all of them."""
        found = Lanes(self, ir.Constant(VECTOR, ir.Undefined))
        for at in sorted({place // WIDTH for place in places}):
            mask = [WIDTH + place % WIDTH if place // WIDTH == at else lane for lane, place in enumerate(places)]
            found = self.shuffled(found, held[at], mask)
        return found

    def gathered(self, pointer: ir.Value, start: ir.Value, offsets: Sequence[int]) -> Lanes:
        """Read, from so many places, as many doubles side by side as together fill a register."""
        width = WIDTH // len(offsets)
        kind = ir.VectorType(DOUBLE, width)
        level = [self.builder.load(self.at(pointer, start, offset), typ=kind, align=BYTES) for offset in offsets]
        while len(level) > 1:
            mask = ir.Constant(ir.VectorType(INDEX, 2 * width), list(range(2 * width)))
            level = [self.builder.shuffle_vector(*pair, mask) for pair in zip(level[::2], level[1::2], strict=True)]
            width *= 2
        return Lanes(self, level[0])

    def swapped(self, one: Lanes, two: Lanes, run: int) -> tuple[Lanes, Lanes]:
        """Return both after each second run of so many lanes of the one has changed places with the other's first."""
        low = [WIDTH + lane - run if lane & run else lane for lane in range(WIDTH)]
        high = [WIDTH + lane if lane & run else lane + run for lane in range(WIDTH)]
        return self.shuffled(one, two, low), self.shuffled(one, two, high)

    def spread(self, value: ir.Value) -> Lanes:
        """Return one double in all lanes."""
        one = self.builder.insert_element(ir.Constant(VECTOR, ir.Undefined), value, ir.Constant(INDEX, 0))
        mask = ir.Constant(ir.VectorType(INDEX, WIDTH), [0] * WIDTH)
        return Lanes(self, self.builder.shuffle_vector(one, ir.Constant(VECTOR, ir.Undefined), mask))

    def spread_whole(self, value: ir.Value) -> ir.Value:
        """Return one whole number in all lanes."""
        mask = ir.Constant(ir.VectorType(INDEX, WIDTH), [0] * WIDTH)
        one = self.builder.insert_element(ir.Constant(BITS, ir.Undefined), value, ir.Constant(INDEX, 0))
        return self.builder.shuffle_vector(one, ir.Constant(BITS, ir.Undefined), mask)

    def read_spread(self, pointer: ir.Value, *offsets: ir.Value | int) -> Lanes:
        """Read one double into all lanes."""
        return self.spread(self.scalar(pointer, *offsets))

    def called(self, intrinsic: str, *lanes: Lanes) -> Lanes:
        """Return what one of LLVM's functions makes of each lane."""
        name = f"{intrinsic}.v{WIDTH}f64"
        if name not in self.module.globals:
            ir.Function(self.module, ir.FunctionType(VECTOR, [VECTOR] * len(lanes)), name)
        return Lanes(self, self.builder.call(self.module.globals[name], [each.value for each in lanes]))

    def prefetch(self, pointer: ir.Value, lines: int) -> None:
        """Ask for so many lines of the cache, which are read soon; nothing happens where there is no memory."""
        name, flag = "llvm.prefetch.p0", ir.IntType(32)
        if name not in self.module.globals:
            ir.Function(self.module, ir.FunctionType(ir.VoidType(), [POINTER, flag, flag, flag]), name)
        flags = [ir.Constant(flag, n) for n in (0, 2, 1)]  # To be read, kept in the second level, data.
        for line in range(lines):
            self.builder.call(self.module.globals[name], [self.at(pointer, line * LINE), *flags])

    def looked_up(self, table: Any, index: ir.Value) -> ir.Value:
        """Return entries of a table of sixteen whole numbers, by the last four bits of each index (AVX-512)."""
        name = "llvm.x86.avx512.vpermi2var.q.512"
        if name not in self.module.globals:
            ir.Function(self.module, ir.FunctionType(BITS, [BITS] * 3), name)
        low, high = (ir.Constant(BITS, [ir.Constant(WHOLE, int(e)) for e in half]) for half in (table[:8], table[8:]))
        return self.builder.call(self.module.globals[name], [low, index, high])

    def sum_lanes(self, lanes: Lanes) -> ir.Value:
        """Return the sum over the lanes, halves added to halves."""
        value, width = lanes.value, WIDTH
        while width > 1:
            width //= 2
            low, high = (
                ir.Constant(ir.VectorType(INDEX, width), list(range(first, first + width))) for first in (0, width)
            )
            value = self.builder.fadd(
                self.builder.shuffle_vector(value, value, low), self.builder.shuffle_vector(value, value, high)
            )
        return self.builder.extract_element(value, ir.Constant(INDEX, 0))

    def loop(
        self,
        start: ir.Value | int,
        stop: ir.Value | int,
        step: int,
        carried: Sequence[Lanes],
        body: Callable[[Any, list[Lanes]], Sequence[Lanes] | None],
    ) -> list[Lanes]:
        """Write ``for i in range(start, stop, step): carried = body(i, carried)`` and return what is carried last."""
        first, end = (self.whole(n) if isinstance(n, int) else n for n in (start, stop))
        before = self.builder.block
        head, inside, after = (self.function.append_basic_block() for _ in range(3))
        self.builder.branch(head)
        self.builder.position_at_end(head)
        index = self.builder.phi(WHOLE)
        phis = [self.builder.phi(VECTOR) for _ in carried]
        self.builder.cbranch(self.builder.icmp_signed("<", index, end), inside, after)
        self.builder.position_at_end(inside)
        last = body(index, [Lanes(self, phi) for phi in phis]) or []
        following = self.builder.add(index, self.whole(step))
        closing = self.builder.block
        self.builder.branch(head)
        for phi, one, two in zip(
            [index, *phis], [first, *(c.value for c in carried)], [following, *(c.value for c in last)], strict=True
        ):
            phi.add_incoming(one, before)
            phi.add_incoming(two, closing)
        self.builder.position_at_end(after)
        return [Lanes(self, phi) for phi in phis]


class Machine:
    """Functions compiled for this machine, kept as long as this object."""

    def __init__(self) -> None:
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        self._engines: list[Any] = []

    def address(self, module: ir.Module, name: str) -> int:
        """Compile a module and return the address of one of its functions."""
        parsed = llvm.parse_assembly(str(module))
        parsed.verify()
        target = llvm.Target.from_default_triple().create_target_machine(
            cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=3, jit=True
        )
        engine = llvm.create_mcjit_compiler(parsed, target)
        engine.finalize_object()
        self._engines.append(engine)
        return engine.get_function_address(name)
