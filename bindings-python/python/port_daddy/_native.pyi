# Generated from the sources of the binding by `make types`. Don't edit.
"""What is written in Rust."""

import os
from collections.abc import Callable, Coroutine, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal, final

from typing_extensions import Self, disjoint_base

from ._types import (
    ActivityList,
    Agent,
    AgentList,
    BackupMade,
    Briefing,
    ChannelList,
    Check,
    ClaimList,
    ClaimedFiles,
    DirectMessage,
    FileClaim,
    Json,
    LockInfo,
    LockList,
    Message,
    NoteList,
    Ownership,
    PortClaim,
    Published,
    Restored,
    SalvageItem,
    SalvageList,
    Sent,
    ServiceList,
    Session,
    SessionDetail,
    SessionList,
    SessionStatus,
    StartedSession,
    Status,
    Whoami,
    WrittenNote,
)

__all__ = [
    "Pending",
    "Mailbox",
    "Call",
    "Client",
    "AsyncClient",
    "Guard",
    "GuardBlock",
    "Stream",
    "AsyncStream",
    "_seconds",
    "_ready",
    "_error_codes",
    "_error_of",
    "_main_thread",
    "_before_fork",
    "_after_fork_in_parent",
    "_after_fork_in_child",
    "_end_all",
    "_doctor",
    "_version",
]

@final
class Pending:
    """A call that was made and hasn't begun: what a coroutine holds until it is awaited."""

@final
class Mailbox:
    """Where the calls of one client end, on the thread of one event loop."""

    def _leave(self) -> None:
        """Leaves the loop, unless calls go on."""

    def _deliver(self) -> None:
        """Ends the calls whose outcome has come."""

@final
class Call:
    """A call that has begun."""

    def _cancel(self, ended: Any | None = None) -> bool:
        """Gives the call up. If it waits, `ended` is done once nothing of it is left, and this gives true; otherwise
        what it does it may have done.
        """

@disjoint_base
class Client:
    """A client of the shared database whose calls block until they are done."""

    def activity(
        self,
        *,
        limit: int | None = None,
        type: str | None = None,
        agent: str | None = None,
        since: datetime | None = None,
        all: bool = False,
        after_seq: int | None = None,
    ) -> ActivityList:
        """Lists what was done, the newest entries, oldest first. There are at most 50, or `limit`. Only this type (with
        a final dot all that begin so: `lock.`), what this agent did or what happened to it, since this moment, after
        this place; `all` for every scope's.

        Raises InvalidError for a filter that can't match anything, Store…Error.
        """

    def _follow_activity(
        self,
        *,
        limit: int | None = None,
        type: str | None = None,
        agent: str | None = None,
        since: datetime | None = None,
        all: bool = False,
        after_seq: int | None = None,
    ) -> Stream: ...
    def register_agent(
        self,
        *,
        name: str | None = None,
        identity: str | None = None,
        purpose: str | None = None,
        type: str | None = None,
    ) -> Agent:
        """Registers the calling agent, or changes what it said of itself. What is left out keeps what was said before.
        `type` is `ai`, `human`, `ci`, `cli`, or another word.

        Raises NoAgentError, InvalidError, Store…Error.
        """

    def heartbeat(self) -> Agent:
        """Says that the calling agent lives, and promises to go on saying so: from then on, without another proof of
        life, five minutes of silence count as its death. While a client is open, it is such a proof.

        Raises NoAgentError, Store…Error.
        """

    def unregister_agent(self) -> Agent:
        """Says goodbye: releases the locks that the agent holds from the shell, ends its active sessions as abandoned
        and releases their claims; work that it has taken over is left for another. A lock that a client holds stays. A
        later call by the agent brings it back.

        Raises NoAgentError, NotFoundError for an agent that never registered, Store…Error.
        """

    def agents(self, *, all: bool = False, project: str | None = None, left: bool = False) -> AgentList:
        """Lists agents. Whoever is found dead by looking is buried. They are this scope's, or with `all` every scope's;
        with `left` also those that said goodbye, and those dead for more than a day who left nothing unfinished.

        Raises InvalidError for a project that is none, Store…Error.
        """

    def agent(self, id: str) -> Agent:
        """One agent, in whatever scope.

        Raises NotFoundError, InvalidError, Store…Error.
        """

    def begin(
        self,
        purpose: str,
        *,
        name: str | None = None,
        identity: str | None = None,
        type: str | None = None,
        files: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None = None,
        force: bool = False,
        phase: str | None = None,
    ) -> StartedSession:
        """Registers the caller and starts a session, in one call. The purpose and the identity are those of both.

        Raises what register_agent and start_session raise.
        """

    def done(self, note: str | None = None) -> Session:
        """Ends the caller's session as completed, with a last note if one is given.

        Raises what end_session raises.
        """

    def whoami(self) -> Whoami:
        """Who the caller is taken to be, and where it stands. Writes nothing.

        Raises Store…Error.
        """

    def backup(self, file: str | os.PathLike[str], *, force: bool = False) -> BackupMade:
        """Copies the database into `file`, consistent as of one moment while others go on to write: everything
        committed before the call is in it. With `force` it replaces a file that is there.

        Raises InvalidError if the file exists and `force` isn't given, or is part of a database in use; StoreCorruptError if
        the database is damaged; StoreFullError and other Store…Error.
        """

    def restore(self, file: str | os.PathLike[str], *, force: bool = False, keep: bool = True) -> Restored:
        """Replaces what the database holds by what a backup holds, while other processes have it open. They go on with
        what was restored. Locks, waits and living agents stay as they are now, and tokens and positions go on to rise.
        A copy of what was there before is kept beside the database, unless `keep` is false.

        Raises NotOwnerError if living agents hold locks or wait, and `force` isn't given; StoreCorruptError if the file is
        damaged or no backup, or if the database itself is damaged; StoreNewerError; NotFoundError; other Store…Error.
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
    ) -> Self: ...
    @property
    def agent_id(self) -> str | None:
        """The calling agent's id: the one given, found around the process, or made for this client. None before the
        database is open, unless it was given.
        """

    @property
    def db(self) -> str | None:
        """The database file; none before it is open."""

    @property
    def closed(self) -> bool:
        """Whether the client was closed."""

    def _reopening(self) -> dict[str, Any]:
        """What another process needs to open the same database for the same agent: arguments by name."""

    def _library_notices(self) -> list[str]:
        """What the caller should be told and has not asked for, as the library kept it."""

    def _end(self, in_order: bool) -> None:
        """Lets go: in order, or as a crash would."""

    def claim_files(
        self,
        files: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        *,
        force: bool = False,
        session: str | None = None,
    ) -> ClaimedFiles:
        """Claims files for a session. What other sessions have claimed is left alone, unless forced; the rest is
        claimed. Claiming the same pattern again changes nothing. Patterns are relative to the client's directory;
        `path:10-50` claims lines.

        Raises InvalidError for a pattern that is none, or more than 1,000, and nothing is claimed then; NoAgentError,
        NoSessionError, NotFoundError, AmbiguousError, NotOwnerError for another agent's session, Store…Error.
        """

    def release_files(
        self,
        files: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None = None,
        *,
        session: str | None = None,
    ) -> tuple[FileClaim, ...]:
        """Gives claims up: those of the given patterns, or all of the session's where none is given. Lines matter only
        where they are given. What was given up is returned.

        Raises NotFoundError if the session has no such claim, and nothing is given up then; otherwise what claim_files
        raises.
        """

    def file_claims(self, *, all: bool = False, session: str | None = None, agent: str | None = None) -> ClaimList:
        """Lists the claims of active sessions.

        Raises NotFoundError and AmbiguousError for the session, Store…Error.
        """

    def who_owns(self, path: str | os.PathLike[str]) -> Ownership:
        """Which claims cover `path`, in whatever scope. Where it is a directory, also those on something below it.

        Raises InvalidError for a path outside the caller's working tree, Store…Error.
        """

    def send(self, agent: str, text: str) -> Sent:
        """Sends a message to one agent, named by its id; or by a name or identity that one agent has: among those alive
        before others, and among those of the caller's scope before others. Once this returns, it survives a power cut, and
        waits until it is shown, 30 days at most. `reach` of the result says whether the agent will see it.

        Raises InvalidError for a text that breaks a rule (1 byte to 64 KiB); NotFoundError, AmbiguousError for the
        recipient; InboxFullError if 1,000 messages wait for it already; Store…Error.
        """

    def inbox(self) -> tuple[DirectMessage, ...]:
        """The caller's messages that were not shown yet, oldest first; at most 100. Reading marks none as shown: that
        is for `inbox_shown`.

        Raises NoAgentError, Store…Error.
        """

    def inbox_shown(self, seq: int) -> None:
        """Says that the caller's messages up to this place were shown. They are kept for 7 days, the newest 1,000, and
        not given again.

        Raises NoAgentError, Store…Error.
        """

    def direct_messages(self, *, limit: int | None = None) -> tuple[DirectMessage, ...]:
        """The caller's newest messages, shown or not, oldest first. There are at most 20, or `limit`. Marks nothing.

        Raises NoAgentError, Store…Error.
        """

    def _follow_inbox(self) -> Stream: ...
    def _lock(
        self,
        name: str,
        *,
        blocking: bool = True,
        timeout: timedelta | float | None = None,
        ttl: timedelta | float | None = None,
        purpose: str | None = None,
        on_wait: Callable[[Any], object] | None = None,
        chain: str | None = None,
        grants: list[Any] | None = None,
    ) -> tuple[int, str] | None:
        """Takes a lock, and gives its token and the chain that calls under it pass on. They are appended to `grants` as
        well.
        """

    def unlock(self, name: str, *, force: bool = False, token: int | None = None) -> LockInfo:
        """Releases a lock by name: the caller's own, or with `force` anyone's. With `token` it is only that grant.

        Raises NotHeldError if nobody holds it, NotOwnerError if another does, LeaseLostError if `token` is of a grant that
        has ended, NoAgentError, InvalidError, Store…Error.
        """

    def _release_lock(self, name: str, token: int) -> None:
        """Releases one grant."""

    def extend_lock(self, name: str, ttl: timedelta | float, *, token: int | None = None) -> LockInfo:
        """Ends the lease of a lock this long from now, whatever its TTL was. The time is seconds or a timedelta; with
        `token` it is only that grant.

        Raises what unlock raises, and InvalidError for a TTL that isn't positive.
        """

    def locks(self, *, all: bool = False) -> LockList:
        """Lists the held locks and who waits for them. Whoever is found dead by looking is buried.

        Raises Store…Error.
        """

    def lock_info(self, name: str) -> LockInfo | None:
        """The lock of that name in the caller's scope, if it is held.

        Raises InvalidError, Store…Error.
        """

    def publish(
        self,
        channel: str,
        payload: Any,
        *,
        ttl: timedelta | float | None = None,
        keep: int | None = None,
    ) -> Published:
        """Publishes a message: stores it, and wakes whoever waits for its channel. Needs no agent. The payload is any
        JSON value of at most 1 MiB; it is kept for 7 days or `ttl` (seconds or a timedelta), and 10,000 messages or
        `keep` of its channel.

        Raises TypeError for a payload that isn't made of dict, list, tuple, str, int, float, bool and None; InvalidError for
        a channel that is no name, a payload that is too large, nested deeper than 100 or holds what JSON can't (NaN,
        infinity, an int of more than 64 bits), a ttl or number that isn't positive; nothing is stored then. Store…Error.
        """

    def _subscribe(
        self,
        patterns: str | Sequence[str],
        *,
        replay: Literal["latest", "none", "all"] | int | None = None,
        durable: str | None = None,
        fail_on_deadlock: bool = False,
        fail_if_gone: bool = False,
        purpose: str | None = None,
    ) -> Stream: ...
    def wait_for_signal(self, channel: str, *, timeout: timedelta | float | None = None) -> Json:
        """Waits for a channel's signal and gives its payload: at once if the channel's newest message is at most 24
        hours old. It waits for ever, or `timeout` (seconds or a timedelta).

        Raises TimedOutError, InvalidError for a channel that is no name, Store…Error.
        """

    def messages(
        self,
        patterns: str | Sequence[str] | None = None,
        *,
        after_seq: int | None = None,
        limit: int | None = None,
        all: bool = False,
    ) -> tuple[Message, ...]:
        """Lists stored messages, oldest first: the newest, or the first ones after a seq. They are of all channels of
        the scope, or of those that `patterns` names; at most 100, or `limit`.

        Raises InvalidError, Store…Error.
        """

    def channels(self, pattern: str | Sequence[str] | None = None, *, all: bool = False) -> ChannelList:
        """Lists the channels that have messages.

        Raises InvalidError, Store…Error.
        """

    def clear_channel(self, pattern: str | Sequence[str]) -> int:
        """Removes the messages of the caller's scope on these channels: names or patterns, separated by commas. Gives
        how many there were.

        Raises InvalidError, Store…Error.
        """

    def note(self, text: str, *, type: str | None = None, session: str | None = None) -> WrittenNote:
        """Writes a note. Once this returns, it survives a power cut. An agent without an active session gets one, named
        after itself, rather than lose the note. `type` is a slug: `note` unless given, `commit`, `blocker`, `handoff`,
        …

        Raises InvalidError for a text or type that breaks a rule; NoAgentError; for a named session NotFoundError,
        AmbiguousError, NotOwnerError if it is another agent's, NoSessionError if it has ended; Store…Error.
        """

    def notes(
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
    ) -> NoteList:
        """Reads the journal: the newest notes, oldest of them first; with `after_seq` the first ones after that place.
        There are at most 20, or `limit`. Only this session's, this author's (id or name), of this type, of this
        project, since this moment, that hold this text (`grep`, in whatever case); `all` for every scope's.

        Raises InvalidError for a type or project that is none; NotFoundError and AmbiguousError for the session and the
        agent; Store…Error.
        """

    def _follow_notes(
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
    ) -> Stream: ...
    def claim(
        self,
        identity: str,
        *,
        port: int | None = None,
        range: tuple[int, int] | None = None,
        shared: bool = False,
    ) -> PortClaim:
        """Gives an identity its port: the one it has in this working tree, today as yesterday, else the lowest of the
        range that is assigned to nobody, that nothing listens on and that browsers don't block. The range is `range`,
        both ends included, else `PORT_DADDY_RANGE`, else 3100 to 9999. With `port` it is that one and no other; with
        `shared` one port serves all working trees. Needs no agent.

        Raises InvalidError for an identity, port or range that breaks a rule; PortTakenError where the requested port is
        assigned to another or a foreign process listens there; PortsExhaustedError; Store…Error.
        """

    def release(self, pattern: str, *, shared: bool = False, all_worktrees: bool = False) -> tuple[PortClaim, ...]:
        """Gives up the ports of this working tree whose identity is, or matches, `pattern`. With `shared` it is those
        shared by all working trees, with `all_worktrees` those of every working tree, except what another living agent
        has in another.

        Raises InvalidError; NotFoundError where nothing matches; NotOwnerError where all that matches is in other working
        trees and belongs to living agents; Store…Error.
        """

    def services(self, pattern: str | None = None, *, all: bool = False) -> ServiceList:
        """Lists assigned ports, lowest first: this scope's, and all that are shared or of this working tree.

        Raises InvalidError for a pattern that is none, Store…Error.
        """

    def wait_for_service(
        self,
        identities: str | Sequence[str],
        *,
        timeout: timedelta | float | None = None,
    ) -> tuple[PortClaim, ...]:
        """Waits until something listens on the port of each identity: on that of this working tree, else the shared
        one, else the only one in this scope. Identities may get their ports while this waits. It waits for ever, or
        `timeout` (seconds or a timedelta).

        Raises InvalidError; TimedOutError, naming what isn't up; Store…Error.
        """

    def salvage(self, *, project: str | None = None, all: bool = False) -> SalvageList:
        """Lists dead agents with unfinished sessions, and what stands in their working trees now. Takes up to ten
        seconds where git is slow.

        Raises InvalidError for a project that is none, Store…Error.
        """

    def salvage_claim(self, agent: str) -> Briefing:
        """Takes over a dead agent's unfinished sessions with their claims and journal. Of those who try, exactly one
        wins. The decision survives a power cut.

        Raises NoAgentError; NotFoundError for an unknown agent; NotSalvageableError where it lives, is the caller itself,
        left nothing, or was claimed by another; InvalidError; Store…Error.
        """

    def salvage_complete(self, agent: str, note: str | None = None) -> SalvageItem:
        """Says that work taken over is finished: the sessions that came with it and are still active end as completed,
        with `note` in the journal of the newest.

        Raises NoAgentError; NotFoundError where that work is nobody's; NotOwnerError where another took it; InvalidError;
        Store…Error.
        """

    def salvage_abandon(self, agent: str) -> SalvageItem:
        """Gives work taken over back: the sessions that came with it and are still active are the dead agent's again,
        for another to claim.

        Raises what salvage_complete raises.
        """

    def salvage_dismiss(self, agent: str) -> SalvageItem:
        """Gives a dead agent's work up: its sessions end as abandoned and their claims are released.

        Raises NoAgentError; NotFoundError for an unknown agent; NotSalvageableError where it lives, left nothing, or was
        claimed; InvalidError; Store…Error.
        """

    def start_session(
        self,
        purpose: str,
        *,
        files: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None = None,
        force: bool = False,
        phase: str | None = None,
        identity: str | None = None,
    ) -> StartedSession:
        """Starts a session for the calling agent, and claims the files that are free (with `force`, all). It starts
        even if none is: what others have claimed is in `conflicts`.

        Raises InvalidError for a purpose, pattern, phase or identity that breaks a rule, and nothing is stored then;
        NoAgentError, Store…Error.
        """

    def end_session(
        self,
        note: str | None = None,
        *,
        session: str | None = None,
        status: SessionStatus | None = None,
    ) -> Session:
        """Ends a session and releases its claims. It is the caller's newest active one unless named, and completed
        unless `status` is `abandoned`. Once this returns, the end and the last note survive a power cut.

        Raises InvalidError for a note that breaks a rule, and for `active` as the end; NoAgentError; NoSessionError if there
        is none or it has ended already; NotFoundError, AmbiguousError; NotOwnerError for another agent's session;
        Store…Error.
        """

    def sessions(
        self,
        *,
        all: bool = False,
        status: SessionStatus | None = None,
        agent: str | None = None,
        project: str | None = None,
        limit: int | None = None,
    ) -> SessionList:
        """Lists sessions: the newest, oldest of them first. There are at most 50, or `limit`.

        Raises InvalidError for a project that is none, Store…Error.
        """

    def _session(self, id: str) -> SessionDetail:
        """One session, in whatever scope, with its claims and notes. Any unique prefix of its id will do, with or
        without `session-`.

        Raises NotFoundError, AmbiguousError, Store…Error.
        """

    def set_phase(self, phase: str, *, session: str | None = None) -> Session:
        """Says what a session is doing now. The session is the agent's newest active one unless named.

        Raises InvalidError for an empty phase or one over 64 bytes; otherwise what end_session raises.
        """

    def status(self) -> Status:
        """Counts what the database holds, in all scopes. Whoever is found dead by looking is buried.

        Raises Store…Error.
        """

    def doctor(self) -> tuple[Check, ...]:
        """Looks whether all is well: the library, the file, its place, and who the caller is taken to be. Opens the
        database by itself, so that a failure to open it is one of the answers.
        """

class AsyncClient:
    """A client of the shared database whose operations are coroutines."""

    def __new__(
        cls,
        agent_id: str | None = None,
        *,
        session: str | None = None,
        db: str | os.PathLike[str] | None = None,
        scope: str | None = None,
        global_scope: bool = False,
        cwd: str | os.PathLike[str] | None = None,
    ) -> Self: ...
    def _begin(self, pending: Pending, event_loop: Any, future: Any, told: Any | None) -> Call:
        """Begins a call whose outcome is set on `future`; `told` is called with what it tells of its progress."""

    def _give_back(self, name: str, token: int) -> None:
        """Releases one grant, whoever hears of it."""

    def _stop(self) -> None:
        """Ends the client's thread, and its place in the event loop."""

    def activity(
        self,
        *,
        limit: int | None = None,
        type: str | None = None,
        agent: str | None = None,
        since: datetime | None = None,
        all: bool = False,
        after_seq: int | None = None,
    ) -> Coroutine[Any, Any, ActivityList]:
        """Lists what was done, the newest entries, oldest first. There are at most 50, or `limit`. Only this type (with
        a final dot all that begin so: `lock.`), what this agent did or what happened to it, since this moment, after
        this place; `all` for every scope's.

        Raises InvalidError for a filter that can't match anything, Store…Error.
        """

    def _follow_activity(
        self,
        *,
        limit: int | None = None,
        type: str | None = None,
        agent: str | None = None,
        since: datetime | None = None,
        all: bool = False,
        after_seq: int | None = None,
    ) -> Coroutine[Any, Any, AsyncStream]: ...
    def register_agent(
        self,
        *,
        name: str | None = None,
        identity: str | None = None,
        purpose: str | None = None,
        type: str | None = None,
    ) -> Coroutine[Any, Any, Agent]:
        """Registers the calling agent, or changes what it said of itself. What is left out keeps what was said before.
        `type` is `ai`, `human`, `ci`, `cli`, or another word.

        Raises NoAgentError, InvalidError, Store…Error.
        """

    def heartbeat(self) -> Coroutine[Any, Any, Agent]:
        """Says that the calling agent lives, and promises to go on saying so: from then on, without another proof of
        life, five minutes of silence count as its death. While a client is open, it is such a proof.

        Raises NoAgentError, Store…Error.
        """

    def unregister_agent(self) -> Coroutine[Any, Any, Agent]:
        """Says goodbye: releases the locks that the agent holds from the shell, ends its active sessions as abandoned
        and releases their claims; work that it has taken over is left for another. A lock that a client holds stays. A
        later call by the agent brings it back.

        Raises NoAgentError, NotFoundError for an agent that never registered, Store…Error.
        """

    def agents(
        self,
        *,
        all: bool = False,
        project: str | None = None,
        left: bool = False,
    ) -> Coroutine[Any, Any, AgentList]:
        """Lists agents. Whoever is found dead by looking is buried. They are this scope's, or with `all` every scope's;
        with `left` also those that said goodbye, and those dead for more than a day who left nothing unfinished.

        Raises InvalidError for a project that is none, Store…Error.
        """

    def agent(self, id: str) -> Coroutine[Any, Any, Agent]:
        """One agent, in whatever scope.

        Raises NotFoundError, InvalidError, Store…Error.
        """

    def begin(
        self,
        purpose: str,
        *,
        name: str | None = None,
        identity: str | None = None,
        type: str | None = None,
        files: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None = None,
        force: bool = False,
        phase: str | None = None,
    ) -> Coroutine[Any, Any, StartedSession]:
        """Registers the caller and starts a session, in one call. The purpose and the identity are those of both.

        Raises what register_agent and start_session raise.
        """

    def done(self, note: str | None = None) -> Coroutine[Any, Any, Session]:
        """Ends the caller's session as completed, with a last note if one is given.

        Raises what end_session raises.
        """

    def whoami(self) -> Coroutine[Any, Any, Whoami]:
        """Who the caller is taken to be, and where it stands. Writes nothing.

        Raises Store…Error.
        """

    def backup(self, file: str | os.PathLike[str], *, force: bool = False) -> Coroutine[Any, Any, BackupMade]:
        """Copies the database into `file`, consistent as of one moment while others go on to write: everything
        committed before the call is in it. With `force` it replaces a file that is there.

        Raises InvalidError if the file exists and `force` isn't given, or is part of a database in use; StoreCorruptError if
        the database is damaged; StoreFullError and other Store…Error.
        """

    def restore(
        self,
        file: str | os.PathLike[str],
        *,
        force: bool = False,
        keep: bool = True,
    ) -> Coroutine[Any, Any, Restored]:
        """Replaces what the database holds by what a backup holds, while other processes have it open. They go on with
        what was restored. Locks, waits and living agents stay as they are now, and tokens and positions go on to rise.
        A copy of what was there before is kept beside the database, unless `keep` is false.

        Raises NotOwnerError if living agents hold locks or wait, and `force` isn't given; StoreCorruptError if the file is
        damaged or no backup, or if the database itself is damaged; StoreNewerError; NotFoundError; other Store…Error.
        """

    @property
    def agent_id(self) -> str | None:
        """The calling agent's id: the one given, found around the process, or made for this client. None before the
        database is open, unless it was given.
        """

    @property
    def db(self) -> str | None:
        """The database file; none before it is open."""

    @property
    def closed(self) -> bool:
        """Whether the client was closed."""

    def _reopening(self) -> dict[str, Any]:
        """What another process needs to open the same database for the same agent: arguments by name."""

    def _library_notices(self) -> list[str]:
        """What the caller should be told and has not asked for, as the library kept it."""

    def _end(self, in_order: bool) -> Coroutine[Any, Any, None]:
        """Lets go: in order, or as a crash would."""

    def claim_files(
        self,
        files: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        *,
        force: bool = False,
        session: str | None = None,
    ) -> Coroutine[Any, Any, ClaimedFiles]:
        """Claims files for a session. What other sessions have claimed is left alone, unless forced; the rest is
        claimed. Claiming the same pattern again changes nothing. Patterns are relative to the client's directory;
        `path:10-50` claims lines.

        Raises InvalidError for a pattern that is none, or more than 1,000, and nothing is claimed then; NoAgentError,
        NoSessionError, NotFoundError, AmbiguousError, NotOwnerError for another agent's session, Store…Error.
        """

    def release_files(
        self,
        files: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None = None,
        *,
        session: str | None = None,
    ) -> Coroutine[Any, Any, tuple[FileClaim, ...]]:
        """Gives claims up: those of the given patterns, or all of the session's where none is given. Lines matter only
        where they are given. What was given up is returned.

        Raises NotFoundError if the session has no such claim, and nothing is given up then; otherwise what claim_files
        raises.
        """

    def file_claims(
        self,
        *,
        all: bool = False,
        session: str | None = None,
        agent: str | None = None,
    ) -> Coroutine[Any, Any, ClaimList]:
        """Lists the claims of active sessions.

        Raises NotFoundError and AmbiguousError for the session, Store…Error.
        """

    def who_owns(self, path: str | os.PathLike[str]) -> Coroutine[Any, Any, Ownership]:
        """Which claims cover `path`, in whatever scope. Where it is a directory, also those on something below it.

        Raises InvalidError for a path outside the caller's working tree, Store…Error.
        """

    def send(self, agent: str, text: str) -> Coroutine[Any, Any, Sent]:
        """Sends a message to one agent, named by its id; or by a name or identity that one agent has: among those alive
        before others, and among those of the caller's scope before others. Once this returns, it survives a power cut, and
        waits until it is shown, 30 days at most. `reach` of the result says whether the agent will see it.

        Raises InvalidError for a text that breaks a rule (1 byte to 64 KiB); NotFoundError, AmbiguousError for the
        recipient; InboxFullError if 1,000 messages wait for it already; Store…Error.
        """

    def inbox(self) -> Coroutine[Any, Any, tuple[DirectMessage, ...]]:
        """The caller's messages that were not shown yet, oldest first; at most 100. Reading marks none as shown: that
        is for `inbox_shown`.

        Raises NoAgentError, Store…Error.
        """

    def inbox_shown(self, seq: int) -> Coroutine[Any, Any, None]:
        """Says that the caller's messages up to this place were shown. They are kept for 7 days, the newest 1,000, and
        not given again.

        Raises NoAgentError, Store…Error.
        """

    def direct_messages(self, *, limit: int | None = None) -> Coroutine[Any, Any, tuple[DirectMessage, ...]]:
        """The caller's newest messages, shown or not, oldest first. There are at most 20, or `limit`. Marks nothing.

        Raises NoAgentError, Store…Error.
        """

    def _follow_inbox(self) -> Coroutine[Any, Any, AsyncStream]: ...
    def _lock(
        self,
        name: str,
        *,
        blocking: bool = True,
        timeout: timedelta | float | None = None,
        ttl: timedelta | float | None = None,
        purpose: str | None = None,
        on_wait: Callable[[Any], object] | None = None,
        chain: str | None = None,
        grants: list[Any] | None = None,
    ) -> Coroutine[Any, Any, tuple[int, str] | None]:
        """Takes a lock, and gives its token and the chain that calls under it pass on. They are appended to `grants` as
        well.
        """

    def unlock(self, name: str, *, force: bool = False, token: int | None = None) -> Coroutine[Any, Any, LockInfo]:
        """Releases a lock by name: the caller's own, or with `force` anyone's. With `token` it is only that grant.

        Raises NotHeldError if nobody holds it, NotOwnerError if another does, LeaseLostError if `token` is of a grant that
        has ended, NoAgentError, InvalidError, Store…Error.
        """

    def _release_lock(self, name: str, token: int) -> Coroutine[Any, Any, None]:
        """Releases one grant."""

    def extend_lock(
        self,
        name: str,
        ttl: timedelta | float,
        *,
        token: int | None = None,
    ) -> Coroutine[Any, Any, LockInfo]:
        """Ends the lease of a lock this long from now, whatever its TTL was. The time is seconds or a timedelta; with
        `token` it is only that grant.

        Raises what unlock raises, and InvalidError for a TTL that isn't positive.
        """

    def locks(self, *, all: bool = False) -> Coroutine[Any, Any, LockList]:
        """Lists the held locks and who waits for them. Whoever is found dead by looking is buried.

        Raises Store…Error.
        """

    def lock_info(self, name: str) -> Coroutine[Any, Any, LockInfo | None]:
        """The lock of that name in the caller's scope, if it is held.

        Raises InvalidError, Store…Error.
        """

    def publish(
        self,
        channel: str,
        payload: Any,
        *,
        ttl: timedelta | float | None = None,
        keep: int | None = None,
    ) -> Coroutine[Any, Any, Published]:
        """Publishes a message: stores it, and wakes whoever waits for its channel. Needs no agent. The payload is any
        JSON value of at most 1 MiB; it is kept for 7 days or `ttl` (seconds or a timedelta), and 10,000 messages or
        `keep` of its channel.

        Raises TypeError for a payload that isn't made of dict, list, tuple, str, int, float, bool and None; InvalidError for
        a channel that is no name, a payload that is too large, nested deeper than 100 or holds what JSON can't (NaN,
        infinity, an int of more than 64 bits), a ttl or number that isn't positive; nothing is stored then. Store…Error.
        """

    def _subscribe(
        self,
        patterns: str | Sequence[str],
        *,
        replay: Literal["latest", "none", "all"] | int | None = None,
        durable: str | None = None,
        fail_on_deadlock: bool = False,
        fail_if_gone: bool = False,
        purpose: str | None = None,
    ) -> Coroutine[Any, Any, AsyncStream]: ...
    def wait_for_signal(self, channel: str, *, timeout: timedelta | float | None = None) -> Coroutine[Any, Any, Json]:
        """Waits for a channel's signal and gives its payload: at once if the channel's newest message is at most 24
        hours old. It waits for ever, or `timeout` (seconds or a timedelta).

        Raises TimedOutError, InvalidError for a channel that is no name, Store…Error.
        """

    def messages(
        self,
        patterns: str | Sequence[str] | None = None,
        *,
        after_seq: int | None = None,
        limit: int | None = None,
        all: bool = False,
    ) -> Coroutine[Any, Any, tuple[Message, ...]]:
        """Lists stored messages, oldest first: the newest, or the first ones after a seq. They are of all channels of
        the scope, or of those that `patterns` names; at most 100, or `limit`.

        Raises InvalidError, Store…Error.
        """

    def channels(
        self,
        pattern: str | Sequence[str] | None = None,
        *,
        all: bool = False,
    ) -> Coroutine[Any, Any, ChannelList]:
        """Lists the channels that have messages.

        Raises InvalidError, Store…Error.
        """

    def clear_channel(self, pattern: str | Sequence[str]) -> Coroutine[Any, Any, int]:
        """Removes the messages of the caller's scope on these channels: names or patterns, separated by commas. Gives
        how many there were.

        Raises InvalidError, Store…Error.
        """

    def note(
        self,
        text: str,
        *,
        type: str | None = None,
        session: str | None = None,
    ) -> Coroutine[Any, Any, WrittenNote]:
        """Writes a note. Once this returns, it survives a power cut. An agent without an active session gets one, named
        after itself, rather than lose the note. `type` is a slug: `note` unless given, `commit`, `blocker`, `handoff`,
        …

        Raises InvalidError for a text or type that breaks a rule; NoAgentError; for a named session NotFoundError,
        AmbiguousError, NotOwnerError if it is another agent's, NoSessionError if it has ended; Store…Error.
        """

    def notes(
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
    ) -> Coroutine[Any, Any, NoteList]:
        """Reads the journal: the newest notes, oldest of them first; with `after_seq` the first ones after that place.
        There are at most 20, or `limit`. Only this session's, this author's (id or name), of this type, of this
        project, since this moment, that hold this text (`grep`, in whatever case); `all` for every scope's.

        Raises InvalidError for a type or project that is none; NotFoundError and AmbiguousError for the session and the
        agent; Store…Error.
        """

    def _follow_notes(
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
    ) -> Coroutine[Any, Any, AsyncStream]: ...
    def claim(
        self,
        identity: str,
        *,
        port: int | None = None,
        range: tuple[int, int] | None = None,
        shared: bool = False,
    ) -> Coroutine[Any, Any, PortClaim]:
        """Gives an identity its port: the one it has in this working tree, today as yesterday, else the lowest of the
        range that is assigned to nobody, that nothing listens on and that browsers don't block. The range is `range`,
        both ends included, else `PORT_DADDY_RANGE`, else 3100 to 9999. With `port` it is that one and no other; with
        `shared` one port serves all working trees. Needs no agent.

        Raises InvalidError for an identity, port or range that breaks a rule; PortTakenError where the requested port is
        assigned to another or a foreign process listens there; PortsExhaustedError; Store…Error.
        """

    def release(
        self,
        pattern: str,
        *,
        shared: bool = False,
        all_worktrees: bool = False,
    ) -> Coroutine[Any, Any, tuple[PortClaim, ...]]:
        """Gives up the ports of this working tree whose identity is, or matches, `pattern`. With `shared` it is those
        shared by all working trees, with `all_worktrees` those of every working tree, except what another living agent
        has in another.

        Raises InvalidError; NotFoundError where nothing matches; NotOwnerError where all that matches is in other working
        trees and belongs to living agents; Store…Error.
        """

    def services(self, pattern: str | None = None, *, all: bool = False) -> Coroutine[Any, Any, ServiceList]:
        """Lists assigned ports, lowest first: this scope's, and all that are shared or of this working tree.

        Raises InvalidError for a pattern that is none, Store…Error.
        """

    def wait_for_service(
        self,
        identities: str | Sequence[str],
        *,
        timeout: timedelta | float | None = None,
    ) -> Coroutine[Any, Any, tuple[PortClaim, ...]]:
        """Waits until something listens on the port of each identity: on that of this working tree, else the shared
        one, else the only one in this scope. Identities may get their ports while this waits. It waits for ever, or
        `timeout` (seconds or a timedelta).

        Raises InvalidError; TimedOutError, naming what isn't up; Store…Error.
        """

    def salvage(self, *, project: str | None = None, all: bool = False) -> Coroutine[Any, Any, SalvageList]:
        """Lists dead agents with unfinished sessions, and what stands in their working trees now. Takes up to ten
        seconds where git is slow.

        Raises InvalidError for a project that is none, Store…Error.
        """

    def salvage_claim(self, agent: str) -> Coroutine[Any, Any, Briefing]:
        """Takes over a dead agent's unfinished sessions with their claims and journal. Of those who try, exactly one
        wins. The decision survives a power cut.

        Raises NoAgentError; NotFoundError for an unknown agent; NotSalvageableError where it lives, is the caller itself,
        left nothing, or was claimed by another; InvalidError; Store…Error.
        """

    def salvage_complete(self, agent: str, note: str | None = None) -> Coroutine[Any, Any, SalvageItem]:
        """Says that work taken over is finished: the sessions that came with it and are still active end as completed,
        with `note` in the journal of the newest.

        Raises NoAgentError; NotFoundError where that work is nobody's; NotOwnerError where another took it; InvalidError;
        Store…Error.
        """

    def salvage_abandon(self, agent: str) -> Coroutine[Any, Any, SalvageItem]:
        """Gives work taken over back: the sessions that came with it and are still active are the dead agent's again,
        for another to claim.

        Raises what salvage_complete raises.
        """

    def salvage_dismiss(self, agent: str) -> Coroutine[Any, Any, SalvageItem]:
        """Gives a dead agent's work up: its sessions end as abandoned and their claims are released.

        Raises NoAgentError; NotFoundError for an unknown agent; NotSalvageableError where it lives, left nothing, or was
        claimed; InvalidError; Store…Error.
        """

    def start_session(
        self,
        purpose: str,
        *,
        files: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None = None,
        force: bool = False,
        phase: str | None = None,
        identity: str | None = None,
    ) -> Coroutine[Any, Any, StartedSession]:
        """Starts a session for the calling agent, and claims the files that are free (with `force`, all). It starts
        even if none is: what others have claimed is in `conflicts`.

        Raises InvalidError for a purpose, pattern, phase or identity that breaks a rule, and nothing is stored then;
        NoAgentError, Store…Error.
        """

    def end_session(
        self,
        note: str | None = None,
        *,
        session: str | None = None,
        status: SessionStatus | None = None,
    ) -> Coroutine[Any, Any, Session]:
        """Ends a session and releases its claims. It is the caller's newest active one unless named, and completed
        unless `status` is `abandoned`. Once this returns, the end and the last note survive a power cut.

        Raises InvalidError for a note that breaks a rule, and for `active` as the end; NoAgentError; NoSessionError if there
        is none or it has ended already; NotFoundError, AmbiguousError; NotOwnerError for another agent's session;
        Store…Error.
        """

    def sessions(
        self,
        *,
        all: bool = False,
        status: SessionStatus | None = None,
        agent: str | None = None,
        project: str | None = None,
        limit: int | None = None,
    ) -> Coroutine[Any, Any, SessionList]:
        """Lists sessions: the newest, oldest of them first. There are at most 50, or `limit`.

        Raises InvalidError for a project that is none, Store…Error.
        """

    def _session(self, id: str) -> Coroutine[Any, Any, SessionDetail]:
        """One session, in whatever scope, with its claims and notes. Any unique prefix of its id will do, with or
        without `session-`.

        Raises NotFoundError, AmbiguousError, Store…Error.
        """

    def set_phase(self, phase: str, *, session: str | None = None) -> Coroutine[Any, Any, Session]:
        """Says what a session is doing now. The session is the agent's newest active one unless named.

        Raises InvalidError for an empty phase or one over 64 bytes; otherwise what end_session raises.
        """

    def status(self) -> Coroutine[Any, Any, Status]:
        """Counts what the database holds, in all scopes. Whoever is found dead by looking is buried.

        Raises Store…Error.
        """

    def doctor(self) -> Coroutine[Any, Any, tuple[Check, ...]]:
        """Looks whether all is well: the library, the file, its place, and who the caller is taken to be. Opens the
        database by itself, so that a failure to open it is one of the answers.
        """

@disjoint_base
class Guard:
    """One grant of a lock, for a blocking client."""

    def __new__(cls, client: Client, name: str, token: int, chain: str) -> Self: ...
    @property
    def name(self) -> str:
        """Its name."""

    @property
    def token(self) -> int:
        """The fencing token: greater than that of every grant of any lock before, and below 2 ** 53."""

    @property
    def released(self) -> bool:
        """Whether it was released."""

    @property
    def _client(self) -> Client: ...
    def release(self) -> None:
        """Releases it, and hands it to the next in line. A second call does nothing. Ctrl-C doesn't interrupt it.

        Raises LeaseLostError if it was no longer this one's, ForkedError in a forked child, ClosedError, Store…Error; after the
        last it may be tried again.
        """

    def __enter__(self) -> Self: ...
    def __exit__(self, kind: Any | None, error: Any | None, trace: Any | None) -> None: ...

@disjoint_base
class GuardBlock:
    """What takes a lock for each of its blocks, one at a time."""

    def __new__(cls, *_arguments: Any) -> Self: ...
    def _hold(self, guard: Guard) -> None:
        """Enters the block of a lock that was just taken."""

    def __exit__(self, kind: Any | None, error: Any | None, trace: Any | None) -> None: ...

@disjoint_base
class Stream:
    """A stream of a `Client`."""

    def _take(self) -> Any | None:
        """The next item of those at hand, if there is one."""

    def _read(self, timeout: timedelta | float | None = None) -> bool:
        """Waits until something is at hand, and gives whether something is: otherwise the time ran out, or it was
        closed.
        """

    def _ack(self, seq: int) -> None:
        """Stores that everything up to `seq` was handled."""

    def _close(self) -> None:
        """Ends it."""

    @property
    def closed(self) -> bool:
        """Whether it was closed."""

@final
class AsyncStream:
    """A stream of an `AsyncClient`."""

    def _take(self) -> Any | None:
        """The next item of those at hand, if there is one."""

    def _read(self, timeout: timedelta | float | None = None) -> Coroutine[Any, Any, bool]:
        """Waits until something is at hand, and gives whether something is: otherwise the time ran out, or it was
        closed.
        """

    def _ack(self, seq: int) -> Coroutine[Any, Any, None]:
        """Stores that everything up to `seq` was handled."""

    def _close(self) -> Coroutine[Any, Any, None]:
        """Ends it."""

    @property
    def closed(self) -> bool:
        """Whether it was closed."""

def _seconds(timeout: timedelta | float | None = None) -> float | None:
    """How long a wait of several calls may take, in seconds; none for ever."""

def _ready() -> None:
    """Finds the classes while they can be imported: at the interpreter's end nothing can."""

def _error_codes() -> list[str]:
    """Every error code."""

def _error_of(code: str) -> Any:
    """An error of this kind with a field and a cause, for tests of how each is raised."""

def _main_thread(ident: int) -> None:
    """Called when the module is loaded, with the main thread's ident."""

def _before_fork() -> None:
    """Before a fork, in the thread that forks."""

def _after_fork_in_parent() -> None:
    """After a fork, in the parent."""

def _after_fork_in_child() -> None:
    """After a fork, in the child."""

def _end_all(in_order: bool) -> None:
    """At the end of the process: lets go of all that its clients hold, in order or as a crash would."""

def _doctor(
    agent_id: str | None = None,
    *,
    session: str | None = None,
    db: str | os.PathLike[str] | None = None,
    scope: str | None = None,
    global_scope: bool = False,
    cwd: str | os.PathLike[str] | None = None,
) -> tuple[Check, ...]:
    """What `PortDaddy.doctor` finds for a client that was made with these arguments, also where it can't be made."""

def _version() -> str:
    """The version of the library."""
