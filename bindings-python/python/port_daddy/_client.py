"""The client whose calls block."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
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
    held,
    lease_lost,
    lost,
    reason,
    reopen,
    unpicklable,
)
from ._types import (
    Activity,
    Check,
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

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

if TYPE_CHECKING:
    Files = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


class Lock(_native.Guard):
    """A lock that is held. It is made by `PortDaddy.lock`, and held until it is released, its client is closed, its TTL
    ends, or the process does; being forgotten doesn't release it. As a context manager it is released at the block's end.

    It isn't held against everything: a TTL or `pd unlock --force` end the lease. Pass the `token` to whatever the lock
    protects, so that it can refuse a holder whose lease has ended.
    """

    __slots__ = ()

    def extend(self, ttl: timedelta | float) -> LockInfo:
        """Ends the lease this many seconds (or a timedelta) from now.

        Raises LeaseLostError if it is no longer this one's, InvalidError, ClosedError, Store…Error.
        """
        try:
            return self._client.extend_lock(self.name, ttl, token=self.token)
        except PortDaddyError as error:
            raise lost(error, self.name, self.token) from None

    def info(self) -> LockInfo:
        """The lock as everyone sees it.

        Raises LeaseLostError if it is no longer this one's, ClosedError, Store…Error.
        """
        info = self._client.lock_info(self.name)
        if info is None or info.token != self.token:
            raise lease_lost(self.name, self.token)
        return info

    def __repr__(self) -> str:
        return f"<Lock {self.name!r} token={self.token}{' released' if self.released else ''}>"

    def __reduce__(self) -> Any:
        raise unpicklable(self, "pass its name and token on, and take it where it is needed")


def give_back(client: PortDaddy, name: str, grants: list[tuple[int, str]]) -> None:
    """Releases what nobody will: the exception that goes on says more than that of the release, or was there already."""
    for token, chain in grants:
        try:
            _native.Guard(client, name, token, chain).release()
        except PortDaddyError:
            pass


class LockBlock(_native.GuardBlock):
    """Takes a lock for a block, or for each call of the function that it decorates. It is made by
    `PortDaddy.with_lock`, and can be used again and again."""

    __slots__ = ("_client", "_name", "_options")

    def __init__(self, client: PortDaddy, name: str, options: dict[str, Any]) -> None:
        self._client = client
        self._name = name
        self._options = options

    def __enter__(self) -> Lock:
        # As in `PortDaddy.lock`: what is granted is found again, wherever Ctrl-C comes.
        grants: list[tuple[int, str]] = []
        try:
            grant = self._client._lock(self._name, **self._options, chain=_context.chain(), grants=grants)
            if grant is None:
                raise held(self._name, self._client.lock_info(self._name))
            lock = Lock(self._client, self._name, *grant)
            self._hold(lock)
            return lock
        except BaseException:
            give_back(self._client, self._name, grants)
            raise

    def __call__(self, function: F) -> F:
        @wraps(function)
        def under_lock(*args: Any, **kwargs: Any) -> Any:
            with LockBlock(self._client, self._name, self._options):
                return function(*args, **kwargs)

        return under_lock  # type: ignore[return-value]

    def __reduce__(self) -> Any:
        raise unpicklable(self, "make it where it is needed")


class Follow(Generic[T]):
    """Entries as they are written: those that are there, then each new one. It is made by `PortDaddy.follow_notes` and
    `PortDaddy.follow_activity`, and is an iterator; a context manager closes it."""

    __slots__ = ("_stream", "_timeout")

    def __init__(self, stream: _native.Stream, timeout: timedelta | float | None) -> None:
        self._stream = stream
        self._timeout = timeout

    def next(self, *, timeout: timedelta | float | None = None) -> T | None:
        """The next one: at once, or once it comes, or None when `timeout` (seconds or a timedelta) has passed without one,
        or the stream was closed. It waits for ever without one.

        Raises InvalidError while another thread waits, and what the stream fails with.
        """
        patience = Patience(timeout)
        while True:
            item = self._stream._take()
            if item is None:
                if self._stream.closed or not self._stream._read(patience.left()):
                    return None
            elif (own := self._own(item)) is not None:
                return own

    def _own(self, item: Any) -> T | None:
        own: T = item
        return own

    def close(self) -> None:
        """Ends it, also while another thread waits for its next item. A second call does nothing. Raises Store…Error."""
        self._stream._close()

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._stream.closed

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        item = self.next(timeout=self._timeout)
        if item is None:
            raise StopIteration
        return item

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> Any:
        raise unpicklable(self, "make one where it is read")


class Subscription(Follow[Delivery]):
    """A stream of messages. It is made by `PortDaddy.subscribe`, and goes on until it is closed, fails, or its client is
    closed. It is an iterator of `Delivery`, and reads only when it is asked for the next; threads may share one, each
    message going to one of them, but one at a time waits."""

    __slots__ = ("_client", "_on_warning")

    def __init__(
        self,
        client: PortDaddy,
        stream: _native.Stream,
        timeout: timedelta | float | None,
        on_warning: Callable[[Warning], object] | None,
    ) -> None:
        super().__init__(stream, timeout)
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

    def ack(self, seq: int | Delivery) -> None:
        """Stores that everything up to `seq` was handled, for a durable subscription: the next one of that name goes on
        after it. Never moves back.

        Raises InvalidError for a subscription without a durable name, ClosedError, Store…Error.
        """
        self._stream._ack(seq.seq if isinstance(seq, Delivery) else seq)


class SessionBlock:
    """A session for a block: started at its beginning, ended at its end, as completed, or as abandoned with the exception
    as its last note. It is made by `PortDaddy.session`."""

    __slots__ = ("_client", "_options", "_purpose", "_started")

    def __init__(self, client: PortDaddy, purpose: str, options: dict[str, Any]) -> None:
        self._client = client
        self._purpose = purpose
        self._options = options
        self._started: StartedSession | None = None

    @property
    def started(self) -> StartedSession:
        """The session as it began, what it claimed, and what others have claimed."""
        if self._started is None:
            raise NoSessionError("the session has not begun", hint="enter it: with pd.session(…) as session")
        return self._started

    @property
    def id(self) -> str:
        """Its id."""
        return self.started.session.id

    @property
    def conflicts(self) -> tuple[Conflict, ...]:
        """Overlaps with the claims of living agents. Their patterns are claimed only by force."""
        return self.started.conflicts

    def note(self, text: str, *, type: str | None = None) -> WrittenNote:
        """Writes a note in this session, as `PortDaddy.note` does."""
        return self._client.note(text, type=type, session=self.id)

    def claim_files(self, files: Files, *, force: bool = False) -> ClaimedFiles:
        """Claims files for this session, as `PortDaddy.claim_files` does."""
        return self._client.claim_files(files, force=force, session=self.id)

    def release_files(self, files: Files | None = None) -> tuple[FileClaim, ...]:
        """Gives claims of this session up, as `PortDaddy.release_files` does."""
        return self._client.release_files(files, session=self.id)

    def set_phase(self, phase: str) -> Session:
        """Says what this session is doing now."""
        return self._client.set_phase(phase, session=self.id)

    def end(self, note: str | None = None) -> Session:
        """Ends it as completed before the block ends."""
        return self._client.end_session(note, session=self.id)

    def __enter__(self) -> Self:
        self._started = self._client.start_session(self._purpose, **self._options)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None or ended_well(error):
                self._client.end_session(session=self.id)
            else:
                self._client.end_session(reason(error), session=self.id, status="abandoned")
        except NoSessionError:
            # It was ended in the block.
            pass
        except PortDaddyError:
            # The block's own failure says more than that of the end.
            if error is None:
                raise

    def __reduce__(self) -> Any:
        raise unpicklable(self, "pass its id on, and name it as session=…")


class PortDaddy(Notices, _native.Client):
    """A client of the shared database, for one caller in one scope. Its calls block until they are done, without the GIL; any
    number of threads may share one, and a wait in one of them keeps no other from being served.

    While it is open it proves its agent's life. A process that ends in order releases what its clients hold; one that is
    killed, or ends by an exception that nobody catches, is found dead at once. As a context manager it is closed at the
    block's end, and abandoned, as by a crash, where the block ends by an exception.

    Besides what each method says, every one raises InvalidError for an argument that breaks a rule, TypeError for one of
    another type, ClosedError after `close`, and a StoreBusyError and the like where the database can't be used. Ctrl-C ends
    any wait for others, and for the store to write to, within 100 ms, and nothing of it is left behind. What gives back
    (`release`, `close`, the end of a block) and opening are not interrupted: where another process holds the store they take
    five seconds at most. Times are aware datetimes; durations are seconds or timedeltas.

    A client that was made before a fork may be used after it, in the parent and in the child, where it opens a handle of its
    own at its first call and proves the same agent's life. Pickled, it is opened anew where it is unpickled.

    >>> pd = PortDaddy("backend-builder")
    >>> started = pd.start_session("Building the payment API", files=["src/api/payments/*"])
    >>> with pd.lock("db-migrations") as lock:
    ...     migrate(token=lock.token)
    >>> port = pd.claim("payments:api").port
    >>> pd.publish("payments:api", {"status": "healthy", "port": port})
    >>> pd.end_session("Payment API complete")
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
        """Opens the database, creating it and its directory where needed.

        `agent_id`: who calls; without it the environment is asked, else the client is an agent of its own. `session`: the
        one that calls belong to, by id or unique prefix; without it the agent's newest active one. `db`: the file; without
        it `PORT_DADDY_DB`, else the user's state directory. `scope`: by name, shared by all who name it; without it
        `PORT_DADDY_SCOPE`, else the repository of `cwd`; with `global_scope` that of everything outside repositories.
        `cwd`: where relative paths start; without it the process's working directory. `on_notice`: called with what the
        caller should be told and hasn't asked for; without it that waits for `take_notices`.

        Raises InvalidError, AmbiguousError where the surroundings name two callers, SecondCopyError, Store…Error.
        """
        check_callable("on_notice", on_notice)
        self = super().__new__(cls, agent_id, session=session, db=db, scope=scope, global_scope=global_scope, cwd=cwd)
        self._keep_notices(on_notice)
        return self

    def close(self) -> None:
        """Lets go in order: releases what this handle holds, withdraws its proof of life and closes the database. Waits in
        other threads end with ClosedError. A second close does nothing."""
        self._end(True)

    def abandon(self) -> None:
        """Ends the handle as the death of its process would: nothing is withdrawn, and others see at once that it is
        gone."""
        self._end(False)

    @overload
    def session(
        self,
        purpose: str,
        *,
        files: Files | None = None,
        force: bool = False,
        phase: str | None = None,
        identity: str | None = None,
    ) -> SessionBlock: ...
    @overload
    def session(self, *, id: str) -> SessionDetail: ...
    def session(
        self,
        purpose: str | None = None,
        *,
        files: Any = None,
        force: bool = False,
        phase: str | None = None,
        identity: str | None = None,
        id: str | None = None,
    ) -> SessionBlock | SessionDetail:
        """One session, in whatever scope, with its claims and notes. Any unique prefix of its id will do, with or without
        `session-`: `session(id="session-ab3")`.

        With a purpose instead it is a context manager for a session of its own: started at the block's beginning, as
        `start_session` does, and ended at its end, as completed, or as abandoned with the exception as its last note.

        >>> with pd.session("Building the payment API", files=["src/api/payments/*"]) as session:
        ...     session.note("Created POST /api/payments", type="commit")

        Raises NotFoundError, AmbiguousError, Store…Error; entered, what start_session raises.
        """
        if (purpose is None) == (id is None):
            raise TypeError("session() takes a purpose, to start one for a block, or id=…, to look at one")
        if id is not None:
            if files is not None or force or phase is not None or identity is not None:
                raise TypeError("session(id=…) looks at a session: files, force, phase and identity start one")
            return self._session(id)
        assert purpose is not None
        return SessionBlock(self, purpose, {"files": files, "force": force, "phase": phase, "identity": identity})

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
    ) -> Follow[Note]:
        """Gives the notes that `notes` would give, then each new one as it is written. The loop ends when it is closed, or
        `timeout` (seconds or a timedelta) has passed without one.

        >>> for note in pd.follow_notes(type="blocker"):
        ...     print(note.agent_name, note.text)

        Raises what notes raises.
        """
        _native._seconds(timeout)
        stream = self._follow_notes(
            limit=limit,
            session=session,
            agent=agent,
            type=type,
            project=project,
            since=since,
            grep=grep,
            all=all,
            after_seq=after_seq,
        )
        return Follow(stream, timeout)

    def follow_inbox(self, *, timeout: timedelta | float | None = None) -> Follow[DirectMessage]:
        """Gives the caller's messages that were not shown yet, then each new one as it is sent. None is marked as
        shown: that is for `inbox_shown`. Meanwhile those who send learn that the caller is woken. The loop ends when it is
        closed, or `timeout` (seconds or a timedelta) has passed without one.

        >>> for message in pd.follow_inbox():
        ...     print(message.sender_name, message.text)
        ...     pd.inbox_shown(message.seq)

        Raises NoAgentError, Store…Error.
        """
        _native._seconds(timeout)
        return Follow(self._follow_inbox(), timeout)

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
    ) -> Follow[Activity]:
        """Gives each entry in order, first the newest ones as `activity` lists them (with `after_seq` all that came after
        it), then each new one once it is committed. The loop ends when it is closed, or `timeout` (seconds or a
        timedelta) has passed without one.

        Raises what activity raises.
        """
        _native._seconds(timeout)
        stream = self._follow_activity(limit=limit, type=type, agent=agent, since=since, all=all, after_seq=after_seq)
        return Follow(stream, timeout)

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
    ) -> Subscription:
        """Subscribes to channels. They are names, or patterns where `*` is any run of characters; a comma separates several.
        It begins with the newest message of each matching channel that is at most 24 hours old (`replay`: "latest"), with
        nothing ("none"), with all that is stored ("all") or with all after a seq, and goes on with what is published;
        nothing is lost or doubled between.

        The loop over it ends when it is closed, or `timeout` (seconds or a timedelta) has passed without a message. Under
        the name `durable` its position is kept, and moved by `Subscription.ack`. A warning (why the wait may be in vain, or
        incomplete) goes to `on_warning`, else to the client's notices. `purpose` is for others to read.

        >>> for message in pd.subscribe("payments:*", timeout=30):
        ...     print(message.channel, message.payload)

        Raises InvalidError, Store…Error; while it is read DeadlockError and OwnerGoneError where `fail_on_deadlock` and
        `fail_if_gone` ask for them.
        """
        check_callable("on_warning", on_warning)
        _native._seconds(timeout)
        stream = self._subscribe(
            patterns,
            replay=replay,
            durable=durable,
            fail_on_deadlock=fail_on_deadlock,
            fail_if_gone=fail_if_gone,
            purpose=purpose,
        )
        return Subscription(self, stream, timeout, on_warning)

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
    ) -> Lock: ...
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
    ) -> Lock | None: ...
    def lock(
        self,
        name: str,
        *,
        blocking: bool = True,
        timeout: timedelta | float | None = None,
        ttl: timedelta | float | None = None,
        purpose: str | None = None,
        on_wait: Callable[[LockInfo], object] | None = None,
    ) -> Lock | None:
        """Takes a lock: waits for it, or gives none where it is held and the options say not to wait. It waits for ever, or
        `timeout`. With `ttl` the lease ends that long after the grant, whatever its holder does. `purpose` is what others
        read while they wait; `on_wait` is called once, when the wait begins, with who holds it. Durations are seconds or
        timedeltas.

        Not reentrant: a second call by the same agent waits like anyone's.

        >>> with pd.lock("db-migrations") as lock:
        ...     migrate(token=lock.token)
        >>> lock = pd.lock("db-migrations", blocking=False)
        >>> if lock is None:
        ...     print("Migrations already running, skipping")

        Raises NoAgentError, InvalidError, TimedOutError, DeadlockError (with the cycle), also for a wait in a block that
        holds the lock already; Store…Error.
        """
        # Ctrl-C may come between the grant and the moment at which it has a name here: it is put where it is found again.
        grants: list[tuple[int, str]] = []
        try:
            grant = self._lock(
                name,
                blocking=blocking,
                timeout=timeout,
                ttl=ttl,
                purpose=purpose,
                on_wait=on_wait,
                chain=_context.chain(),
                grants=grants,
            )
            return None if grant is None else Lock(self, name, *grant)
        except BaseException:
            give_back(self, name, grants)
            raise

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
    ) -> LockBlock: ...
    @overload
    def with_lock(
        self,
        name: str,
        fn: Callable[[int], T],
        *,
        blocking: bool = True,
        timeout: timedelta | float | None = None,
        ttl: timedelta | float | None = None,
        purpose: str | None = None,
        on_wait: Callable[[LockInfo], object] | None = None,
    ) -> T: ...
    def with_lock(
        self,
        name: str,
        fn: Callable[[int], T] | None = None,
        *,
        blocking: bool = True,
        timeout: timedelta | float | None = None,
        ttl: timedelta | float | None = None,
        purpose: str | None = None,
        on_wait: Callable[[LockInfo], object] | None = None,
    ) -> LockBlock | T:
        """Waits for a lock, runs `fn` with its fencing token, and releases it, also when `fn` raises. Gives what `fn` gives.

        Without `fn` it is a context manager and a decorator that take the lock for each block and each call.

        >>> pd.with_lock("db-migrations", lambda token: migrate(token=token))
        >>> @pd.with_lock("db-migrations")
        ... def migrate(): ...

        Raises what `fn` raises and what lock raises; LockHeldError where `blocking` is false and it is held; LeaseLostError
        if the lease ended meanwhile.
        """
        options = {"blocking": blocking, "timeout": timeout, "ttl": ttl, "purpose": purpose, "on_wait": on_wait}
        block = LockBlock(self, name, options)
        if fn is None:
            return block
        check_callable("fn", fn)
        with block as lock:
            return fn(lock.token)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end(error is None or isinstance(error, (SystemExit, GeneratorExit)))

    def __repr__(self) -> str:
        return f"<PortDaddy agent={self.agent_id!r} db={self.db!r}{' closed' if self.closed else ''}>"

    def __reduce__(self) -> Any:
        if self.closed:
            raise unpicklable(self, "it was closed")
        return reopen, (type(self), self._reopening())


def doctor(
    agent_id: str | None = None,
    *,
    session: str | None = None,
    db: str | os.PathLike[str] | None = None,
    scope: str | None = None,
    global_scope: bool = False,
    cwd: str | os.PathLike[str] | None = None,
) -> tuple[Check, ...]:
    """What `PortDaddy.doctor` finds for a client that would be made with these arguments: also where it can't be made, which
    is then one of the answers."""
    return _native._doctor(agent_id, session=session, db=db, scope=scope, global_scope=global_scope, cwd=cwd)
