"""Pictures of what nobody asks a catalogue about: noise, nothing, documents, streets, nature.

All are made in the shape that the modality reads, so that no border gives them away, and from a seed. Nothing is
fetched: the photos are those that scikit-learn brings along, the letters are of Pillow's own font.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from sklearn.datasets import load_sample_images  # type: ignore[import-untyped]

from model.config import ImageModality
from model.preprocess import pixels
from model.unfamiliar.texts import PROSE, windows

_SHORT_SIDE = 240  # pixels of what is drawn, before it is brought to the modality's size
_Draw = Callable[[np.random.Generator, int, int], Image.Image]
_Colour = tuple[int, int, int]


def unfamiliar_pictures(modality: ImageModality, count: int, seed: int = 0) -> dict[str, NDArray[np.uint8]]:
    """`count` pictures of each kind as the network reads them: kind -> uint8 [count, H, W, 3]."""
    scale = _SHORT_SIDE / min(modality.width, modality.height)
    width, height = round(modality.width * scale), round(modality.height * scale)
    generators = np.random.default_rng(seed).spawn(len(_KINDS))
    return {
        kind: np.stack([pixels(draw(generator, width, height), modality) for _ in range(count)])
        for (kind, draw), generator in zip(_KINDS.items(), generators, strict=True)
    }


def _noise(generator: np.random.Generator, width: int, height: int) -> Image.Image:
    """Grains of a random size, uniform or normal, coloured or grey."""
    grain = int(generator.choice([1, 4, 12]))
    shape = (-(-height // grain), -(-width // grain), int(generator.choice([1, 3])))
    if generator.random() < 0.5:
        values = generator.uniform(0, 255, shape)
    else:
        values = generator.normal(generator.uniform(60, 200), generator.uniform(25, 90), shape)
    values = values.repeat(grain, 0).repeat(grain, 1)[:height, :width]
    return _picture(np.broadcast_to(values, (height, width, 3)))


def _blank(generator: np.random.Generator, width: int, height: int) -> Image.Image:
    """One colour, or white or black, with no more than a sensor's noise."""
    chance = generator.random()
    colour = np.array([255.0] * 3 if chance < 0.25 else [0.0] * 3 if chance < 0.4 else generator.uniform(0, 255, 3))
    return _picture(colour + generator.normal(0, generator.choice([0.0, 2.0]), (height, width, 3)))


def _gradient(generator: np.random.Generator, width: int, height: int) -> Image.Image:
    """One colour turning into another, in any direction."""
    return _picture(
        _shade(generator, width, height, generator.uniform(0, 255, (2, 3)), generator.uniform(0, 2 * np.pi))
    )


def _document(generator: np.random.Generator, width: int, height: int) -> Image.Image:
    """A page of printed text in one or two columns, as a scanner sees it: off-white, slightly turned."""
    paper = int(generator.integers(235, 256))
    page = Image.new("RGB", (width, height), (paper, paper, int(generator.integers(225, paper + 1))))
    draw = ImageDraw.Draw(page)
    ink = (int(generator.integers(0, 70)),) * 3
    size = int(generator.integers(7, 17))
    font = ImageFont.load_default(size)
    margin, columns = int(generator.integers(8, 26)), int(generator.integers(1, 3))
    column = (width - margin * (columns + 1)) // columns
    top = margin
    if generator.random() < 0.6:  # a heading
        draw.text((margin, top), windows(PROSE, [4], generator)[0], ink, ImageFont.load_default(2 * size))
        top += 3 * size
    for number in range(columns):
        y, x = top, margin + number * (column + margin)
        while y < height - margin:
            (line,) = windows(PROSE, [30], generator)
            line = line[: max(1, int(len(line) * column / draw.textlength(line, font)))]
            end = generator.random() < 0.15  # of a paragraph
            draw.text((x, y), line[: len(line) // 2] if end else line, ink, font)
            y += round(1.3 * size) + (size if end else 0)
    turned = page.rotate(float(generator.normal(0, 2)), Image.Resampling.BICUBIC, fillcolor=(paper, paper, paper))
    return _sensed(turned, generator)


def _street(generator: np.random.Generator, width: int, height: int) -> Image.Image:
    """A drawn street: sky, houses with windows, a road with its marks, cars, trees, people."""
    horizon = height * generator.uniform(0.4, 0.65)
    sky = np.array([[150, 190, 235], [225, 235, 245]]) * generator.uniform(0.5, 1.05)
    picture = _picture(_shade(generator, width, height, sky, np.pi / 2))
    draw = ImageDraw.Draw(picture)
    left = -generator.uniform(0, 0.2) * width
    while left < width:
        right = left + generator.uniform(0.12, 0.35) * width
        roof = horizon * generator.uniform(0.05, 0.75)
        wall = _colour(generator, 70, 215)
        draw.rectangle((left, roof, right, horizon), wall)
        step, dark = generator.uniform(9, 20), _darker(wall, generator.uniform(0.35, 0.75))
        for y in np.arange(roof + step / 2, horizon - step / 2, step):
            for x in np.arange(left + step / 2, right - step / 2, step):
                draw.rectangle(
                    (x, y, x + step / 2, y + step / 2), dark if generator.random() < 0.8 else (250, 230, 160)
                )
        left = right + generator.choice([0.0, 0.03]) * width
    grey = int(generator.integers(70, 130))
    draw.rectangle((0, horizon, width, height), (grey + 45,) * 3)  # pavement
    middle = width * generator.uniform(0.3, 0.7)
    draw.polygon(
        [(middle - 8, horizon), (middle + 8, horizon), (1.1 * width, height), (-0.1 * width, height)], (grey,) * 3
    )
    for y in np.linspace(horizon, height, 7)[:-1]:  # the middle of the road, nearer and so longer
        near = (y - horizon) / (height - horizon)
        x = middle + (width / 2 - middle) * near
        draw.rectangle((x - 1 - 3 * near, y, x + 1 + 3 * near, y + 2 + 14 * near), (235, 235, 225))
    for _ in range(int(generator.integers(1, 5))):
        _car(draw, generator, width, horizon, height)
    for _ in range(int(generator.integers(0, 4))):
        _tree(draw, generator, width, horizon)
    for _ in range(int(generator.integers(0, 5))):
        _walker(draw, generator, width, horizon, height)
    return _sensed(picture.filter(ImageFilter.GaussianBlur(0.7)), generator)


def _car(draw: ImageDraw.ImageDraw, generator: np.random.Generator, width: int, horizon: float, height: int) -> None:
    near = generator.uniform(0.1, 0.8)
    y, length = horizon + near * (height - horizon), (0.1 + 0.35 * near) * width
    x, paint = generator.uniform(-0.1, 0.9) * width, _colour(generator, 20, 240)
    draw.rounded_rectangle(
        (x + 0.2 * length, y - 0.42 * length, x + 0.8 * length, y - 0.2 * length), 3, _darker(paint, 0.7)
    )
    draw.rectangle((x + 0.27 * length, y - 0.38 * length, x + 0.73 * length, y - 0.24 * length), (60, 75, 90))
    draw.rounded_rectangle((x, y - 0.26 * length, x + length, y - 0.06 * length), 4, paint)
    for wheel in (0.2, 0.8):
        at, radius = x + wheel * length, 0.09 * length
        draw.ellipse((at - radius, y - 2 * radius, at + radius, y), (25, 25, 25))


def _tree(draw: ImageDraw.ImageDraw, generator: np.random.Generator, width: int, horizon: float) -> None:
    x, size = generator.uniform(0, width), generator.uniform(0.06, 0.16) * width
    draw.rectangle((x - size / 8, horizon - 2 * size, x + size / 8, horizon + 3), (90, 65, 45))
    for _ in range(6):
        a, b = x + generator.normal(0, size / 3), horizon - 2 * size + generator.normal(0, size / 3)
        green = _darker((80, 140, 60), generator.uniform(0.6, 1.2))
        draw.ellipse((a - size / 2, b - size / 2, a + size / 2, b + size / 2), green)


def _walker(draw: ImageDraw.ImageDraw, generator: np.random.Generator, width: int, horizon: float, height: int) -> None:
    near = generator.uniform(0, 0.6)
    tall, feet = (0.06 + 0.2 * near) * height, horizon + near * (height - horizon)
    x = generator.uniform(0.02, 0.98) * width
    draw.rectangle((x - tall / 9, feet - 0.5 * tall, x + tall / 9, feet), _colour(generator, 10, 120))
    draw.rectangle((x - tall / 7, feet - 0.85 * tall, x + tall / 7, feet - 0.45 * tall), _colour(generator, 20, 240))
    draw.ellipse((x - tall / 12, feet - tall, x + tall / 12, feet - 0.83 * tall), (200, 160, 130))


def _photo(generator: np.random.Generator, width: int, height: int) -> Image.Image:
    """A part of a photo: a temple by a street, or a flower before leaves; sometimes mirrored, lighter or darker."""
    photo = Image.fromarray(_photos()[int(generator.integers(2))])
    largest = min(photo.width / width, photo.height / height)
    scale = largest * generator.uniform(0.5, 1.0)
    wide, tall = scale * width, scale * height
    left, top = generator.uniform(0, photo.width - wide), generator.uniform(0, photo.height - tall)
    part = photo.resize((width, height), Image.Resampling.BICUBIC, (left, top, left + wide, top + tall))
    values = np.asarray(part, dtype=np.float64) * generator.uniform(0.7, 1.3)
    return _picture(values[:, ::-1] if generator.random() < 0.5 else values)


_KINDS: dict[str, _Draw] = {
    "noise": _noise,
    "blank": _blank,
    "gradient": _gradient,
    "document": _document,
    "street": _street,
    "photo": _photo,
}
_loaded: list[NDArray[np.uint8]] = []


def _photos() -> list[NDArray[np.uint8]]:
    if not _loaded:
        _loaded.extend(load_sample_images().images)
    return _loaded


def _picture(values: NDArray[np.floating]) -> Image.Image:
    return Image.fromarray(np.clip(values, 0, 255).round().astype(np.uint8))


def _shade(
    generator: np.random.Generator, width: int, height: int, ends: NDArray[np.floating], angle: float
) -> NDArray[np.floating]:
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    along = x * np.cos(angle) + y * np.sin(angle)
    along = (along - along.min()) / (along.max() - along.min())
    return np.asarray(ends[0] + along[..., None] * (ends[1] - ends[0]))


def _sensed(picture: Image.Image, generator: np.random.Generator) -> Image.Image:
    """With the noise of a sensor."""
    values = np.asarray(picture, dtype=np.float64)
    return _picture(values + generator.normal(0, generator.uniform(0, 6), values.shape))


def _colour(generator: np.random.Generator, low: int, high: int) -> _Colour:
    red, green, blue = generator.integers(low, high, 3).tolist()
    return red, green, blue


def _darker(colour: _Colour, share: float) -> _Colour:
    red, green, blue = (min(255, round(channel * share)) for channel in colour)
    return red, green, blue
