"""Order of the requests that use a network: one at a time, a few waiting, the rest refused."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from starlette.requests import ClientDisconnect, Request

from harness.core.errors import HarnessError
from harness.deploy.app.limits import MAX_UPLOAD_BYTES, MAX_WAITING, READ_TIMEOUT_S

_Result = TypeVar("_Result")


class RequestError(HarnessError):
    """A request that is refused with a status and one sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        self.status = status
        super().__init__(sentence)


class PredictionQueue:
    """Serialise work on one event loop; places are taken before a body is read."""

    def __init__(self, max_waiting: int = MAX_WAITING) -> None:
        self._max, self._n = max_waiting + 1, 0
        self._lock = asyncio.Lock()

    @asynccontextmanager
    async def admit(self) -> AsyncIterator[None]:
        """Hold a place. Raises RequestError 503 if all are taken."""
        if self._n >= self._max:
            raise RequestError(503, "busy with other images; try again in a few seconds")
        self._n += 1
        try:
            yield
        finally:
            self._n -= 1

    async def run(
        self,
        function: Callable[[], _Result],
        is_abandoned: Callable[[], Awaitable[bool]] | None = None,
    ) -> _Result:
        """Call a function on a thread when all earlier calls have ended.

        Args:
            is_abandoned: asked when the turn has come; True: the browser has left.

        Raises:
            RequestError: 400, abandoned; nobody reads it.
        """
        async with self._lock:
            if is_abandoned is not None and await is_abandoned():
                raise RequestError(400, "abandoned")
            return await asyncio.to_thread(function)


async def read_body(request: Request, max_bytes: int = MAX_UPLOAD_BYTES) -> bytes:
    """Read a body of limited size and speed.

    Raises:
        RequestError: 413 too large, found before or while it is read; 408 too slow; 400 cut off.
    """
    stated = request.headers.get("content-length", "0")
    if not stated.isdecimal() or int(stated) > max_bytes:
        raise RequestError(413, f"more than {max_bytes // 2**20} MB; use harness predict")
    parts: list[bytes] = []
    n_bytes = 0
    stream = aiter(request.stream())
    try:
        while True:
            part = await asyncio.wait_for(anext(stream, None), READ_TIMEOUT_S)
            if part is None:
                return b"".join(parts)
            n_bytes += len(part)
            # A body in chunks states no length.
            if n_bytes > max_bytes:
                raise RequestError(413, f"more than {max_bytes // 2**20} MB; use harness predict")
            parts.append(part)
    except TimeoutError:
        raise RequestError(408, "the upload stopped; try again") from None
    except ClientDisconnect:
        raise RequestError(400, "the upload was cut off; try again") from None
