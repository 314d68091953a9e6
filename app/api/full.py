"""POST /predict told that the service is full, before anything else is done for the request.

Under overload most requests end so. A task, the middleware and a response object for each would take a third of the
event loop's time from those that are answered.
"""

from __future__ import annotations

from collections.abc import Callable

from starlette.responses import Response
from starlette.types import Scope

from app.api import problems
from app.api.envelope import read
from app.api.predict import PATH
from app.api.security import headers_for
from app.serving.pipeline import Pipeline


class Full:
    """Decides by a request's head alone."""

    def __init__(self, pipeline: Pipeline, allows: Callable[[Scope], bool]) -> None:
        """`allows`: whether a request may hear of it; else it goes the usual way."""
        self._pipeline = pipeline
        self._allows = allows

    def __call__(self, scope: Scope) -> Response | None:
        """The same 429 that a sound request would get the usual way; None for one that has to go it.

        Those are requests that find room, and such whose body the server may not drop, since the connection stays. What
        else may be wrong with a request's head is not looked for: it hears of that when there is room.
        """
        if scope["path"] != PATH or scope["method"] != "POST" or not self._pipeline.full:
            return None
        request_id, _, droppable = read(scope["headers"])
        if not droppable or not self._allows(scope):
            return None
        refusal = self._pipeline.refusal()
        if refusal is None:
            return None
        answer = problems.response(refusal, request_id.decode())
        answer.raw_headers += [*headers_for(PATH), (b"x-request-id", request_id)]
        return answer
