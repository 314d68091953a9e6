"""How long an upload may take: within the request's deadline, and no slower than a client's connection ever is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType

from app.errors import DeadlineExceeded, ServiceError, TooSlow

SLOWEST = 4096  # bytes a second


class Upload:
    """A body while it arrives: `async with` it, and tell it what has come."""

    def __init__(self, seconds: float, patience: float, on_size: Callable[[int], None]) -> None:
        """`seconds` until the deadline. `patience`: seconds for the upload, and one more for each 4 KiB that came.

        `on_size` hears how many bytes have come so far.
        """
        self._patience = patience
        self._on_size = on_size
        self._size = 0
        self._error: ServiceError | None = None
        self._began = asyncio.get_running_loop().time()
        self._deadline = self._began + seconds
        self._timeout = asyncio.timeout_at(min(self._deadline, self._began + patience))

    def arrived(self, size: int) -> None:
        """So many bytes have come, in all. Raises what `on_size` raises."""
        self._size = size
        self._on_size(size)
        if self._timeout.when() != self._deadline and self._error is None:
            self._timeout.reschedule(min(self._deadline, self._began + self._patience + size / SLOWEST))

    def give_up(self, error: ServiceError) -> None:
        """Wait no longer, and raise `error`."""
        self._error = error
        self._timeout.reschedule(asyncio.get_running_loop().time())

    async def __aenter__(self) -> Upload:
        """Wait from now on."""
        await self._timeout.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Raises DeadlineExceeded, TooSlow, or what was said in `give_up`, where the upload was given up."""
        try:
            await self._timeout.__aexit__(kind, error, trace)
        except TimeoutError:
            if self._error is not None:
                raise self._error from None
            if self._timeout.when() == self._deadline:
                raise DeadlineExceeded("The upload did not end before its deadline.") from None
            seconds = asyncio.get_running_loop().time() - self._began
            told = f"The upload has brought {self._size} bytes in {seconds:.0f} seconds"
            raise TooSlow(f"{told}; send faster, or a smaller picture.") from None
