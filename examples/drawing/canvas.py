"""A small drawing surface on Pillow: smooth outlines, soft shading, clipping, all supersampled.

Coordinates are those of the finished picture, in pixels from its top left corner. An outline is a list of points;
`trace` makes one from the absolute commands of an SVG path (M, L, C, Q, Z).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from PIL import Image, ImageChops, ImageColor, ImageDraw, ImageFilter

Point = tuple[float, float]
Outline = list[Point]
Fill = str | tuple[str, str]

_CURVE_STEPS = 28


def trace(path: str) -> Outline:
    """Follow an SVG path of absolute M, L, C, Q and Z commands and return its points. Raises ValueError on others."""
    words = path.replace(",", " ").split()
    points: Outline = []
    command = ""
    at = 0
    while at < len(words):
        if words[at].isalpha():
            command = words[at]
            at += 1
            if command == "Z":
                points.append(points[0])
                continue
        count = {"M": 1, "L": 1, "Q": 2, "C": 3}.get(command)
        if count is None:
            raise ValueError(f"path command {command!r}: use M, L, C, Q or Z")
        numbers = [float(word) for word in words[at : at + 2 * count]]
        controls = list(zip(numbers[::2], numbers[1::2], strict=True))
        at += 2 * count
        points.extend(controls if count == 1 else _bezier([points[-1], *controls]))
    return points


def _bezier(controls: list[Point]) -> Outline:
    degree = len(controls) - 1
    points = []
    for step in range(1, _CURVE_STEPS + 1):
        t = step / _CURVE_STEPS
        weights = [math.comb(degree, i) * t**i * (1 - t) ** (degree - i) for i in range(degree + 1)]
        points.append(
            (
                sum(w * x for w, (x, _) in zip(weights, controls, strict=True)),
                sum(w * y for w, (_, y) in zip(weights, controls, strict=True)),
            )
        )
    return points


def mirrored(half: Outline, axis: float = 300) -> Outline:
    """Close an outline drawn on one side of a vertical axis with its mirror image."""
    return half + [(2 * axis - x, y) for x, y in reversed(half)]


def flipped(outline: Outline, axis: float = 300) -> Outline:
    """The same outline on the other side of a vertical axis."""
    return [(2 * axis - x, y) for x, y in outline]


def oval(x: float, y: float, rx: float, ry: float | None = None) -> Outline:
    """An ellipse, or a circle where ry is left out, around (x, y)."""
    ry = rx if ry is None else ry
    return [(x + rx * math.cos(2 * math.pi * i / 120), y + ry * math.sin(2 * math.pi * i / 120)) for i in range(121)]


def block(x: float, y: float, width: float, height: float, radius: float = 0) -> Outline:
    """A rectangle with its top left corner at (x, y) and rounded corners."""
    right, bottom, r = x + width, y + height, radius
    return trace(
        f"M {x + r} {y} L {right - r} {y} Q {right} {y} {right} {y + r} L {right} {bottom - r} "
        f"Q {right} {bottom} {right - r} {bottom} L {x + r} {bottom} Q {x} {bottom} {x} {bottom - r} "
        f"L {x} {y + r} Q {x} {y} {x + r} {y} Z"
    )


class Canvas:
    """A white picture to paint on. What is painted is turned by `turn` degrees and zoomed, around the middle."""

    def __init__(self, width: int = 600, height: int = 800, scale: int = 3, turn: float = 0, zoom: float = 1) -> None:
        self._size = (width * scale, height * scale)
        self._scale = scale
        self._stroke = scale * zoom
        self._turn = math.radians(turn)
        self._zoom = zoom
        self._middle = (width / 2, height / 2)
        self._image = Image.new("RGB", self._size, "white")

    def paint(
        self,
        outline: Outline,
        fill: Fill,
        *,
        across: bool = False,
        clip: Outline | None = None,
        blur: float = 0,
        opacity: float = 1,
    ) -> None:
        """Fill an outline with a colour, or with a gradient of two (top to bottom, or left to right if `across`)."""
        mask = self._mask(lambda draw: draw.polygon(self._place(outline), fill=255))
        self._apply(mask, self._colour(outline, fill, across), clip, blur, opacity)

    def line(
        self,
        points: Outline,
        width: float,
        colour: str,
        *,
        clip: Outline | None = None,
        blur: float = 0,
        opacity: float = 1,
        dash: tuple[float, float] | None = None,
    ) -> None:
        """Draw a round-ended stroke along points; `dash` is (length, gap)."""
        pieces = [points] if dash is None else list(_dashes(points, *dash))
        thickness = max(1, round(width * self._stroke))

        def stroke(draw: ImageDraw.ImageDraw) -> None:
            for piece in pieces:
                placed = self._place(piece)
                draw.line(placed, fill=255, width=thickness, joint="curve")
                for x, y in (placed[0], placed[-1]):
                    r = thickness / 2
                    draw.ellipse((x - r, y - r, x + r, y + r), fill=255)

        self._apply(self._mask(stroke), colour, clip, blur, opacity)

    def dots(self, clip: Outline, spacing: float, radius: float, colour: str) -> None:
        """Fill what lies inside `clip` with staggered dots."""
        xs, ys = [x for x, _ in clip], [y for _, y in clip]
        rows = range(int((max(ys) - min(ys)) / spacing) + 1)
        columns = range(int((max(xs) - min(xs)) / spacing) + 2)
        reach = radius * self._stroke

        def all_dots(draw: ImageDraw.ImageDraw) -> None:
            grid = [(min(xs) + (c - r % 2 / 2) * spacing, min(ys) + r * spacing) for r in rows for c in columns]
            for x, y in self._place(grid):
                draw.ellipse((x - reach, y - reach, x + reach, y + reach), fill=255)

        self._apply(self._mask(all_dots), colour, clip, 0, 1)

    def grain(self, clip: Outline, strength: float, *, size: float = 1, seed: int = 0) -> None:
        """Roughen what lies inside `clip`: noise of `strength` grey levels with grains of `size` pixels."""
        step = max(1, round(size * self._scale))
        shape = (self._size[1] // step + 1, self._size[0] // step + 1)
        noise = np.random.default_rng(seed).normal(0, strength, shape)
        spread = np.kron(noise, np.ones((step, step)))[: self._size[1], : self._size[0], None]
        rough = np.clip(np.asarray(self._image, dtype=np.float32) + spread, 0, 255).astype(np.uint8)
        mask = self._mask(lambda draw: draw.polygon(self._place(clip), fill=255))
        self._image = Image.composite(Image.fromarray(rough), self._image, mask)

    def reflect(self, y: float, opacity: float, depth: float) -> None:
        """Mirror what stands above the line y below it, fading out over `depth` pixels."""
        line, reach = round(y * self._scale), round(depth * self._scale)
        above = self._image.crop((0, line - reach, self._size[0], line)).transpose(Image.Transpose.FLIP_TOP_BOTTOM)
        fade = np.linspace(255 * opacity, 0, reach).astype(np.uint8)[:, None].repeat(self._size[0], axis=1)
        self._image.paste(above, (0, line), Image.fromarray(fade))

    def finish(self, width: int | None = None) -> Image.Image:
        """The picture at its own size, or scaled to `width`."""
        w, h = self._size[0] // self._scale, self._size[1] // self._scale
        size = (w, h) if width is None else (width, round(h * width / w))
        return self._image.resize(size, Image.Resampling.LANCZOS)

    def save(self, path: Path, width: int | None = None) -> None:
        """Write the picture as a JPEG."""
        self.finish(width).save(path, "JPEG", quality=88, optimize=True)

    def _place(self, outline: Outline) -> list[Point]:
        cos, sin = math.cos(self._turn) * self._zoom, math.sin(self._turn) * self._zoom
        mx, my = self._middle
        return [
            (
                (mx + (x - mx) * cos - (y - my) * sin) * self._scale,
                (my + (x - mx) * sin + (y - my) * cos) * self._scale,
            )
            for x, y in outline
        ]

    def _mask(self, draw: Callable[[ImageDraw.ImageDraw], None]) -> Image.Image:
        mask = Image.new("L", self._size, 0)
        draw(ImageDraw.Draw(mask))
        return mask

    def _colour(self, outline: Outline, fill: Fill, across: bool) -> str | Image.Image:
        if isinstance(fill, str):
            return fill
        placed = self._place(outline)
        axis = 0 if across else 1
        low, high = min(p[axis] for p in placed), max(p[axis] for p in placed)
        first, last = (np.array(ImageColor.getrgb(colour), dtype=np.float32) for colour in fill)
        share = np.clip((np.arange(self._size[axis]) - low) / max(1, high - low), 0, 1)[:, None]
        ramp = (first + (last - first) * share).astype(np.uint8)
        plane = np.broadcast_to(ramp[None] if across else ramp[:, None], (self._size[1], self._size[0], 3))
        return Image.fromarray(np.ascontiguousarray(plane))

    def _apply(
        self, mask: Image.Image, colour: str | Image.Image, clip: Outline | None, blur: float, opacity: float
    ) -> None:
        if blur:
            mask = mask.filter(ImageFilter.GaussianBlur(blur * self._stroke))
        if clip is not None:
            inside = self._mask(lambda draw: draw.polygon(self._place(clip), fill=255))
            mask = ImageChops.multiply(mask, inside)
        if opacity < 1:
            mask = mask.point(lambda value: value * opacity)
        layer = Image.new("RGB", self._size, colour) if isinstance(colour, str) else colour
        self._image = Image.composite(layer, self._image, mask)


def _dashes(points: Outline, length: float, gap: float) -> Iterable[Outline]:
    """Cut a polyline into dashes of `length` with `gap` between them."""
    piece: Outline = [points[0]]
    left, drawing = length, True
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        span, done = math.hypot(x1 - x0, y1 - y0), 0.0
        while span - done > left:
            done += left
            turn = (x0 + (x1 - x0) * done / span, y0 + (y1 - y0) * done / span)
            if drawing:
                yield [*piece, turn]
            piece, drawing = [turn], not drawing
            left = length if drawing else gap
        left -= span - done
        piece.append((x1, y1))
    if drawing and len(piece) > 1:
        yield piece
