#!/usr/bin/env python3
"""Second step of train.sh: keeps the words of a trained dictionary, computes its entropy tables anew.

The tables are shared by all languages, and the trainer computes them over all samples: Cyrillic and
Devanagari then lengthen every Latin letter. The words stay balanced, the tables are computed over the
languages named on the command line only. The zstd tool cannot do that, so this calls its library.
"""

import ctypes
import sys
from pathlib import Path

SIZE = 32768  # the fixed size of a version 1 dictionary
LEVEL = 19  # the level senders use: the tables must fit what it emits


class Params(ctypes.Structure):
    _fields_ = [("level", ctypes.c_int), ("notify", ctypes.c_uint), ("dict_id", ctypes.c_uint)]


def load():
    lib = ctypes.CDLL("libzstd.so.1")
    size_p = ctypes.POINTER(ctypes.c_size_t)
    lib.ZDICT_getDictHeaderSize.restype = ctypes.c_size_t
    lib.ZDICT_getDictHeaderSize.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
    lib.ZDICT_isError.argtypes = [ctypes.c_size_t]
    lib.ZDICT_finalizeDictionary.restype = ctypes.c_size_t
    lib.ZDICT_finalizeDictionary.argtypes = [
        ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t,
        ctypes.c_char_p, size_p, ctypes.c_uint, Params]
    return lib


def finalize(lib, words: bytes, samples: list[bytes]) -> bytes:
    out = ctypes.create_string_buffer(SIZE)
    sizes = (ctypes.c_size_t * len(samples))(*map(len, samples))
    got = lib.ZDICT_finalizeDictionary(
        out, SIZE, words, len(words), b"".join(samples), sizes, len(samples), Params(LEVEL, 0, 1))
    if lib.ZDICT_isError(got):
        raise SystemExit("zstd refused the samples")
    return out.raw[:got]


def main() -> int:
    trained, out, corpora = Path(sys.argv[1]).read_bytes(), sys.argv[2], sys.argv[3:]
    lib = load()
    words = trained[lib.ZDICT_getDictHeaderSize(trained, len(trained)):]
    samples = [line for path in corpora for line in Path(path).read_bytes().splitlines()]
    # The most useful words stand at the end (nearest to the text), so cut at the front. The size of the
    # tables is known only afterwards: shrink until all fits exactly.
    keep = SIZE - 128
    while True:
        dictionary = finalize(lib, words[-keep:], samples)
        header = lib.ZDICT_getDictHeaderSize(dictionary, len(dictionary))
        if header + keep == SIZE == len(dictionary):
            break
        keep = SIZE - header
    Path(out).write_bytes(dictionary)
    return 0


if __name__ == "__main__":
    sys.exit(main())
