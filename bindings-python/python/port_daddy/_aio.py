"""How a coroutine of an `AsyncPortDaddy` runs its native call."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._async_client import AsyncPortDaddy


async def settle(client: AsyncPortDaddy, pending: Any, told: Any) -> Any:
    """Begins the call, and waits for its end. Cancelled, a call that waits is given up, and nothing is left of it once this
    is over; any other may have done what it does."""
    loop = asyncio.get_running_loop()
    future = loop.create_future()
    call = client._begin(pending, loop, future, told)
    try:
        return await future
    except asyncio.CancelledError:
        ended = loop.create_future()
        if call._cancel(ended):
            try:
                await ended
            except Exception:
                # It ended as what is cancelled ends.
                pass
        raise
    except GeneratorExit:
        # Nobody goes on with this: a task that was collected, a loop that was closed.
        call._cancel()
        raise
    finally:
        notices = client._library_notices()
        if notices:
            client._tell(notices)
