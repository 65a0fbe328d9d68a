"""Numbers as people write them: thousands marks, currencies, per cent, decimal commas."""

# Functions of pyarrow.compute are made when it is imported.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bayesgmm.data.names import shown

#: Cells that stand for a missing value.
MISSING = (
    *("", "NA", "N/A", "n/a", "na", "<NA>", "#N/A", "#NA", "#N/A N/A", "NaN", "nan", "NAN", "-NaN", "-nan"),
    *("null", "NULL", "Null", "None", "none", "1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN"),
)
#: A column is one of numbers if so many of its cells are: the others are then named, and refused.
NEARLY_ALL = 2 / 3
#: Fewer cells with a mark that may be of thousands or of decimals may be slips.
FEWEST_GROUPED = 3
CODES = "USD|EUR|GBP|CHF|JPY|CNY|INR|CAD|AUD|NZD|SEK|NOK|DKK|PLN|CZK|HUF|BRL|MXN|ZAR|KRW|TRY|RUB|SGD|HKD"
AFFIX = rf"(?:US\$|R\$|[$€£¥₹₽₩₺]|{CODES}|kr|Kč|zł|Fr\.)"
MINUS = "\u2212"
MARKS = ("'", "\u2019", " ", "\u00a0", "\u202f", "\u2009")
DATES = "|".join(
    (
        r"\d{4}[-/.]\d{1,2}(?:[-/.]\d{1,2})?(?:[T ]\d{1,2}:\d{2}.*)?",
        r"\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4}(?:[T ,]\s*\d{1,2}:\d{2}.*)?",
        r"\d{1,2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?(?: ?[AaPp]\.?[Mm]\.?)?",
        r"\d{1,2}\.?[ -][^\W\d]{3,9}\.?[ -]\d{2,4}",
        r"[^\W\d]{3,9}\.? \d{1,2},? \d{4}",
    )
)
YES_OR_NO = (
    *("yes", "no", "y", "n", "true", "false", "t", "f", "on", "off", "ja", "nein", "oui", "non", "si", "s\u00ed"),
    *("sim", "n\u00e3o", "da", "tak", "nie", "ano", "ne"),
)


@dataclass(frozen=True, slots=True)
class Numerals:
    """A column of text, as far as it is numbers.

    Attributes
    ----------
    values : array (n,), or None
        As doubles, missing ones NaN; None where some cell is no number of the form of the others.
    form : str
        An example of what was converted ("'$12.50' is 12.5"), or what the cells are that are no numbers; empty where
        plain numbers.
    odd : int array
        Cells that are no numbers, or of another form than the others.
    numbers : int
        Cells that are numbers.
    """

    values: np.ndarray | None
    form: str
    odd: np.ndarray
    numbers: int

    @property
    def is_spoilt(self) -> bool:
        """Whether nearly all cells are numbers, and some are not."""
        return self.values is None and self.numbers >= NEARLY_ALL * (self.numbers + len(self.odd)) > 0


@cache
def number_pattern(decimal: str) -> str:
    """Return the pattern of a number with this decimal mark, in the syntax that Python and Arrow share."""
    point, other = re.escape(decimal), re.escape("," if decimal == "." else ".")
    grouped = "|".join(rf"[1-9]\d{{0,2}}(?:{mark}\d{{3}})+" for mark in (other, *MARKS))
    number = rf"(?:{grouped})(?:{point}\d+)?|\d+(?:{point}\d*)?|{point}\d+|(?i:inf(?:inity)?)"
    return (
        rf"^(?P<open>\(?)\s*(?P<sign>[-+{MINUS}]?)\s*(?P<before>{AFFIX}?)\s*(?P<minus>[-+{MINUS}]?)"
        rf"(?P<number>{number})(?P<exponent>(?:[eE][-+]?\d+)?)\s*(?P<after>(?:%|‰|{AFFIX})?)\s*(?P<close>\)?)$"
    )


def trimmed(cells: Any) -> pa.Array:
    """Return cells as text without blanks about it, missing ones null."""
    cells = cells.combine_chunks() if isinstance(cells, pa.ChunkedArray) else cells
    text = pc.utf8_trim_whitespace(pc.cast(cells, pa.large_string()))
    return pc.if_else(pc.is_in(text, pa.array(MISSING, pa.large_string())), None, text)


def matching(text: pa.Array, decimal: str) -> int:
    """Return the number of cells that are numbers with this decimal mark."""
    return int(pc.sum(pc.match_substring_regex(text, number_pattern(decimal))).as_py() or 0)


def numerals(text: pa.Array, decimal: str = ".") -> Numerals:
    """Return what the cells of a column say, as `trimmed` gives them."""
    present = np.asarray(pc.is_valid(text))
    plain = _plain(text, decimal)
    if plain is not None:
        return Numerals(plain, "", np.empty(0, int), int(present.sum()))
    parts = pc.extract_regex(text, number_pattern(decimal))
    good = np.asarray(pc.is_valid(parts)) & present
    if not good.any():
        return Numerals(None, _kind(text), np.flatnonzero(present), 0)
    odd = present & ~(good & _of_one_form(parts, good))
    if not odd.any():
        odd = _doubtful_groups(parts, good, decimal)
    numbers = int(present.sum() - odd.sum())
    if odd.any():
        return Numerals(None, _kind(text), np.flatnonzero(odd), numbers)
    values = _values(parts, decimal)
    return Numerals(values, _example(text, values, parts), np.empty(0, int), numbers)


def are_codes(text: pa.Array) -> bool:
    """Return whether whole numbers have leading zeros: codes, of which nobody takes a mean."""
    return bool(pc.any(pc.match_substring_regex(text, r"^0\d+$")).as_py())


def _plain(text: pa.Array, decimal: str) -> np.ndarray | None:
    """Return numbers that have no ornament but a decimal mark, or None."""
    try:
        dotted = text if decimal == "." else _swapped(text, decimal)
        return None if dotted is None else np.asarray(pc.cast(dotted, pa.float64()).to_numpy(zero_copy_only=False))
    except pa.ArrowInvalid:
        return None


def _swapped(text: pa.Array, decimal: str) -> pa.Array | None:
    """Return numbers with a point for their decimal mark; None where points are there already."""
    if pc.any(pc.match_substring(text, ".")).as_py():
        return None
    return pc.replace_substring(text, decimal, ".")


def _field(parts: Any, name: str) -> pa.Array:
    return pc.struct_field(parts, name)


def _joined(one: pa.Array, other: pa.Array) -> pa.Array:
    return pc.binary_join_element_wise(one, other, pa.scalar("", pa.large_string()))


def _of_one_form(parts: Any, good: np.ndarray) -> np.ndarray:
    """Return which cells have the currency or per cent sign, or none, that most of them have."""
    signs = _joined(_field(parts, "before"), _field(parts, "after"))
    balanced = pc.equal(pc.binary_length(_field(parts, "open")), pc.binary_length(_field(parts, "close")))
    counted = pc.value_counts(signs.filter(pa.array(good))).to_pylist()
    most = max(counted, key=lambda found: found["counts"])["values"]
    return np.asarray(pc.fill_null(pc.and_(pc.equal(signs, most), balanced), False))


def _doubtful_groups(parts: Any, good: np.ndarray, decimal: str) -> np.ndarray:
    """Return which cells have a mark that may be of thousands or of decimals, where nothing tells which."""
    other = "," if decimal == "." else "."
    number = _field(parts, "number")
    grouped = _true(pc.match_substring(number, other)) & good
    if not grouped.any():
        return grouped
    long = _true(pc.match_substring_regex(number, r"^\d{4,}")) & good
    if long.any():
        return grouped if grouped.sum() <= long.sum() else long
    fraction = _true(pc.match_substring(number, decimal)) & good
    twice = pc.greater(pc.count_substring(number, other), 1)
    priced = _true(pc.not_equal(_joined(_field(parts, "before"), _field(parts, "after")), ""))
    if (grouped & (fraction | _true(twice) | priced)).any():
        return np.zeros_like(grouped)
    is_form = not fraction.any() and (grouped.sum() >= FEWEST_GROUPED or grouped.sum() == good.sum())
    return np.zeros_like(grouped) if is_form else grouped


def _true(found: Any) -> np.ndarray:
    return np.asarray(pc.fill_null(found, False))


def _values(parts: Any, decimal: str) -> np.ndarray:
    """Return the numbers that cells are made of."""
    other = "," if decimal == "." else "."
    digits = pc.replace_substring_regex(_field(parts, "number"), rf"[{re.escape(other)}{''.join(MARKS)}]", "")
    digits = pc.replace_substring(digits, decimal, ".")
    values = pc.cast(_joined(digits, _field(parts, "exponent")), pa.float64())
    minus = np.zeros(len(values), bool)
    for name in ("sign", "minus"):
        minus ^= _true(pc.is_in(_field(parts, name), pa.array(["-", MINUS], pa.large_string())))
    minus ^= _true(pc.equal(_field(parts, "open"), "("))
    numbers = np.asarray(values.to_numpy(zero_copy_only=False), float)
    return np.where(minus, -numbers, numbers)


def _example(text: pa.Array, values: np.ndarray, parts: Any) -> str:
    """Return what was converted, by the cell that is written with most ornament; empty where it is plain."""
    bare = r"^[-+]?[\d.,]+(?:[eE][-+]?\d+)?$"
    ornate = ~_true(pc.match_substring_regex(text, bare)) & np.isfinite(values)
    grouped = _true(pc.match_substring_regex(_field(parts, "number"), r"^\d{1,3}(?:[^\d]\d{3})+(?:\D|$)"))
    for where in (ornate & grouped, grouped, ornate):
        if where.any():
            at = int(np.flatnonzero(where)[0])
            return f"{shown(text[at].as_py())} is {values[at]:.12g}"
    return ""


def _kind(text: pa.Array) -> str:
    """Return what the cells of a column are that are no numbers."""
    words = text.drop_null()
    if not len(words):
        return "empty"
    if _share(words, rf"^(?:{DATES})$") >= NEARLY_ALL:
        return "dates or times"
    distinct = pc.unique(pc.utf8_lower(words.slice(0, 100_000)))
    if len(distinct) <= 2 and set(distinct.to_pylist()) <= set(YES_OR_NO):
        return "yes or no"
    if _share(words, r"^[-+]?\d+(?:[.,]\d+)?\s?[a-zA-Zµ°²³/%]{1,8}$") >= NEARLY_ALL:
        return f"numbers with a unit, such as {shown(words[0].as_py())}"
    return "text"


def _share(words: pa.Array, pattern: str) -> float:
    return float(pc.mean(pc.cast(pc.match_substring_regex(words, pattern), pa.float64())).as_py())
