"""One golden case, as `golden.json` holds it."""

from __future__ import annotations

import base64

from pydantic import BaseModel, ConfigDict


class GoldenCase(BaseModel):
    """One case: encoded pictures (base64 PNG) and texts in, a digest of the prepared input, and the answers."""

    model_config = ConfigDict(extra="forbid")

    images: dict[str, str]
    texts: dict[str, str]
    prepared: dict[str, str]
    answers: dict[str, list[float]]

    def raw(self) -> dict[str, bytes | str]:
        """The inputs as a client would send them."""
        images = {name: base64.b64decode(content) for name, content in self.images.items()}
        return {**images, **self.texts}
