"""Draws the example pictures: product photos in the catalogue manner, made for this project.

    python examples/draw.py

writes `examples/pictures/*.jpg` (600 by 800 pixels) and the small copies that the page offers as samples.
"""

from __future__ import annotations

from pathlib import Path

from drawing.accessories import backpack, handbag, perfume, sunglasses, watch
from drawing.clothes import dress, shoe, tshirt

PICTURES = Path(__file__).parent / "pictures"
SAMPLES = Path(__file__).parent.parent / "app" / "web" / "static" / "samples"
SAMPLE_WIDTH = 300

DRAWINGS = {
    "tshirt": tshirt,
    "shoe": shoe,
    "handbag": handbag,
    "watch": watch,
    "dress": dress,
    "perfume": perfume,
    "sunglasses": sunglasses,
    "backpack": backpack,
}


def main() -> None:
    """Draw every picture and its small copy."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    SAMPLES.mkdir(parents=True, exist_ok=True)
    for name, drawing in DRAWINGS.items():
        canvas = drawing()
        canvas.save(PICTURES / f"{name}.jpg")
        canvas.save(SAMPLES / f"{name}.jpg", SAMPLE_WIDTH)


if __name__ == "__main__":
    main()
