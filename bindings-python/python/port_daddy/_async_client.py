"""The client whose operations are coroutines."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator, Sequence
from datetime import datetime, timedelta
from functools import wraps
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, overload

from . import _context, _native
from ._error import PortDaddyError
from ._errors import NoSessionError
from ._shared import (
    Notices,
    Patience,
    check_callable,
    ended_well,
    forked,
    held,
    lease_lost,
    lost,
    reason,
    reopen,
    unpicklable,
)
from ._types import (
    Activity,
    ClaimedFiles,
    Conflict,
    Delivery,
    DirectMessage,
    FileClaim,
    LockInfo,
    Note,
    Session,
    SessionDetail,
    StartedSession,
    Warning,
    WrittenNote,
)

if TYPE_CHECKING:
    from typing_extensions import Self

    Files = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Coroutine[Any, Any, Any]])


class AsyncLock:
    """A lock that is held, as `Lock` is. It is made by `AsyncPortDaddy.lock`; an `async with` releases it."""

    __slots__ = ("_chain", "_client", "_pid", "_released", "_standing", "name", "token")

    name: str
    """Its name."""
    token: int
    """The fencing token: greater than that of every grant of any lock before, and below 2 ** 53."""

    def __init__(self, client: AsyncPortDaddy, name: str, token: int, chain: str) -> None:
        self.name = name
        self.token = token
        self._client = client
        self._chain = chain
        self._released = False
        self._standing: _context.Standing | None = None
        self._pid = os.getpid()

    async def release(self) -> None:
        """Releases it, and hands it to the next in line. A second call does nothing. It is released even where the caller
        is cancelled meanwhile.

        Raises LeaseLostError if it was no longer this one's, ForkedError in a forked child, ClosedError, Store…Error; after
        the last it may be tried again.
        """
        if self._released:
            return
        if os.getpid() != self._pid:
            raise forked(self.name)
        self._released = True
        try:
            await self._client._release_lock(self.name, self.token)
        except PortDaddyError as error:
            self._released = not error.code.startswith("STORE_")
            raise

    async def extend(self, ttl: timedelta | float) -> LockInfo:
        """Ends the lease this many seconds (or a timedelta) from now.

        Raises LeaseLostError if it is no longer this one's, InvalidError, ClosedError, Store…Error.
        """
        try:
            return await self._client.extend_lock(self.name, ttl, token=self.token)
        except PortDaddyError as error:
            raise lost(error, self.name, self.token) from None

    async def info(self) -> LockInfo:
        """The lock as everyone sees it.

        Raises LeaseLostError if it is no longer this one's, ClosedError, Store…Error.
        """
        info = await self._client.lock_info(self.name)
        if info is None or info.token != self.token:
            raise lease_lost(self.name, self.token)
        return info

    async def __aenter__(self) -> Self:
        self._standing = _context.enter(self._chain)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._standing is not None:
            _context.leave(self._standing)
            self._standing = None
        if os.getpid() != self._pid:
            return
        try:
            await self.release()
        except PortDaddyError:
            # The block's own failure says more than that of the release.
            if error is None:
                raise

    def __repr__(self) -> str:
        return f"<AsyncLock {self.name!r} token={self.token}{' released' if self._released else ''}>"

    def __reduce__(self) -> Any:
        raise unpicklable(self, "pass its name and token on, and take it where it is needed")


L = TypeVar("L", AsyncLock, "AsyncLock | None")


class Taking(Generic[L]):
    """A lock that is about to be taken: `await` it, or enter it with `async with`."""

    __slots__ = ("_client", "_lock", "_name", "_options")

    def __init__(self, client: AsyncPortDaddy, name: str, options: dict[str, Any]) -> None:
        self._client = client
        self._name = name
        self._options = options
        self._lock: AsyncLock | None = None

    async def _take(self) -> Any:
        # The task may be cancelled between the grant and the moment at which it goes on: it finds it here.
        grants: list[tuple[int, str]] = []
        try:
            # The locks that are stood under are those of the task that waits.
            grant = await self._client._lock(self._name, **self._options, chain=_context.chain(), grants=grants)
            return None if grant is None else AsyncLock(self._client, self._name, *grant)
        except GeneratorExit:
            for token, _ in grants:
                self._client._give_back(self._name, token)
            raise
        except BaseException:
            for token, _ in grants:
                await self._client._release_lock(self._name, token)
            raise

    def __await__(self) -> Generator[Any, Any, L]:
        return self._take().__await__()

    async def __aenter__(self) -> AsyncLock:
        lock: AsyncLock | None = await self._take()
        if lock is None:
            raise held(self._name, await self._client.lock_info(self._name))
        self._lock = await lock.__aenter__()
        return self._lock

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._lock is not None:
            await self._lock.__aexit__(kind, error, trace)

    def __reduce__(self) -> Any:
        raise unpicklable(self, "take the lock where it is needed")


class AsyncLockBlock:
    """Takes a lock for a block, or for each call of the coroutine function that it decorates. It is made by
    `AsyncPortDaddy.with_lock`, and can be used again and again."""

    __slots__ = ("_client", "_held", "_name", "_options")

    def __init__(self, client: AsyncPortDaddy, name: str, options: dict[str, Any]) -> None:
        self._client = client
        self._name = name
        self._options = options
        self._held: list[AsyncLock] = []

    async def __aenter__(self) -> AsyncLock:
        lock = await Taking[AsyncLock](self._client, self._name, self._options).__aenter__()
        # It is exclusive: one at a time.
        self._held.append(lock)
        return lock

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._held.pop().__aexit__(kind, error, trace)

    def __call__(self, function: F) -> F:
        @wraps(function)
        async def under_lock(*args: Any, **kwargs: Any) -> Any:
            async with AsyncLockBlock(self._client, self._name, self._options):
                return await function(*args, **kwargs)

        return under_lock  # type: ignore[return-value]

    def __reduce__(self) -> Any:
        raise unpicklable(self, "make it where it is needed")


class AsyncFollow(Generic[T]):
    """Entries as they are written, as `Follow` gives them, for `async for`. It begins when it is first asked, or entered with
    `async with`, which closes it at its end."""

    __slots__ = ("_beginning", "_open", "_stream", "_timeout")

    def __init__(self, begin: Callable[[], Awaitable[_native.AsyncStream]], timeout: timedelta | float | None) -> None:
        self._open = begin
        self._beginning: asyncio.Lock | None = None
        self._stream: _native.AsyncStream | None = None
        self._timeout = timeout

    async def _begin(self) -> _native.AsyncStream:
        if self._stream is None:
            if self._beginning is None:
                self._beginning = asyncio.Lock()
            async with self._beginning:
                if self._stream is None:
                    self._stream = await self._open()
        return self._stream

    async def next(self, *, timeout: timedelta | float | None = None) -> T | None:
        """The next one: at once, or once it comes, or None when `timeout` (seconds or a timedelta) has passed without one,
        or the stream was closed. It waits for ever without one. A caller that is cancelled takes nothing with it.

        Raises InvalidError while another task waits, and what the stream fails with.
        """
        patience = Patience(timeout)
        stream = await self._begin()
        while True:
            item = stream._take()
            if item is None:
                if stream.closed or not await stream._read(patience.left()):
                    return None
            elif (own := self._own(item)) is not None:
                return own

    def _own(self, item: Any) -> T | None:
        own: T = item
        return own

    async def close(self) -> None:
        """Ends it, also while another task waits for its next item. A second call does nothing. Raises Store…Error."""
        stream = await self._begin()
        await stream._close()

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._stream is not None and self._stream.closed

    def __aiter__(self) -> AsyncIterator[T]:
        return self

    async def __anext__(self) -> T:
        item = await self.next(timeout=self._timeout)
        if item is None:
            raise StopAsyncIteration
        return item

    async def __aenter__(self) -> Self:
        await self._begin()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __reduce__(self) -> Any:
        raise unpicklable(self, "make one where it is read")


class AsyncSubscription(AsyncFollow[Delivery]):
    """A stream of messages, as `Subscription` is, for `async for`. Its place is taken when it is first asked, or entered with
    `async with`; what was published before is what `replay` says."""

    __slots__ = ("_client", "_on_warning")

    def __init__(
        self,
        client: AsyncPortDaddy,
        begin: Callable[[], Awaitable[_native.AsyncStream]],
        timeout: timedelta | float | None,
        on_warning: Callable[[Warning], object] | None,
    ) -> None:
        super().__init__(begin, timeout)
        self._client = client
        self._on_warning = on_warning

    def _own(self, item: Any) -> Delivery | None:
        if isinstance(item, Warning):
            if self._on_warning is None:
                self._client._tell([item.text])
            else:
                self._on_warning(item)
            return None
        delivery: Delivery = item
        return delivery

    async def ack(self, seq: int | Delivery) -> None:
        """Stores that everything up to `seq` was handled, for a durable subscription: the next one of that name goes on
        after it. Never moves back.

        Raises InvalidError for a subscription without a durable name, ClosedError, Store…Error.
        """
        stream = await self._begin()
        await stream._ack(seq.seq if isinstance(seq, Delivery) else seq)


class AsyncSessionBlock:
    """A session for an `async with` block, as `SessionBlock` is for a block. It is made by `AsyncPortDaddy.session`; awaited
    with `id`, it is that session's detail."""

    __slots__ = ("_client", "_options", "_purpose", "_started")

    def __init__(self, client: AsyncPortDaddy, purpose: str, options: dict[str, Any]) -> None:
        self._client = client
        self._purpose = purpose
        self._options = options
        self._started: StartedSession | None = None

    @property
    def started(self) -> StartedSession:
        """The session as it began, what it claimed, and what others have claimed."""
        if self._started is None:
            raise NoSessionError("the session has not begun", hint="enter it: async with pd.session(…) as session")
        return self._started

    @property
    def id(self) -> str:
        """Its id."""
        return self.started.session.id

    @property
    def conflicts(self) -> tuple[Conflict, ...]:
        """Overlaps with the claims of living agents. Their patterns are claimed only by force."""
        return self.started.conflicts

    async def note(self, text: str, *, type: str | None = None) -> WrittenNote:
        """Writes a note in this session, as `AsyncPortDaddy.note` does."""
        return await self._client.note(text, type=type, session=self.id)

    async def claim_files(self, files: Files, *, force: bool = False) -> ClaimedFiles:
        """Claims files for this session, as `AsyncPortDaddy.claim_files` does."""
        return await self._client.claim_files(files, force=force, session=self.id)

    async def release_files(self, files: Files | None = None) -> tuple[FileClaim, ...]:
        """Gives claims of this session up, as `AsyncPortDaddy.release_files` does."""
        return await self._client.release_files(files, session=self.id)

    async def set_phase(self, phase: str) -> Session:
        """Says what this session is doing now."""
        return await self._client.set_phase(phase, session=self.id)

    async def end(self, note: str | None = None) -> Session:
        """Ends it as completed before the block ends."""
        return await self._client.end_session(note, session=self.id)

    async def __aenter__(self) -> Self:
        self._started = await self._client.start_session(self._purpose, **self._options)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None or ended_well(error):
                await self._client.end_session(session=self.id)
            else:
                await self._client.end_session(reason(error), session=self.id, status="abandoned")
        except NoSessionError:
            # It was ended in the block.
            pass
        except PortDaddyError:
            # The block's own failure says more than that of the end.
            if error is None:
                raise

    def __reduce__(self) -> Any:
        raise unpicklable(self, "pass its id on, and name it as session=…")


class AsyncPortDaddy(Notices, _native.AsyncClient):
    """A client of the shared database for asyncio: what `PortDaddy` does, with coroutines. Calls begin in the order in which
    they are awaited, on a thread of the client's; what waits costs no thread. It belongs to one event loop at a time.

    Making one never blocks: the database is opened by the first call, which raises if that fails, or by `async with`.
    A call that is cancelled while it waits (for a lock, a signal, a service, a message) leaves nothing behind: no place in
    a queue, no lock, no message lost. Any other call that is cancelled may have done what it does.

    >>> async with AsyncPortDaddy("test-writer") as pd:
    ...     async with pd.lock("db-migrations") as lock:
    ...         await migrate(token=lock.token)
    ...     async for message in pd.subscribe("payments:*", timeout=30):
    ...         print(message.channel, message.payload)
    """

    def __new__(
        cls,
        agent_id: str | None = None,
        *,
        session: str | None = None,
        db: str | os.PathLike[str] | None = None,
        scope: str | None = None,
        global_scope: bool = False,
        cwd: str | os.PathLike[str] | None = None,
        on_notice: Callable[[str], object] | None = None,
    ) -> Self:
        """Makes a client, which is opened by its first call. The arguments are those of `PortDaddy`.

        Raises InvalidError for a scope and global_scope at once.
        """
        check_callable("on_notice", on_notice)
        self = super().__new__(cls, agent_id, session=session, db=db, scope=scope, global_scope=global_scope, cwd=cwd)
        self._keep_notices(on_notice)
        return self

    async def close(self) -> None:
        """Lets go in order: releases what this handle holds, withdraws its proof of life and closes the database. Waits in
        other tasks end with ClosedError. A second close does nothing."""
        await self._end_and_stop(True)

    async def abandon(self) -> None:
        """Ends the handle as the death of its process would: nothing is withdrawn, and others see at once that it is
        gone."""
        await self._end_and_stop(False)

    async def _end_and_stop(self, in_order: bool) -> None:
        if not self.closed:
            await self._end(in_order)
            self._stop()

    @overload
    def session(
        self,
        purpose: str,
        *,
        files: Files | None = None,
        force: bool = False,
        phase: str | None = None,
        identity: str | None = None,
    ) -> AsyncSessionBlock: ...
    @overload
    def session(self, *, id: str) -> Coroutine[Any, Any, SessionDetail]: ...
    def session(
        self,
        purpose: str | None = None,
        *,
        files: Any = None,
        force: bool = False,
        phase: str | None = None,
        identity: str | None = None,
        id: str | None = None,
    ) -> AsyncSessionBlock | Coroutine[Any, Any, SessionDetail]:
        """One session, in whatever scope, with its claims and notes. Any unique prefix of its id will do, with or without
        `session-`: `await pd.session(id="session-ab3")`.

        With a purpose instead it is an asynchronous context manager for a session of its own: started at the block's
        beginning, as `start_session` does, and ended at its end, as completed, or as abandoned with the exception as its
        last note.

        Raises NotFoundError, AmbiguousError, Store…Error; entered, what start_session raises.
        """
        if (purpose is None) == (id is None):
            raise TypeError("session() takes a purpose, to start one for a block, or id=…, to look at one")
        if id is not None:
            if files is not None or force or phase is not None or identity is not None:
                raise TypeError("session(id=…) looks at a session: files, force, phase and identity start one")
            return self._session(id)
        assert purpose is not None
        return AsyncSessionBlock(self, purpose, {"files": files, "force": force, "phase": phase, "identity": identity})

    def follow_notes(
        self,
        *,
        limit: int | None = None,
        session: str | None = None,
        agent: str | None = None,
        type: str | None = None,
        project: str | None = None,
        since: datetime | None = None,
        grep: str | None = None,
        all: bool = False,
        after_seq: int | None = None,
        timeout: timedelta | float | None = None,
    ) -> AsyncFollow[Note]:
        """Gives the notes that `notes` would give, then each new one as it is written, to `async for`. The loop ends when it
        is closed, or `timeout` (seconds or a timedelta) has passed without one.

        Raises what notes raises, when it is first asked.
        """
        _native._seconds(timeout)
        return AsyncFollow(
            lambda: self._follow_notes(
                limit=limit,
                session=session,
                agent=agent,
                type=type,
                project=project,
                since=since,
                grep=grep,
                all=all,
                after_seq=after_seq,
            ),
            timeout,
        )

    def follow_inbox(self, *, timeout: timedelta | float | None = None) -> AsyncFollow[DirectMessage]:
        """Gives the caller's messages that were not shown yet, then each new one as it is sent, to `async for`. None is marked as
        shown: that is for `inbox_shown`. Meanwhile those who send learn that the caller is woken. The loop ends when it is
        closed, or `timeout` (seconds or a timedelta) has passed without one.

        Raises NoAgentError, Store…Error, when it is first asked.
        """
        _native._seconds(timeout)
        return AsyncFollow(self._follow_inbox, timeout)

    def follow_activity(
        self,
        *,
        limit: int | None = None,
        type: str | None = None,
        agent: str | None = None,
        since: datetime | None = None,
        all: bool = False,
        after_seq: int | None = None,
        timeout: timedelta | float | None = None,
    ) -> AsyncFollow[Activity]:
        """Gives each entry in order, first the newest ones as `activity` lists them (with `after_seq` all that came after
        it), then each new one once it is committed, to `async for`. The loop ends when it is closed, or `timeout` (seconds
        or a timedelta) has passed without one.

        Raises what activity raises, when it is first asked.
        """
        _native._seconds(timeout)
        return AsyncFollow(
            lambda: self._follow_activity(
                limit=limit, type=type, agent=agent, since=since, all=all, after_seq=after_seq
            ),
            timeout,
        )

    def subscribe(
        self,
        patterns: str | Sequence[str],
        *,
        timeout: timedelta | float | None = None,
        replay: Literal["latest", "none", "all"] | int | None = None,
        durable: str | None = None,
        fail_on_deadlock: bool = False,
        fail_if_gone: bool = False,
        purpose: str | None = None,
        on_warning: Callable[[Warning], object] | None = None,
    ) -> AsyncSubscription:
        """Subscribes to channels, as `PortDaddy.subscribe` does, for `async for`. Its place is taken when it is first asked
        for a message, or entered with `async with`; what it fails with, whoever asks it gets.

        >>> async for message in pd.subscribe("payments:*", timeout=30):
        ...     print(message.channel, message.payload)
        """
        check_callable("on_warning", on_warning)
        _native._seconds(timeout)
        return AsyncSubscription(
            self,
            lambda: self._subscribe(
                patterns,
                replay=replay,
                durable=durable,
                fail_on_deadlock=fail_on_deadlock,
                fail_if_gone=fail_if_gone,
                purpose=purpose,
            ),
            timeout,
            on_warning,
        )

    @overload
    def lock(
        self,
        name: str,
        *,
        blocking: Literal[True] = True,
        timeout: timedelta | float | None = None,
        ttl: timedelta | float | None = None,
        purpose: str | None = None,
        on_wait: Callable[[LockInfo], object] | None = None,
    ) -> Taking[AsyncLock]: ...
    @overload
    def lock(
        self,
        name: str,
        *,
        blocking: bool,
        timeout: timedelta | float | None = None,
        ttl: timedelta | float | None = None,
        purpose: str | None = None,
        on_wait: Callable[[LockInfo], object] | None = None,
    ) -> Taking[AsyncLock | None]: ...
    def lock(
        self,
        name: str,
        *,
        blocking: bool = True,
        timeout: timedelta | float | None = None,
        ttl: timedelta | float | None = None,
        purpose: str | None = None,
        on_wait: Callable[[LockInfo], object] | None = None,
    ) -> Any:
        """Takes a lock, as `PortDaddy.lock` does: `await` what this gives, or enter it with `async with`.

        >>> async with pd.lock("db-migrations") as lock:
        ...     await migrate(token=lock.token)
        >>> lock = await pd.lock("db-migrations", blocking=False)
        >>> if lock is None:
        ...     print("Migrations already running, skipping")

        Raises what `PortDaddy.lock` raises; LockHeldError where it is entered, `blocking` is false and it is held.
        """
        options = {"blocking": blocking, "timeout": timeout, "ttl": ttl, "purpose": purpose, "on_wait": on_wait}
        return Taking(self, name, options)

    @overload
    def with_lock(
        self,
        name: str,
        fn: None = None,
        *,
        blocking: bool = True,
        timeout: timedelta | float | None = None,
        ttl: timedelta | float | None = None,
        purpose: str | None = None,
        on_wait: Callable[[LockInfo], object] | None = None,
    ) -> AsyncLockBlock: ...
    @overload
    def with_lock(
        self,
        name: str,
        fn: Callable[[int], Awaitable[T]],
        *,
        blocking: bool = True,
        timeout: timedelta | float | None = None,
        ttl: timedelta | float | None = None,
        purpose: str | None = None,
        on_wait: Callable[[LockInfo], object] | None = None,
    ) -> Coroutine[Any, Any, T]: ...
    def with_lock(
        self,
        name: str,
        fn: Callable[[int], Awaitable[T]] | None = None,
        *,
        blocking: bool = True,
        timeout: timedelta | float | None = None,
        ttl: timedelta | float | None = None,
        purpose: str | None = None,
        on_wait: Callable[[LockInfo], object] | None = None,
    ) -> AsyncLockBlock | Coroutine[Any, Any, T]:
        """Waits for a lock, runs `fn` with its fencing token, and releases it, also when `fn` raises. Gives what `fn` gives.

        Without `fn` it is an asynchronous context manager, and a decorator of coroutine functions, that take the lock for
        each block and each call.

        Raises what `PortDaddy.with_lock` raises.
        """
        options = {"blocking": blocking, "timeout": timeout, "ttl": ttl, "purpose": purpose, "on_wait": on_wait}
        block = AsyncLockBlock(self, name, options)
        if fn is None:
            return block
        check_callable("fn", fn)
        return _under(block, fn)

    async def __aenter__(self) -> Self:
        await self.whoami()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._end_and_stop(error is None or isinstance(error, (SystemExit, GeneratorExit)))

    def __repr__(self) -> str:
        return f"<AsyncPortDaddy agent={self.agent_id!r} db={self.db!r}{' closed' if self.closed else ''}>"

    def __reduce__(self) -> Any:
        if self.closed:
            raise unpicklable(self, "it was closed")
        return reopen, (type(self), self._reopening())


async def _under(block: AsyncLockBlock, fn: Callable[[int], Awaitable[T]]) -> T:
    async with block as lock:
        return await fn(lock.token)
