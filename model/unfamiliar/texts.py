"""Texts of other domains: a language's manual, other languages, code, letters without words.

They are as long as the texts that they are compared with, so that length does not give them away.
"""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import re
import string
import textwrap
from collections.abc import Callable, Sequence
from pydoc_data import topics
from types import ModuleType

import numpy as np

from model.unfamiliar.languages import PARAGRAPHS

_Make = Callable[[Sequence[str], Sequence[int], np.random.Generator], list[str]]


def unfamiliar_texts(like: Sequence[str], count: int, seed: int = 0) -> dict[str, list[str]]:
    """`count` texts of each kind, each with as many words as one of `like`: kind -> texts. Of `like`, one at least."""
    generators = np.random.default_rng(seed).spawn(len(_KINDS))
    result = {}
    for (kind, make), generator in zip(_KINDS.items(), generators, strict=True):
        chosen = [like[index] for index in generator.integers(len(like), size=count)]
        result[kind] = make(chosen, [max(1, len(text.split())) for text in chosen], generator)
    return result


def windows(words: Sequence[str], lengths: Sequence[int], generator: np.random.Generator) -> list[str]:
    """So many words in a row, from random places."""
    starts = generator.integers(len(words), size=len(lengths)).tolist()
    return [
        " ".join(words[(start + step) % len(words)] for step in range(length))
        for start, length in zip(starts, lengths, strict=True)
    ]


def _words_of(*modules: ModuleType) -> list[str]:
    return " ".join(inspect.getsource(module) for module in modules).split()


def _prose(texts: Sequence[str], lengths: Sequence[int], generator: np.random.Generator) -> list[str]:
    """Parts of sentences of Python's reference manual."""
    return windows(PROSE, lengths, generator)


def _languages(texts: Sequence[str], lengths: Sequence[int], generator: np.random.Generator) -> list[str]:
    """Parts of sentences in other languages and scripts."""
    paragraphs = [paragraph.split() for paragraph in PARAGRAPHS]
    return [windows(paragraphs[int(generator.integers(len(paragraphs)))], [n], generator)[0] for n in lengths]


def _code(texts: Sequence[str], lengths: Sequence[int], generator: np.random.Generator) -> list[str]:
    """Pieces of Python's own library."""
    return windows(_CODE, lengths, generator)


def _letters(texts: Sequence[str], lengths: Sequence[int], generator: np.random.Generator) -> list[str]:
    """Random letters, in words of ordinary length."""
    letters = list(string.ascii_lowercase)
    return [
        " ".join("".join(generator.choice(letters, size=generator.integers(2, 11))) for _ in range(n)) for n in lengths
    ]


def _shuffled(texts: Sequence[str], lengths: Sequence[int], generator: np.random.Generator) -> list[str]:
    """Ordinary texts, the letters of each word in another order."""
    return [" ".join("".join(generator.permutation(list(word))) for word in text.split()) for text in texts]


# Words of the manual, without the marks of its layout.
PROSE = re.findall(r"[A-Za-z][A-Za-z'-]*[.,;:?]?", " ".join(topics.topics[name] for name in sorted(topics.topics)))
_CODE = _words_of(argparse, dataclasses, textwrap)
_KINDS: dict[str, _Make] = {
    "prose": _prose,
    "languages": _languages,
    "code": _code,
    "letters": _letters,
    "shuffled": _shuffled,
}
