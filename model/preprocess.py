"""Preprocessing arithmetic, once, for training and serving: pictures to pixels, text to tokens, items to a batch."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

from model.config import Config, ImageModality, TextModality

# The present modalities of one sample: image -> uint8 [H, W, 3]; text -> int64 [n] token ids, n >= 1.
Item = Mapping[str, NDArray[np.generic]]

PAD, UNKNOWN, START = "[PAD]", "[UNK]", "[CLS]"
PAD_ID = 0
# A token stands for at most this many characters; WordPiece maps a longer word, whatever its length, to unknown.
_LONGEST_WORD = 100

ORIENTATION = 0x0112  # EXIF tag; 5 to 8 swap width and height
# What turns a stored picture upright.
TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


_BAND_PIXELS = 1 << 20


def flatten(
    image: Image.Image, background: tuple[int, int, int] = (255, 255, 255), orientation: int | None = None
) -> Image.Image:
    """Turn a picture of any mode into RGB as a person sees it.

    EXIF orientation is applied, transparency laid over `background`, palettes, CMYK and greyscale converted, and
    16-bit samples scaled to 8 bits (a plain conversion would clip them to white). `orientation`: the EXIF value, read
    from the picture when None, which is nothing to do with files of strangers.
    """
    image.load()
    if orientation is None:
        orientation = image.getexif().get(ORIENTATION, 1)
    turn = TRANSPOSE.get(orientation)
    if turn is not None:
        image = image.transpose(turn)
    if image.mode.startswith("I") or image.mode == "F":
        # Pillow gives 16-bit greyscale as I or I;16; values that fit in 8 bits are 8-bit data in a wide container.
        (_, most) = cast(tuple[float, float], image.getextrema())
        scale = 257.0 if most > 255 else 1.0
        image = _in_bands(image, "L", lambda band: _eight_bits(band, scale))
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        return _in_bands(image, "RGB", lambda band: _opaque(band, background))
    return image if image.mode == "RGB" else image.convert("RGB")


def _eight_bits(image: Image.Image, scale: float) -> Image.Image:
    samples = np.asarray(image, dtype=np.float64)
    return Image.fromarray(np.clip(samples / scale, 0, 255).round().astype(np.uint8))


def _opaque(image: Image.Image, background: tuple[int, int, int]) -> Image.Image:
    layer = image.convert("RGBA")
    canvas = Image.new("RGBA", layer.size, (*background, 255))
    return Image.alpha_composite(canvas, layer).convert("RGB")


def _in_bands(image: Image.Image, mode: str, convert: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """`convert(image)`, a picture of `mode`; a large one is converted in bands, whose copies take little memory."""
    width, height = image.size
    rows = max(1, _BAND_PIXELS // max(1, width))
    if rows >= height:
        return convert(image)
    whole = Image.new(mode, image.size)
    for top in range(0, height, rows):
        whole.paste(convert(image.crop((0, top, width, min(height, top + rows)))), (0, top))
    return whole


def pixels(image: Image.Image, modality: ImageModality, out: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
    """Bring a picture of any mode to the modality's size: uint8 [height, width, 3]. `out`: an array to hold it."""
    return fit(flatten(image, modality.background), modality, out)


def fit(
    image: Image.Image,
    modality: ImageModality,
    out: NDArray[np.uint8] | None = None,
    box: tuple[float, float, float, float] | None = None,
) -> NDArray[np.uint8]:
    """Bring an upright RGB picture to the modality's size: uint8 [height, width, 3].

    `out`: an array to hold it. `box`: the part of `image` that is the picture, all of it when None; a decoder that
    scales leaves a fraction of a row and a column beside it. The arithmetic is that of Pillow's ImageOps.pad and fit,
    without the copies that these make.
    """
    width, height = modality.width, modality.height
    if out is None:
        out = np.empty((height, width, 3), dtype=np.uint8)
    whole = (0.0, 0.0, float(image.width), float(image.height))
    left, top, right, bottom = box or whole
    ratio, wanted = (right - left) / (bottom - top), width / height
    if modality.fit == "pad":
        if ratio > wanted:
            height = round((bottom - top) / (right - left) * width)
        elif ratio < wanted:
            width = round(ratio * height)
    elif modality.fit == "crop" and ratio != wanted:
        if ratio >= wanted:
            beside = ((right - left) - wanted * (bottom - top)) * 0.5
            left, right = left + beside, left + beside + wanted * (bottom - top)
        else:
            beside = ((bottom - top) - (right - left) / wanted) * 0.5
            top, bottom = top + beside, top + beside + (right - left) / wanted
    if image.size != (width, height) or (left, top, right, bottom) != whole:
        if not width or not height:
            out[...] = modality.background
            return out
        image = image.resize((width, height), Image.Resampling.BICUBIC, (left, top, right, bottom))
    if (width, height) == (modality.width, modality.height):
        out[...] = np.asarray(image)
        return out
    out[...] = modality.background
    x, y = round((modality.width - width) * 0.5), round((modality.height - height) * 0.5)
    out[y : y + height, x : x + width] = np.asarray(image)
    return out


# Marks that Unicode puts into an order of their own where several follow one another, and what unfolds to such marks.
# The time for that grows with the square of their number; text that means something has a handful, and Unicode's own
# bound for text that is processed in a stream is thirty (UAX #15, section 13).
_MARKS = (
    "".join(chr(c) for c in range(0x300, 0x1F000) if unicodedata.combining(chr(c))) + "\u0f73\u0f75\u0f81\uff9e\uff9f"
)
_TOO_MANY_MARKS = re.compile(f"([{_MARKS}]{{30}})[{_MARKS}]+")
# The characters of the categories Cc, Zl and Zp, which Unicode keeps as they are.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def normalise_text(text: str) -> str:
    """Fold a text to its compatibility form, one space between words, no control characters, at most 30 marks a letter.

    An empty result, which a text without a visible character gives, means that the text counts as missing. Any str is
    taken, lone surrogates too.
    """
    if text.isascii() and text.isprintable():  # as titles mostly are; then all that follows changes nothing but spaces
        return " ".join(text.split())
    text = text.encode("utf-8", "replace").decode("utf-8")
    text = unicodedata.normalize("NFKC", _TOO_MANY_MARKS.sub(r"\1", text))
    text = _CONTROL.sub(" ", text)
    # Marks of direction, joiners and the like shape other characters; alone they show nothing.
    if all(c == " " or unicodedata.category(c) == "Cf" for c in text):
        return ""
    return " ".join(text.split())


@dataclass(frozen=True)
class Tokens:
    """Token ids int64 [n], n >= 1, and whether the text was longer than the modality takes."""

    ids: NDArray[np.int64]
    truncated: bool


class TextTokenizer:
    """Tokens of a text, at most the modality's `max_tokens`: a backbone's, or WordPiece behind a start token."""

    def __init__(self, tokenizer: Tokenizer, modality: TextModality) -> None:
        # A text that spells out "[PAD]" means these letters, not padding.
        tokenizer.encode_special_tokens = True
        self._tokenizer = tokenizer
        self._max_tokens = modality.max_tokens
        self._start: list[int] = []
        # A text of which a backbone's tokenizer leaves nothing is a token all the same.
        self._filler = some_token(modality)
        if modality.tokenizer == "backbone":
            # It puts the tokens around a text that the backbone expects, and cuts at the side that it cuts at.
            side = (tokenizer.truncation or {}).get("direction", "right")
            tokenizer.enable_truncation(self._max_tokens, direction=side)
            tokenizer.no_padding()
            return
        start = tokenizer.token_to_id(START)
        if start is None or tokenizer.token_to_id(PAD) != PAD_ID:
            raise ValueError(f"the tokenizer needs {PAD} as token {PAD_ID} and a {START} token")
        self._start = [start]

    @classmethod
    def train(cls, texts: Iterable[str], modality: TextModality) -> TextTokenizer:
        """Learn a vocabulary of at most `modality.vocab_size` tokens from normalised texts; the same from the same."""
        texts = list(texts)
        learner = _word_pieces(models.WordPiece(unk_token=UNKNOWN), modality)
        # The library numbers the letters inside words in the order of a randomly seeded hash map, and breaks ties by
        # number. Handed over as special tokens, they have fixed numbers; the tokenizer proper knows none as special.
        inside = sorted({letter for text in texts for word in _words(learner, text) for letter in word[1:]})
        trainer = trainers.WordPieceTrainer(
            vocab_size=modality.vocab_size,
            special_tokens=[PAD, UNKNOWN, START, *("##" + letter for letter in inside)],
            show_progress=False,
            min_frequency=2,
        )
        learner.train_from_iterator(texts, trainer)
        model = models.WordPiece(learner.get_vocab(), unk_token=UNKNOWN, max_input_chars_per_word=_LONGEST_WORD)
        return cls(_word_pieces(model, modality), modality)

    @classmethod
    def load(cls, path: str | Path, modality: TextModality) -> TextTokenizer:
        """Read a `tokenizer.json`. Raises ValueError when the file is not one."""
        try:
            tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises bare Exception
            raise ValueError(f"not a tokenizer: {error}") from None
        return cls(tokenizer, modality)

    def save(self, path: str | Path) -> None:
        """Write the `tokenizer.json`."""
        self._tokenizer.save(str(path))

    def to_json(self) -> str:
        """What `save` writes."""
        return str(self._tokenizer.to_str())

    @property
    def vocab_size(self) -> int:
        """How many different ids there are."""
        return int(self._tokenizer.get_vocab_size())

    def __call__(self, text: str) -> Tokens:
        """Tokenise one text of any length; a longer text than `max_tokens` is cut and says so."""
        return self.batch([text])[0]

    def batch(self, texts: Sequence[str]) -> list[Tokens]:
        """Tokenise many texts at once."""
        # Words of up to the longest length fill max_tokens within this many characters; behind it nothing is read, so
        # that a text costs no more than it can say.
        bound = (_LONGEST_WORD + 1) * self._max_tokens
        folded, unread = [], []
        for text in texts:
            start = normalise_text(text[: 4 * bound])
            folded.append(start[: bound + 1])
            unread.append(len(start) > bound + 1 or normalise_text(text[4 * bound :]) != "")
        tokens = []
        for encoding, cut in zip(self._tokenizer.encode_batch_fast(folded), unread, strict=True):
            ids = [*self._start, *encoding.ids] or [self._filler]
            ids_cut = len(ids) > self._max_tokens or bool(encoding.overflowing)
            tokens.append(Tokens(np.array(ids[: self._max_tokens], dtype=np.int64), cut or ids_cut))
        return tokens


def _word_pieces(model: models.WordPiece, modality: TextModality) -> Tokenizer:
    tokenizer = Tokenizer(model)
    if modality.lowercase:
        tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


def _words(tokenizer: Tokenizer, text: str) -> list[str]:
    folded = text if tokenizer.normalizer is None else tokenizer.normalizer.normalize_str(text)
    return [word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(folded)]


@dataclass
class Batch:
    """Samples side by side, padded: what the network reads.

    `inputs`: image -> uint8 [B, H, W, 3], text -> int64 [B, L] padded with its `pad_id`; a modality that no sample has
    is left out. `present`: bool [B, M], modalities in the order of the config.
    """

    inputs: dict[str, NDArray[np.generic]]
    present: NDArray[np.bool_]

    def __len__(self) -> int:
        """B."""
        return len(self.present)


@dataclass(frozen=True)
class Narrowed:
    """Further answers to a batch, besides each sample's own: as if some of its modalities were missing.

    `rows`: int64 [E], which sample; `present`: bool [E, M], what is left of it. Encoders need not run again for them.
    """

    rows: NDArray[np.int64]
    present: NDArray[np.bool_]

    def behind(self, present: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Rows [N + E] and `present` [N + E, M] of all answers: each sample's own, `present` [N, M], comes first."""
        return np.concatenate([np.arange(len(present)), self.rows]), np.concatenate([present, self.present])


def collate(items: Sequence[Item], config: Config, into: Mapping[str, NDArray[Any]] | None = None) -> Batch:
    """Put items side by side; rows that lack a modality hold zeros there and False in `present`.

    `into`: arrays to write to, by modality, of the shapes that `Batch` describes; texts are padded to the length of
    theirs, which is at least that of the longest. A modality that is not named there gets a new array.
    """
    names = list(config.modalities)
    present = np.array([[name in item for name in names] for item in items], dtype=np.bool_).reshape(-1, len(names))
    inputs: dict[str, NDArray[np.generic]] = {}
    for column, name in enumerate(names):
        if not present[:, column].any():
            continue
        modality = config.modalities[name]
        out = into.get(name) if into else None
        if isinstance(modality, ImageModality):
            if out is None:
                out = np.empty((len(items), modality.height, modality.width, 3), dtype=np.uint8)
            for row, item in enumerate(items):
                out[row] = item.get(name, 0)
            inputs[name] = out
        else:
            inputs[name] = pad_tokens([item.get(name) for item in items], out, modality.pad_id)
    return Batch(inputs, present)


def pad_tokens(
    ids: Sequence[NDArray[np.generic] | None], out: NDArray[np.int64] | None = None, pad_id: int = PAD_ID
) -> NDArray[np.int64]:
    """Token id arrays side by side: int64 [B, L], `pad_id` behind each and throughout the missing ones.

    L is that of `out`, which is written to, or else the length of the longest.
    """
    if out is None:
        longest = max((len(row) for row in ids if row is not None), default=1)
        out = np.empty((len(ids), longest), dtype=np.int64)
    out[:] = pad_id
    for row, values in enumerate(ids):
        if values is not None:
            out[row, : len(values)] = values
    return out


def some_token(modality: TextModality) -> int:
    """An id that every tokenizer of the modality has and that is not padding."""
    return int(modality.pad_id == 0)


# Letters and digits of any script; for English this is [a-z0-9'-]+.
_WORD = re.compile(r"(?:[^\W_]|['-])+")


def label_words(config: Config, extra: Iterable[str] = ()) -> frozenset[str]:
    """Every word that names a label of a task, in singular and plural, plus `extra`; numbers are not among them."""
    words: set[str] = set()
    for task in config.tasks.values():
        names = [*task.labels, *(task.map or {})]
        for name in names:
            words.update(_WORD.findall(name.lower()))
    forms = set(extra)
    for word in words:
        if word.isdigit():
            continue
        stems = {word}
        if word.endswith("s"):
            stems |= {word[:-1], word[:-1] + "'s"}
        if word.endswith("es"):
            stems.add(word[:-2])
        if word.endswith("ies"):
            stems.add(word[:-3] + "y")
        forms |= stems | {stem + "s" for stem in stems}
    return frozenset(forms)


def mask_words(text: str, words: frozenset[str]) -> str:
    """The text in lower case, split into words of letters, digits, ' and -, without the given words."""
    return " ".join(word for word in _WORD.findall(text.lower()) if word not in words)
