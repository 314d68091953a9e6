"""Ask a running service for every task's answer.

    python examples/client.py --image examples/pictures/shoe.jpg --text "Men White Sports Shoes"
    python examples/client.py --text "Women Red Dress" --tasks articleType,baseColour

Needs httpx. Prints a line a task; exits with 1 and the service's own words when there is no answer. An API key, where
the service asks for one, is read from the environment variable TRUNKLINE_KEY.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

import httpx


def predict(url: str, image: Path | None, text: str | None, tasks: str | None) -> httpx.Response:
    """Post a photo, a text or both as multipart. Raises httpx.HTTPError when the service cannot be reached."""
    # A part with a file name is an upload, one without (None) is a plain field.
    parts: dict[str, tuple[str | None, str | bytes]] = {}
    if image is not None:
        parts["image"] = (image.name, image.read_bytes())
    if text is not None:
        parts["text"] = (None, text)
    if tasks is not None:
        parts["tasks"] = (None, tasks)
    # Not a command-line argument: those are there for every user of the machine to see.
    key = os.environ.get("TRUNKLINE_KEY")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return httpx.post(f"{url}/predict", files=parts, headers=headers, timeout=30)


def line(prediction: dict[str, Any]) -> str:
    """One prediction in words, whatever its kind."""
    match prediction["kind"]:
        case "multiclass" | "binary":
            return f"{prediction['label']} ({prediction['confidence']:.0%})"
        case "multilabel":
            confidences = prediction["confidences"]
            return ", ".join(f"{label} ({confidences[label]:.0%})" for label in prediction["labels"]) or "none"
        case _:
            interval = prediction.get("interval")
            return str(prediction["value"]) + (f" ({interval[0]} to {interval[1]})" if interval else "")


def main() -> None:
    """Read the command line, ask, print."""
    parser = argparse.ArgumentParser(description="Ask a running service for every task's answer.")
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="where the service is (%(default)s)")
    parser.add_argument("--image", type=Path, help="picture file")
    parser.add_argument("--text", help="the text that belongs to it")
    parser.add_argument("--tasks", help="only these tasks, separated by commas")
    given = parser.parse_args()
    try:
        response = predict(given.url, given.image, given.text, given.tasks)
    except (httpx.HTTPError, OSError) as error:
        sys.exit(f"no answer: {error}")
    answer = response.json()
    if response.is_error:
        sys.exit(f"{answer['title']}: {answer['detail']}")
    for task, prediction in answer["predictions"].items():
        print(f"{task}: {line(prediction)}")


if __name__ == "__main__":
    main()
