"""Claims about checkpoints that were altered: gone on from to the same bits, or refused in a sentence."""

from __future__ import annotations

import faulthandler
import hashlib
import io
import re
import resource
import subprocess
import sys
import time
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest

import bayesgmm as bg
from bayesgmm.data import sums
from bayesgmm.data.writing import CHECKSUM
from bayesgmm.engines import checkpoint as module

#: Fits, few enough rows that one takes no time, in several blocks.
TABLE = bg.datasets.load_faithful().iloc[::2].reset_index(drop=True)
ENGINES = {
    "em": lambda path: bg.EM(n_init=3, max_iter=25, tol=1e-12, trace="parameters", checkpoint=path),
    "gibbs": lambda path: bg.Gibbs(draws=20, tune=10, chains=2, label_every=5, checkpoint=path),
    "nuts": lambda path: bg.NUTS(draws=8, tune=20, chains=2, cores=1, checkpoint=path),
}
#: Shares of its writes after which a fit is stopped.
SHARES = 0.3, 0.7, 0.95
#: Arrays of which no other tells whether they hold what was kept: where the checksum is made anew, they can lead to
#: another result. Random numbers, sweeps while none is kept, labels of rows, most answers that a sampler got, and the
#: history of a climb.
UNKNOWABLE = re.compile(r".*/(done|rng\d|kept5|answers|memory|pace|traces)")
MOST_SECONDS, MOST_BYTES = 5, 2**30
#: Numbers that break algorithms.
WILD = (np.nan, np.inf, -np.inf, -1.0, 0.0, 1e308, -1e308, 1e-310, 1e9, 2.0**63, 0.5, 7.0)


def fitted(engine, path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = bg.fit(TABLE, 2, engine=ENGINES[engine](path), seed=3, progress=False)
    parts = [result.weights, result.means, result.covariances, result.tree["sample_stats"]["lp"]]
    if engine == "em":
        parts += [result.tree["trace"][name] for name in ("log_posterior", "means")]
    return hashlib.sha256(b"".join(part.values.tobytes() for part in parts)).hexdigest()


def written(engine, folder):
    """Leave the checkpoint of a fit as it was after a share of its writes."""
    write, kept = module.Checkpoint._write, []

    def copied(self):
        write(self)
        kept.append(self.path.read_bytes())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sums, "CHUNK_ROWS", 64)
        patch.setattr(module, "SECONDS", 0.0)
        patch.setattr(module, "TIMES", 0.0)
        patch.setattr(module.Checkpoint, "_write", copied)
        fitted(engine, folder / f"{engine}.npz")
    for at, share in enumerate(SHARES):
        (folder / f"{engine}{at}.npz").write_bytes(kept[int(share * len(kept))])


# What is altered


def sealed(content):
    """Return bytes with the checksum that they would have had."""
    return content + CHECKSUM + hashlib.sha256(content).hexdigest().encode()


def archived(arrays, compression=zipfile.ZIP_STORED):
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", compression) as file:
        for name, array in arrays.items():
            content = io.BytesIO()
            np.lib.format.write_array(content, np.asanyarray(array), allow_pickle=True)
            file.writestr(f"{name}.npy", content.getvalue())
    return sealed(made.getvalue())


def one_number(array, rng):
    """Change one number, a little or beyond reason."""
    changed = np.array(array)
    if changed.size == 0:
        return changed
    at, wild = int(rng.integers(changed.size)), rng.choice(WILD)
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        old = changed.flat[at]
        new = np.asarray(wild if rng.random() < 0.5 or changed.dtype == bool else old * 1.01 + 1).astype(changed.dtype)
        changed.flat[at] = new
    return changed


def every_number(array, rng):
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.full_like(array, np.asarray(rng.choice(WILD)).astype(array.dtype))


def bits_flipped(array, rng):
    content = bytearray(array.tobytes())
    for at in rng.integers(len(content), size=3) if content else ():
        content[at] ^= 1 << int(rng.integers(8))
    return np.frombuffer(bytes(content), array.dtype).reshape(array.shape)


SHAPES = {
    "longer": lambda a, rng: np.concatenate([np.atleast_1d(a)] * 2),
    "shorter": lambda a, rng: np.atleast_1d(a)[:-1],
    "deeper": lambda a, rng: a[None],
    "flat": lambda a, rng: np.ravel(a)[None],
    "of single numbers": lambda a, rng: a.astype(np.float32),
    "of whole numbers": lambda a, rng: np.nan_to_num(np.array(a)).astype(np.int32),
    "of complex numbers": lambda a, rng: a.astype(complex),
    "of text": lambda a, rng: a.astype(str),
    "of objects": lambda a, rng: np.atleast_1d(a)[:1].astype(object),
    "big endian": lambda a, rng: a.astype(a.dtype.newbyteorder(">")),
    "by columns": lambda a, rng: np.asfortranarray(a),
    "empty": lambda a, rng: a.ravel()[:0],
    "reversed": lambda a, rng: np.flip(a),
    "one number": one_number,
    "every number": every_number,
    "bits": bits_flipped,
}


def altered_arrays(content, rng):
    """Alter one array, or which there are; the checksum is made anew."""
    with np.load(io.BytesIO(content)) as file:
        arrays = {name: file[name] for name in file.files}
    names = [name for name in arrays if name != "identity"]
    name, other = rng.choice(names, 2)
    how = int(rng.integers(12))
    if how == 0:
        del arrays[name]
    elif how == 1:
        arrays[f"{name}more"] = np.zeros(3)
    elif how == 2:
        arrays[name], arrays[other] = arrays[other], arrays[name]
    else:
        # Numbers are altered as often as all else.
        kind = rng.choice(list(SHAPES)) if how < 7 else rng.choice(["one number", "every number", "bits"])
        arrays[name] = SHAPES[kind](arrays[name], rng)
    made = archived(arrays, zipfile.ZIP_DEFLATED if rng.random() < 0.03 else zipfile.ZIP_STORED)
    return made, UNKNOWABLE.fullmatch(name) is not None


def claiming(content, rng):
    """Alter what headers say, of a size or in words; the checksum is made anew."""
    plain = bytearray(content[: content.rfind(CHECKSUM)])
    marks = [b"'shape': (", b"'descr': '", b"'fortran_order': ", b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06", b"NUMPY"]
    mark = marks[int(rng.integers(len(marks)))]
    places = (
        [at for at in range(len(plain)) if plain.startswith(mark, at)] if len(plain) < 10**6 else [plain.find(mark)]
    )
    at = int(rng.choice(places)) + len(mark)
    word = rng.choice(
        [b"9999999999,", b"-1,", b"|O8',", b"True ", b"\xff\xff\xff\xff", b"\x00\x00", b"(((((((((((", b"'"]
    )
    plain[at : at + len(word)] = word
    return sealed(bytes(plain)), False


def damaged(content, rng):
    """Damage bytes, and let the checksum tell."""
    content, at = bytearray(content), int(rng.integers(len(content)))
    kind = rng.integers(4)
    if kind == 0:
        return bytes(content[:at]), False
    if kind == 1:
        content[at] ^= 1 << int(rng.integers(8))
    elif kind == 2:
        content[at : at + 200] = rng.bytes(200)
    else:
        del content[at : at + int(rng.integers(1, 300))]
    return bytes(content), False


def altered(content, rng):
    """Return altered bytes, and whether that can go unnoticed."""
    return (altered_arrays, altered_arrays, altered_arrays, claiming, damaged)[int(rng.integers(5))](content, rng)


# What becomes of it


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def judge(folder, start, stop):
    """Alter checkpoints by each seed, give the fit again, and print what became of it."""
    sums.CHUNK_ROWS, module.SECONDS, module.TIMES = 64, np.inf, 0.0
    whole = {engine: fitted(engine, Path(folder, f"whole{start}{engine}.npz")) for engine in ENGINES}
    before = peak()
    for seed in range(start, stop):
        engine, rng = list(ENGINES)[seed % 3], np.random.default_rng(seed)
        content = Path(folder, f"{engine}{seed // 3 % 3}.npz").read_bytes()
        path = Path(folder, f"altered{start}.npz")
        changed, is_unknowable = altered(content, rng)
        path.write_bytes(changed)
        faulthandler.dump_traceback_later(4 * MOST_SECONDS, exit=True)
        began = time.process_time()
        try:
            other = "unknowable" if is_unknowable else "another result"
            verdict = "same" if fitted(engine, path) == whole[engine] else other
        except (bg.LoadError, bg.ModelError) as error:
            verdict = "refused" if "checkpoint" in str(error) else f"says nothing: {error}"
        except BaseException as error:
            verdict = f"{type(error).__name__}: {error}".strip().splitlines()[0]
        if time.process_time() - began > MOST_SECONDS:
            verdict += " late"
        if peak() - before > MOST_BYTES:
            verdict, before = f"{verdict} large", peak()
        print(seed, engine, verdict, flush=True)


def judged(folder, start, stop):
    """Return what became of each seed, judged in other processes, which may crash or take no more than their memory."""
    found = {}
    while start < stop:
        command = [sys.executable, __file__, str(folder), str(start), str(stop)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=1200, check=False)
        lines = [line.split(" ", 2) for line in done.stdout.splitlines()]
        found |= {int(seed): (engine, verdict) for seed, engine, verdict in lines}
        start = max(found, default=start - 1) + 1
        if start < stop:
            found[start] = "?", f"died with status {done.returncode}: {done.stderr[-300:]}"
            start += 1
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Checkpoints of each engine, on the way and nearly over."""
    folder = tmp_path_factory.mktemp("checkpoints")
    for engine in ENGINES:
        written(engine, folder)
    return folder


def unsound(found):
    return {seed: verdict for seed, verdict in found.items() if verdict[1] not in ("same", "refused", "unknowable")}


@pytest.mark.compiled
def test_60_altered_checkpoints_lead_to_the_same_bits_or_are_refused(folder):
    found = judged(folder, 0, 60)
    assert len(found) == 60
    assert not unsound(found)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(10))
def test_1000_more_altered_checkpoints_lead_to_the_same_bits_or_are_refused(part, folder):
    assert not unsound(judged(folder, 1000 + 100 * part, 1100 + 100 * part))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    judge(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
