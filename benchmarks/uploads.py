"""What the benchmarks upload: pictures of catalogue size with titles of mixed length, made from a seed.

    python -m benchmarks.uploads --count 256 --out benchmarks/.cache/uploads

Each picture is a product, enlarged to about 800×1000 pixels and given the detail that enlarging lacks: weave and grain
at several scales, more on the product than on the light ground behind it. How much is chosen so that the file has a
size drawn from `FILE_BYTES`, since the cost of decoding a JPEG follows its bytes. The products are the pictures of
`examples/pictures`, moved and recoloured; `--images` enlarges photos of a folder or a zip file instead, which are
never kept in the repository. No two pictures are the same.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

ROOT = Path(__file__).resolve().parent.parent
PICTURES = ROOT / "examples" / "pictures"

SIZE = (800, 1000)  # width and height, each ± 5 %
FILE_BYTES = (60_000, 150_000)
QUALITIES = (85, 88)
TITLE_WORDS = (1, 30)
_RECIPE = 2  # of what is drawn here; another number makes what is cached stale

_BRANDS = "Alder Birchway Cobalt Dunmore Eastfold Fernhill Greyling Harrow Ivory Juniper Kestrel Linden Marlow".split()
_PEOPLE = "Men Women Boys Girls Unisex Kids".split()
_COLOURS = "Black White Navy Blue Red Green Brown Grey Pink Purple Beige Yellow Silver Gold Olive Maroon".split()
_PRODUCTS = {
    "tshirt": "T-shirt", "shoe": "Sports Shoes", "handbag": "Handbag", "watch": "Watch", "dress": "Dress",
    "perfume": "Perfume", "sunglasses": "Sunglasses", "backpack": "Backpack",
}  # fmt: skip
_WORDS = (
    "printed striped solid checked casual formal classic slim regular fit cotton leather denim canvas mesh round neck "
    "polo collar sleeve long short lightweight breathable with two pockets and zip closure for everyday wear summer "
    "collection limited edition soft lining adjustable strap water resistant stainless steel dial pack of three"
).split()


@dataclass(frozen=True)
class Upload:
    """One request's inputs: a JPEG file's bytes and a title."""

    image: bytes
    title: str


def default_cache() -> Path:
    """$TRUNKLINE_CACHE/uploads, else benchmarks/.cache/uploads."""
    return Path(os.environ.get("TRUNKLINE_CACHE", ROOT / "benchmarks" / ".cache")) / "uploads"


def load(count: int, seed: int = 0, images: Path | None = None, cache: Path | None = None) -> list[Upload]:
    """The uploads of a seed, from the cache where they are there. `images`: a folder or a zip file of photos."""
    source = PICTURES if images is None else images
    key = f"{_RECIPE} {count} {seed} {source if images else ''} {Image.__version__} {np.__version__}"
    folder = (cache or default_cache()) / hashlib.sha256(key.encode()).hexdigest()[:12]
    manifest = folder / "titles.json"
    if not manifest.exists():
        folder.mkdir(parents=True, exist_ok=True)
        titles = []
        for number, upload in enumerate(make(count, seed, images)):
            (folder / f"{number:05d}.jpg").write_bytes(upload.image)
            titles.append(upload.title)
        manifest.write_text(json.dumps(titles, indent=0))  # last, so that half a cache is none
    titles = json.loads(manifest.read_text())
    return [Upload((folder / f"{number:05d}.jpg").read_bytes(), title) for number, title in enumerate(titles)]


def make(count: int, seed: int = 0, images: Path | None = None) -> Iterator[Upload]:
    """Draw uploads one by one; the same from the same seed. Raises ValueError where `images` holds no picture."""
    pictures = dict(_pictures(PICTURES if images is None else images, count, seed))
    if not pictures:
        raise ValueError(f"{images}: no .jpg or .png file in it")
    names = list(pictures)
    grain = _Grain(np.random.default_rng([seed, 0]))
    for number in range(count):
        generator = np.random.default_rng([seed, 1, number])
        name = names[number % len(names)]
        with Image.open(io.BytesIO(pictures[name])) as picture:
            product = picture.convert("RGB")
        if images is None:
            product = _vary(product, generator)
        yield Upload(_enlarge(product, grain, generator), title(generator, _PRODUCTS.get(Path(name).stem, "Product")))


def title(generator: np.random.Generator, product: str) -> str:
    """A catalogue title of `TITLE_WORDS` words, short ones as likely as long ones."""
    count = int(generator.integers(TITLE_WORDS[0], TITLE_WORDS[1] + 1))
    lead = [str(generator.choice(words)) for words in (_BRANDS, _PEOPLE, _COLOURS)] + product.split()
    lead = lead if count >= len(lead) else lead[-count:]
    return " ".join(lead + [str(word) for word in generator.choice(_WORDS, count - len(lead))])


def _pictures(source: Path, count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """At most `count` picture files of a folder or a zip file, drawn from the seed."""
    suffixes = (".jpg", ".jpeg", ".png")
    archive = zipfile.ZipFile(source) if source.is_file() else None
    if archive is not None:
        names = [name for name in archive.namelist() if name.lower().endswith(suffixes)]
    else:
        names = [str(path) for path in source.rglob("*") if path.suffix.lower() in suffixes]
    order = np.random.default_rng([seed, 2]).permutation(len(names))[:count]
    for name in (sorted(names)[index] for index in order):
        yield name, archive.read(name) if archive is not None else Path(name).read_bytes()


def _vary(product: Image.Image, generator: np.random.Generator) -> Image.Image:
    """Turn, shift, mirror and recolour a drawn product on its light ground."""
    if generator.random() < 0.5:
        product = ImageOps.mirror(product)
    shift = tuple(int(value) for value in generator.integers(-30, 31, 2))
    ground = product.getpixel((2, 2))
    product = product.rotate(
        float(generator.uniform(-9, 9)), Image.Resampling.BICUBIC, translate=shift, fillcolor=ground
    )
    values = np.asarray(product, dtype=np.float32)
    # Mixing channels by a matrix with rows that sum to 1 changes every colour and leaves greys and whites as they are.
    mixing = generator.dirichlet((1.0, 1.0, 1.0), 3).astype(np.float32)
    return Image.fromarray((values @ mixing.T).clip(0, 255).astype(np.uint8))


class _Grain:
    """Textures as large as any upload, made once: noise at five scales and weaves of several pitches."""

    def __init__(self, generator: np.random.Generator) -> None:
        width, height = SIZE[0] * 5 // 4, SIZE[1] * 5 // 4
        self.fields = []
        for _ in range(4):
            field = np.zeros((height, width), dtype=np.float32)
            for octave, weight in enumerate((0.5, 0.9, 1.0, 0.9, 0.8)):
                shape = (height >> octave, width >> octave)
                coarse = Image.fromarray(generator.standard_normal(shape, dtype=np.float32))
                field += weight * np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))
            self.fields.append(field / field.std())
        y, x = np.mgrid[0:height, 0:width].astype(np.float32)
        self.weaves = [np.sin(x * (6.283 / p)) * np.sin((x + 2 * y) * (3.1416 / p)) for p in (3.7, 5.3, 8.9)]

    def cut(self, size: tuple[int, int], generator: np.random.Generator) -> NDArray[np.float32]:
        """A piece [height, width, 3] that no other picture has, with a standard deviation near 1."""
        pieces = []
        for field in (*generator.permutation(len(self.fields))[:2], -1):
            whole = self.fields[field] if field >= 0 else self.weaves[int(generator.integers(len(self.weaves)))]
            top = int(generator.integers(whole.shape[0] - size[1] + 1))
            left = int(generator.integers(whole.shape[1] - size[0] + 1))
            pieces.append(whole[top : top + size[1], left : left + size[0], None])
        tint = generator.normal(0.0, 0.15, (1, 1, 3)).astype(np.float32)
        return pieces[0] + tint * pieces[1] + np.float32(generator.uniform(0.0, 0.6)) * pieces[2]


def _enlarge(product: Image.Image, grain: _Grain, generator: np.random.Generator) -> bytes:
    """A JPEG file of the product at catalogue size, its detail as strong as its drawn number of bytes takes."""
    size = (int(SIZE[0] * generator.uniform(0.95, 1.05)), int(SIZE[1] * generator.uniform(0.95, 1.05)))
    quality = int(generator.integers(QUALITIES[0], QUALITIES[1] + 1))
    wanted = generator.uniform(FILE_BYTES[0] * 1.08, FILE_BYTES[1] * 0.94)
    picture = ImageOps.pad(product, size, Image.Resampling.LANCZOS, color=product.getpixel((2, 2)))
    values = np.asarray(picture, dtype=np.float32)
    # Detail follows the product: full where it is darker or more colourful than the ground, a trace of it elsewhere.
    ink = np.clip((250.0 - values.min(axis=2, keepdims=True)) / 60.0, 0.06, 1.0)
    detail = grain.cut(size, generator) * ink
    low, high = 0.0, 48.0
    for _ in range(8):
        strength = (low + high) / 2
        buffer = io.BytesIO()
        Image.fromarray((values + strength * detail).clip(0, 255).astype(np.uint8)).save(
            buffer, "JPEG", quality=quality
        )
        if abs(buffer.tell() - wanted) < 0.03 * wanted:
            break
        low, high = (strength, high) if buffer.tell() < wanted else (low, strength)
    return buffer.getvalue()


def main() -> None:
    """Make the uploads of a seed and say how large they are."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=256)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--images", type=Path, help="a folder or a zip file of photos to enlarge instead of drawings")
    parser.add_argument(
        "--out", type=Path, help="the folder that caches them; $TRUNKLINE_CACHE/uploads or benchmarks/.cache/uploads"
    )
    arguments = parser.parse_args()
    uploads = load(arguments.count, arguments.seed, arguments.images, arguments.out)
    sizes = np.array([len(upload.image) for upload in uploads]) / 1000
    words = [len(upload.title.split()) for upload in uploads]
    print(
        f"{len(uploads)} uploads, {sizes.min():.0f} to {sizes.max():.0f} kB (mean {sizes.mean():.0f}), "
        f"titles of {min(words)} to {max(words)} words"
    )


if __name__ == "__main__":
    main()
