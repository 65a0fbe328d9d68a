"""Checkpoints: where a long fit stands, in one file that is whole whenever the process dies, and never trusted."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from bayesgmm.data import Rows
from bayesgmm.engines.archive import ADVICE, Archive, Expected, complaint, write_archive
from bayesgmm.errors import LoadError, ModelError
from bayesgmm.model.parameters import MixtureParameters
from bayesgmm.model.priors import Prior

#: A checkpoint is written when the last is so many seconds old, and so many times as old as it took to write:
#: at most a twentieth of the time goes into them.
SECONDS, TIMES = 1.0, 20.0
#: Raised when engines keep other arrays, or under other names.
LAYOUT = 4
#: Bytes of what the passes of one chain gave that are kept.
MOST_KEPT = 64_000_000
#: Every so-manieth pass that is kept is made again, to see that it gives the same.
MADE_AGAIN = 20


@dataclass(slots=True)
class Checkpoint:
    """Arrays by section and name, kept in one ``.npz`` file with what they belong to.

    Attributes
    ----------
    path : Path
        The file.
    identity : str
        Digest of data, prior, settings, start and seed.
    sections : dict
        What is kept.
    written, cost : float
        When the file was written last, by the monotonic clock, and how long that took; seconds.
    lock : Lock
        Held while anything is changed: chains are kept by threads of their own.
    """

    path: Path
    identity: str
    sections: dict[str, dict[str, np.ndarray]]
    written: float = field(default_factory=time.monotonic)
    cost: float = 0.0
    lock: Any = field(default_factory=threading.Lock)

    @classmethod
    def of(
        cls, engine: Any, data: Rows, prior: Prior, start: MixtureParameters | None, rng: np.random.Generator
    ) -> Checkpoint | None:
        """Return the checkpoint that an engine asks for, with what is in its file already; None if it asks for none.

        Raises
        ------
        LoadError
            If the file is no checkpoint, or damaged.
        ModelError
            If it is that of another fit.
        """
        if engine.checkpoint is None:
            return None
        path, identity = Path(engine.checkpoint), _identity(engine, data, prior, start, rng)
        if not path.exists():
            return cls(path, identity, {})
        return cls(path, identity, _sections(path, identity))

    def get(self, section: str) -> dict[str, np.ndarray] | None:
        """Return what is kept in a section."""
        return self.sections.get(section)

    def checked(self, section: str, expected: dict[str, Expected]) -> dict[str, np.ndarray] | None:
        """Return what is kept in a section, if anything is.

        Raises
        ------
        LoadError
            If these are not the arrays that are expected.
        """
        kept = self.get(section)
        wrong = "" if kept is None else complaint(kept, expected)
        if wrong:
            self.refuse(section, wrong)
        return kept

    def refuse(self, section: str, wrong: str) -> NoReturn:
        """Say what is wrong with a section that nothing can go on from."""
        raise LoadError(f"the checkpoint {str(self.path)!r} is damaged: in its part {section!r}, {wrong}; {ADVICE}")

    @property
    def is_due(self) -> bool:
        """Whether the file is old enough to be written again."""
        return time.monotonic() - self.written > max(SECONDS, TIMES * self.cost)

    def keep(self, section: str, arrays: dict[str, Any]) -> None:
        """Keep arrays in a section, and write the file if that is due."""
        with self.lock:
            self._hold(section, arrays)
            if self.is_due:
                self._write()

    def put(self, section: str, arrays: dict[str, Any], *, instead_of: str = "") -> None:
        """Keep arrays in a section, in place of another if one is named, and write the file.

        Raises
        ------
        OSError
            If it cannot be written: the message says where and how large it is; the file there was before stays.
        """
        with self.lock:
            self._hold(section, arrays)
            self.sections.pop(instead_of, None)
            self._write()

    def _hold(self, section: str, arrays: dict[str, Any]) -> None:
        self.sections[section] = {name: np.asarray(array, order="C") for name, array in arrays.items()}

    def _write(self) -> None:
        began = time.monotonic()
        named = {f"{s}/{name}": array for s, arrays in self.sections.items() for name, array in arrays.items()}
        try:
            write_archive(self.path, {"identity": np.array(self.identity), **named})
        except OSError as error:
            needed = sum(array.nbytes for array in named.values())
            raise OSError(
                error.errno,
                f"the checkpoint {str(self.path)!r} of {needed:,} bytes cannot be written: {error.strerror}",
            ) from error
        finally:  # A full disk, too, is not tried again at once.
            self.written = time.monotonic()
            self.cost = self.written - began


class Evaluations:
    """A function that answers from a section of a checkpoint what it was asked at the same turn before.

    The state of a sampler is known to nobody else, but follows from its seed and from the answers that it got.
    Given these again, it comes to where it was, to the bit, and asks for what is new; and for a twentieth again,
    for a file may hold anything.

    Parameters
    ----------
    function : callable
        Value and slope (size,) at a point (size,).
    size : int
        Length of points.
    checkpoint : Checkpoint
        Where answers are kept.
    section : str
        Under this name.
    """

    def __init__(
        self,
        function: Callable[[np.ndarray], tuple[float, np.ndarray]],
        size: int,
        checkpoint: Checkpoint,
        section: str,
    ) -> None:
        self._function, self._checkpoint, self._section = function, checkpoint, section
        kept = _answers(checkpoint, section, size)
        self._asked, self._answers = kept["asked"], kept["answers"]
        self._turn, self._known = 0, len(self._asked)

    def __call__(self, point: np.ndarray) -> tuple[float, np.ndarray]:
        """Return value and slope."""
        turn, asked = self._turn, int.from_bytes(hashlib.blake2b(point.tobytes(), digest_size=8).digest(), "little")
        self._turn += 1
        if turn < self._known and self._asked[turn] == asked:
            if turn % MADE_AGAIN == 0:
                self._see_again(turn, point)
            return float(self._answers[turn, 0]), self._answers[turn, 1:]
        value, slope = self._function(point)
        if turn * self._answers[:1].nbytes < MOST_KEPT:
            self._note(turn, asked, value, slope)
        return value, slope

    def _see_again(self, turn: int, point: np.ndarray) -> None:
        """Refuse answers of which one is not that of the function."""
        value, slope = self._function(point)
        if not np.array_equal(self._answers[turn], [value, *slope], equal_nan=True):
            self._checkpoint.refuse(self._section, f"answer {turn} is another")

    def _note(self, turn: int, asked: int, value: float, slope: np.ndarray) -> None:
        """Keep an answer, and forget those that were once given at later turns."""
        if turn < self._known:  # What the checkpoint holds is not written over.
            self._asked, self._answers = self._asked[:turn], self._answers[:turn]
        if turn == len(self._asked):
            self._asked, self._answers = (
                np.resize(a, (max(64, 2 * turn), *a.shape[1:])) for a in (self._asked, self._answers)
            )
        self._asked[turn], self._answers[turn, 0], self._answers[turn, 1:] = asked, value, slope
        self._known = turn + 1
        # No chain ends for want of room: when it is finished and there is still none, that is said.
        with suppress(OSError):
            self._checkpoint.keep(
                self._section, {"asked": self._asked[: turn + 1], "answers": self._answers[: turn + 1]}
            )


def _answers(checkpoint: Checkpoint, section: str, size: int) -> dict[str, np.ndarray]:
    """Return what was asked and answered, of points of one size."""
    expected = {"asked": Expected(("u8",), (None,)), "answers": Expected(("f8",), (None, 1 + size), None)}
    kept = checkpoint.checked(section, expected)
    if kept is None:
        return {"asked": np.empty(0, np.uint64), "answers": np.empty((0, 1 + size))}
    values, slopes = kept["answers"][:, 0], kept["answers"][:, 1:]
    # Where a point has no density, slopes are anything.
    are_sound = (
        len(values) == len(kept["asked"]) and (values < np.inf).all() and np.isfinite(slopes[values > -np.inf]).all()
    )
    if not are_sound or not np.isfinite(values[:1]).all():
        checkpoint.refuse(section, "answers are no log densities and slopes")
    return kept


def checked_path(path: Any) -> str | None:
    """Return the path of a checkpoint as text.

    Raises
    ------
    ModelError
        If it is no path, or in a folder that does not exist.
    """
    if path is None:
        return None
    if not isinstance(path, (str, os.PathLike)):
        raise ModelError(f"`checkpoint` has to be a path or None, got {path!r}")
    if not Path(path).parent.is_dir() or Path(path).is_dir():
        raise ModelError(f"`checkpoint` {str(path)!r} is a folder, or in one that does not exist")
    return os.fspath(path)


def _identity(engine: Any, data: Rows, prior: Prior, start: MixtureParameters | None, rng: np.random.Generator) -> str:
    settings = {name: value for name, value in asdict(engine).items() if name not in ("checkpoint", "cores")}
    digest = hashlib.sha256(json.dumps([type(engine).__name__, settings, version("bayesgmm"), LAYOUT]).encode())
    digest.update(data.fingerprint().encode())
    for value in asdict(prior).values():
        digest.update(value.encode() if isinstance(value, str) else np.ascontiguousarray(value).tobytes())
    for array in () if start is None else start.arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    digest.update(json.dumps(rng.bit_generator.state, default=str).encode())
    return digest.hexdigest()


def _sections(path: Path, identity: str) -> dict[str, dict[str, np.ndarray]]:
    """Return the arrays of a checkpoint by section and name, of which none is read if it is that of another fit."""
    archive, sections = Archive.opened(path), {}
    if not np.array_equal(archive["identity"], np.array(identity)):
        raise ModelError(
            f"{str(path)!r} is the checkpoint of another fit: data, model, settings, seed or version differ; give "
            "another path, or remove it"
        )
    for name in archive.names:
        section, _, array = name.partition("/")
        if array:
            sections.setdefault(section, {})[array] = archive[name]
    return sections
