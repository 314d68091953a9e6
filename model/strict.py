"""The base of everything that a config document describes."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator


class Strict(BaseModel):
    """An immutable part of a document, which refuses fields that it does not have and says which it has."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _known_fields(cls, value: Any) -> Any:
        # Pydantic's own message for a misspelt field does not say which fields there are.
        if isinstance(value, dict):
            unknown = [repr(name) for name in value if name not in cls.model_fields]
            if unknown:
                raise ValueError(f"no field {', '.join(unknown)}; the fields are {', '.join(cls.model_fields)}")
        return value
