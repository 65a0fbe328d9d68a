"""Text files written at random: each is read with the right columns and values, or refused by place."""

from __future__ import annotations

import re
import warnings

import numpy as np
import pytest
from table_files import TableFile, table_file

import bayesgmm as bg
from bayesgmm.data import Reading, columns, delimited, layout, numerals, observations, reading, rows_of

#: Files of an ordinary run, and of a long one.
FEW, MANY = 100, 1000


def judged(file: TableFile, path, missing="refuse") -> str:
    """Return how a file was read: "read", "refused", or what is wrong with what came of it."""
    path.write_bytes(file.content)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            rows = rows_of(path, reading=Reading(missing=missing))
        except bg.DataError as error:
            return _judged_refusal(file, str(error), path)
    if file.spoilt in ("typo", "ragged", "headed") or (file.spoilt == "missing" and missing == "refuse"):
        return f"silent: {file.spoilt}"
    kept = np.ones(len(next(iter(file.features.values()))), bool)
    if file.spoilt == "missing":
        kept[file.about["missing_at"]] = False
    expected = np.column_stack(list(file.features.values()))[kept]
    if file.header and rows.features != tuple(file.features):
        return f"silent: features {rows.features}"
    if rows.values.shape != expected.shape or not np.array_equal(rows.values, expected):
        return f"silent: values {rows.values[:2]} for {expected[:2]}"
    sentences = " ".join(str(one.message) for one in said)
    unsaid = [name for name in file.aside if file.header and repr(name or "Unnamed: ")[:-1] not in sentences]
    return f"silent: nothing of {unsaid}" if unsaid else "read"


def _judged_refusal(file: TableFile, sentence: str, path) -> str:
    """Return "refused" if a sentence names the place, and there was a reason."""
    places = {
        "missing": r"row \d+",
        "typo": r"column '.*row \d+|cells in line \d+",
        "ragged": r"line \d+|row \d+",
        "headed": "no rows",
    }
    place = places.get(file.spoilt, "^$") + r"|has .*, which may be|begins with .*, which may be"
    if path.name not in sentence and "`data`" not in sentence:
        return f"no place: {sentence}"
    return "refused" if re.search(place, sentence) else f"no place: {sentence}"


def outcomes(number, folder, seed=17, **options):
    """Return how so many files were read, with the files."""
    rng = np.random.default_rng(seed)
    found = []
    for at in range(number):
        file = table_file(rng)
        found.append((judged(file, folder / f"table{at}{file.ending}", **options), file))
    return found


@pytest.mark.parametrize("missing", ["refuse", "drop"])
@pytest.mark.parametrize("number", [FEW, pytest.param(MANY, marks=pytest.mark.slow)])
def test_files_written_at_random_are_read_right_or_refused_by_place(number, missing, tmp_path):
    found = outcomes(number, tmp_path, missing=missing)
    wrong = [(word, file.about, file.content[:200]) for word, file in found if word not in ("read", "refused")]
    assert not wrong, (len(wrong), wrong[:5])
    # Refused are those alone of which nobody can say whether a comma, or a blank, is within a number.
    sound = [word for word, file in found if not file.spoilt]
    assert sound.count("read") >= 0.95 * len(sound)


MISTAKES = {
    "every comma is of thousands": (delimited, "_decimal", lambda *_: "."),
    "the first line is always names": (layout, "_has_header", lambda *_: True),
    "nothing numbers the rows": (columns, "naming", lambda *_: {}),
    "cells that are no numbers are missing": (columns, "_refuse_cells", lambda *_: None),
    "what is left out is not said": (reading, "say", lambda _: None),
    "ornate numbers are nought": (numerals, "_values", lambda parts, decimal: np.zeros(len(parts))),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_the_reader_is_seen(mistake, tmp_path, monkeypatch):
    monkeypatch.setattr(*MISTAKES[mistake])
    if mistake == "what is left out is not said":
        monkeypatch.setattr(observations, "say", lambda _: None)
    assert any(word.startswith(("silent", "no place")) for word, _ in outcomes(FEW, tmp_path))
