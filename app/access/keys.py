"""An API key: made at random, shown once, kept as a hash.

A key is `tl_ID_SECRET`. The id is no secret: it finds the key's record, so that one comparison is enough, and it is
the key's place in the table of `app.access.usage`. The secret holds 256 random bits, so it can be neither guessed nor
found by hashing candidates, however fast the hash is: SHA-256 is as safe here as the slow hashes that passwords of
people's own choice need, and does not cost each request a tenth of a second.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Collection, Iterable
from datetime import UTC, datetime
from functools import cached_property
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Scope = Literal["predict", "admin"]

PLACES = 4096  # ids that there are, and so the most keys of a service
_SECRET_BYTES = 32
_PREFIX = "tl_"
_ID_DIGITS = 3
_LENGTH = len(_PREFIX) + _ID_DIGITS + 1 + 43  # 32 bytes are 43 letters in base64
# Compared with where no record has the id, so that the answer takes as long.
_NOBODY = secrets.token_bytes(32)


class Key(BaseModel):
    """What is kept of a key: enough to know it again, not enough to use it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Annotated[str, Field(pattern=rf"^[0-9a-f]{{{_ID_DIGITS}}}$")]
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    scopes: Annotated[frozenset[Scope], Field(min_length=1)] = frozenset({"predict"})
    rate: Annotated[float | None, Field(gt=0, le=1e6, allow_inf_nan=False)] = None  # requests a second
    concurrent: Annotated[int | None, Field(ge=1, le=1_000_000)] = None  # requests at a time
    created: datetime

    @cached_property
    def digest(self) -> bytes:
        """The hash as bytes."""
        return bytes.fromhex(self.sha256)

    @cached_property
    def place(self) -> int:
        """The id as a number below PLACES."""
        return int(self.id, 16)


def make_key(
    name: str, taken: Collection[str], scopes: Iterable[Scope], rate: float | None, concurrent: int | None
) -> tuple[str, Key]:
    """A new key as its user gets it, and the record to keep. `taken`: ids of other keys.

    Raises ValueError (pydantic's) for a name, rate or number that a record cannot have.
    """
    id = secrets.choice([id for id in (f"{place:0{_ID_DIGITS}x}" for place in range(PLACES)) if id not in taken])
    text = f"{_PREFIX}{id}_{secrets.token_urlsafe(_SECRET_BYTES)}"
    return text, Key(
        id=id,
        name=name,
        sha256=hashlib.sha256(text.encode()).hexdigest(),
        scopes=frozenset(scopes),
        rate=rate,
        concurrent=concurrent,
        created=datetime.now(UTC).replace(microsecond=0),
    )


class KeyRing:
    """The keys that are valid now."""

    def __init__(self, keys: Iterable[Key] = ()) -> None:
        """Hold these keys, whose ids differ."""
        self._by_id = {key.id: key for key in keys}

    def __len__(self) -> int:
        return len(self._by_id)

    def find(self, presented: str) -> Key | None:
        """The record of a key as its user presents it; None for anything else. The comparison takes constant time."""
        if len(presented) != _LENGTH or not presented.startswith(_PREFIX):
            return None
        key = self._by_id.get(presented[len(_PREFIX) : len(_PREFIX) + _ID_DIGITS])
        digest = hashlib.sha256(presented.encode("utf-8", "surrogatepass")).digest()
        same = hmac.compare_digest(digest, _NOBODY if key is None else key.digest)
        return key if same else None
