# Generated from the sources of portdaddy-core by `make types`. Don't edit.
"""What operations give: immutable records, and the words in them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, ClassVar, Literal

from ._record import Record

# Whatever JSON can hold. Not every checker knows aliases that name themselves.
Json = Any


ErrorCode = Literal[
    "INVALID",
    "AMBIGUOUS",
    "NO_AGENT",
    "NO_SESSION",
    "NOT_FOUND",
    "LOCK_HELD",
    "NOT_HELD",
    "NOT_OWNER",
    "LEASE_LOST",
    "PORT_TAKEN",
    "PORTS_EXHAUSTED",
    "INBOX_FULL",
    "NOT_SALVAGEABLE",
    "OWNER_GONE",
    "TIMEOUT",
    "DEADLOCK",
    "CANCELLED",
    "CLOSED",
    "FORKED",
    "SECOND_COPY",
    "STORE_BUSY",
    "STORE_FULL",
    "STORE_READ_ONLY",
    "STORE_PERMISSION",
    "STORE_CORRUPT",
    "STORE_NEWER",
    "STORE_FILESYSTEM",
    "STORE_LOCATION",
    "STORE_IO",
    "INTERNAL",
]
"""Why an operation failed: the code of an error.

- `INVALID`: A value breaks a rule; the sentence names the value, the rule and the way out.
- `AMBIGUOUS`: A short name fits several things; the candidates are in `candidates`.
- `NO_AGENT`: The operation needs an agent and none could be resolved.
- `NO_SESSION`: The operation needs an active session and the agent has none.
- `NOT_FOUND`: Nothing of that name exists.
- `LOCK_HELD`: The lock is held by another and the call doesn't wait.
- `NOT_HELD`: Nobody holds the lock.
- `NOT_OWNER`: It is held or owned by another.
- `LEASE_LOST`: A lease ended before its holder let go: expired, taken by force, or handed on after a death.
- `PORT_TAKEN`: The requested port is assigned or in use.
- `PORTS_EXHAUSTED`: The range has no port left.
- `INBOX_FULL`: The recipient has left too many messages unread.
- `NOT_SALVAGEABLE`: The agent's work was already claimed by another, or it isn't dead.
- `OWNER_GONE`: Nobody is left who could send what was waited for, or the agent it was for is gone.
- `TIMEOUT`: The time given ran out.
- `DEADLOCK`: Waiting would close a cycle; the cycle is in `cycle`.
- `CANCELLED`: The caller cancelled the wait.
- `CLOSED`: The handle was closed.
- `FORKED`: The handle was opened before a fork and used in the child.
- `SECOND_COPY`: Another copy of this library has the same database open in this process.
- `STORE_BUSY`: The database stayed locked by a stopped or stuck process.
- `STORE_FULL`: No space left for the database.
- `STORE_READ_ONLY`: The database or its directory can't be written.
- `STORE_PERMISSION`: Permission denied, or the directory is open to other users.
- `STORE_CORRUPT`: The file isn't a database of this library, or it is damaged.
- `STORE_NEWER`: The file was made by a newer version.
- `STORE_FILESYSTEM`: The filesystem can't carry a shared database.
- `STORE_LOCATION`: No place for the database could be found.
- `STORE_IO`: Reading or writing failed for another reason.
- `INTERNAL`: A defect in this library.
"""


class Activity(Record):
    """One thing that was done."""

    __slots__ = ("seq", "at", "agent", "agent_name", "type", "subject", "detail", "scope")
    _wire: ClassVar[tuple[tuple[str, str, str], ...]] = (
        ("seq", "seq", ""),
        ("at_ms", "at", "moment"),
        ("agent", "agent", ""),
        ("agent_name", "agent_name", ""),
        ("type", "type", ""),
        ("subject", "subject", ""),
        ("detail", "detail", "json"),
        ("scope", "scope", ""),
    )

    seq: int
    """Its place in the order of commits."""
    at: datetime
    """When."""
    agent: str | None
    """By whom, or to whom it happened; none for a call without an agent."""
    agent_name: str | None
    """That agent's name for people, else its id."""
    type: str
    """What was done: `lock.grant`, `session.start`."""
    subject: str
    """What it was done to: a lock's name, a session's id."""
    detail: Json
    """The particulars, an object; `None` where there are none."""
    scope: str
    """The name of the scope."""


class ActivityList(Record):
    """The entries of a scope, and how many others were left out."""

    __slots__ = ("entries", "elsewhere")
    _wire: ClassVar[tuple[tuple[str, str, str], ...]] = (("entries", "entries", ""), ("elsewhere", "elsewhere", ""))

    entries: tuple[Activity, ...]
    """Oldest first."""
    elsewhere: int
    """How many of other scopes, as new as those listed, were left out."""


class Agent(Record):
    """An agent, as others see it."""

    __slots__ = (
        "id",
        "name",
        "identity",
        "purpose",
        "type",
        "harness",
        "scope",
        "state",
        "registered",
        "seen",
        "silent",
        "died",
        "death",
        "proofs",
        "active_sessions",
        "unfinished",
    )
    _wire: ClassVar[tuple[tuple[str, str, str], ...]] = (
        ("id", "id", ""),
        ("name", "name", ""),
        ("identity", "identity", ""),
        ("purpose", "purpose", ""),
        ("type", "type", ""),
        ("harness", "harness", ""),
        ("scope", "scope", ""),
        ("state", "state", ""),
        ("registered_ms", "registered", "moment"),
        ("seen_ms", "seen", "moment"),
        ("silent_ms", "silent", "span"),
        ("died_ms", "died", "moment"),
        ("death", "death", ""),
        ("proofs", "proofs", ""),
        ("active_sessions", "active_sessions", ""),
        ("unfinished", "unfinished", ""),
    )

    id: str
    """Its id."""
    name: str | None
    """Its name for people, if it gave one."""
    identity: str | None
    """`project[:stack[:context]]`, if it gave one."""
    purpose: str | None
    """What it is for, if it said so."""
    type: str
    """`ai`, `human`, `ci`, `cli`, or what it said."""
    harness: str | None
    """The coding harness it runs in, if one was seen."""
    scope: str
    """The scope that it last called from."""
    state: AgentState
    """How it is doing."""
    registered: datetime
    """When it registered."""
    seen: datetime
    """Its last sign of life."""
    silent: timedelta
    """How long it has been silent while the machine was awake."""
    died: datetime | None
    """When it was found dead."""
    death: str | None
    """By what proof it was found dead."""
    proofs: tuple[Proof, ...]
    """What proves its life. One that was lost stays until the agent calls again."""
    active_sessions: int
    """Its active sessions."""
    unfinished: bool
    """True for a dead agent that left unfinished work."""


class AgentList(Record):
    """The agents of a scope, and how many others were left out."""

    __slots__ = ("agents", "elsewhere")
    _wire: ClassVar[tuple[tuple[str, str, str], ...]] = (("agents", "agents", ""), ("elsewhere", "elsewhere", ""))

    agents: tuple[Agent, ...]
    """Alive ones first, then by their last sign of life."""
    elsewhere: int
    """How many of other scopes were left out."""


AgentState = Literal["active", "stale", "dead", "left"]
"""How an agent is doing.

- `active`: Alive and heard of lately.
- `stale`: Alive as far as can be told, but silent for long.
- `dead`: Its proofs of life are lost, or it was silent for too long.
- `left`: It said goodbye.
"""


class Whoami(Record):
    """Who a call is taken to come from."""

    __slots__ = ("agent", "source", "registered", "session", "scope", "scope_key", "db")
    _wire: ClassVar[tuple[tuple[str, str, str], ...]] = (
        ("agent", "agent", ""),
        ("source", "source", ""),
        ("registered", "registered", ""),
        ("session", "session", ""),
        ("scope", "scope", ""),
        ("scope_key", "scope_key", ""),
        ("db", "db", ""),
    )

    agent: str | None
    """The agent's id; none where nothing around the call names one."""
    source: Source
    """How the agent was found."""
    registered: Agent | None
    """The agent as registered; none before its first writing call."""
    session: Session | None
    """The session that notes would go to."""
    scope: str
    """The scope's name."""
    scope_key: str
    """The scope's key."""
    db: str
    """The database file."""


class BackupMade(Record):
    """A backup that was made."""

    __slots__ = ("file", "bytes", "seq")
    _wire: ClassVar[tuple[tuple[str, str, str], ...]] = (
        ("file", "file", ""),
        ("bytes", "bytes", ""),
        ("seq", "seq", ""),
    )

    file: str
    """The file."""
    bytes: int
    """Its size."""
    seq: int
    """The last place in the order of commits that is in it: everything up to there is, and nothing after."""


class Restored(Record):
    """A backup that was restored."""

    __slots__ = ("db", "file", "kept", "schema", "seq", "was_damaged")
    _wire: ClassVar[tuple[tuple[str, str, str], ...]] = (
        ("db", "db", ""),
        ("file", "file", ""),
        ("kept", "kept", ""),
        ("schema", "schema", ""),
        ("seq", "seq", ""),
        ("was_damaged", "was_damaged", ""),
    )

    db: str
    """The database."""
    file: str
    """The backup."""
    kept: str | None
    """The copy of what the database held before."""
    schema: int
    """The schema that the backup had."""
    seq: int
    """The last place in the order of commits that the backup had."""
    was_damaged: bool
    """Whether the database was damaged, and so was put aside as a whole."""


Source = Literal["named", "environment", "harness_session", "harness_process", "shell", "instance", "nobody"]
"""How a caller was found.

- `named`: The call says so.
- `environment`: `PORT_DADDY_AGENT` says so.
- `harness_session`: The harness's session id, from the environment.
- `harness_process`: The nearest ancestor process that is a harness.
- `shell`: The interactive shell that the command was typed into.
- `instance`: The open instance of the library is an agent of its own.
- `nobody`: Not found.
"""


class Check(Record):
    """One thing that was looked at."""

    __slots__ = ("name", "ok", "detail", "hint")
    _wire: ClassVar[tuple[tuple[str, str, str], ...]] = (
        ("name", "name", ""),
        ("ok", "ok", ""),
        ("detail", "detail", ""),
        ("hint", "hint", ""),
    )

    name: str
    """What: `integrity`, `filesystem`."""
    ok: bool
    """Whether it is as it should be. With a hint as well, it is worth knowing all the same."""
    detail: str
    """What was found."""
    hint: str | None
    """What to do about it."""


class ClaimList(Record):
    """The claims of a scope, and how many others were left out."""

    __slots__ = ("claims", "elsewhere")
    _wire: ClassVar[tuple[tuple[str, str, str], ...]] = (("claims", "claims", ""), ("elsewhere", "elsewhere", ""))

    claims: tuple[FileClaim, ...]
    """Oldest first."""
    elsewhere: int
    """How many of other scopes were left out."""


class ClaimedFiles(Record):
    """What became of the patterns of one call."""

    __slots__ = ("session", "claimed", "conflicts", "dead_overlaps")
    _wire: ClassVar[tuple[tuple[str, str, str], ...]] = (
        ("session", "session", ""),
        ("claimed", "claimed", ""),
        ("conflicts", "conflicts", ""),
        ("dead_overlaps", "dead_overlaps", ""),
    )

    session: str
    """The session that claims."""
    claimed: tuple[FileClaim, ...]
    """What it has claimed now, or had before."""
    conflicts: tuple[Conflict, ...]
    """Overlaps with the claims of living agents. Their patterns are claimed only by force."""
    dead_overlaps: tuple[Conflict, ...]
    """Overlaps with the claims of dead agents, which block nothing: their work can be salvaged."""


class Conflict(Record):
    """Another session's claim that overlaps with a pattern."""

    __slots__ = ("pattern", "lines", "with_", "session_purpose", "witness", "exists", "same_worktree", "holder_state")
    _wire: ClassVar[tuple[tuple[str, str, str], ...]] = (
        ("pattern", "pattern", ""),
        ("lines", "lines", ""),
        ("with", "with_", ""),
        ("session_purpose", "session_purpose", ""),
        ("witness", "witness", ""),
        ("exists", "exists", ""),
        ("same_worktree", "same_worktree", ""),
        ("holder_state", "holder_state", ""),
    )

    pattern: str
    """The caller's pattern, relative to its root."""
    lines: LineRange | None
    """The caller's lines."""
    with_: FileClaim
    """The other's claim."""
    session_purpose: str
    """What the other's session is for."""
    witness: str
    """A path that both match, relative to the caller's root, or absolute where it lies outside."""
    exists: bool
    """Whether `witness` exists on disk."""
    same_worktree: bool
    """False where the other works in another working tree or clone: a merge ahead, not an overwrite."""
    holder_state: AgentState
    """How the other's agent is doing."""


class FileClaim(Record):
    """A session's claim on files."""

    __slots__ = ("session", "agent", "agent_name", "pattern", "root", "lines", "forced", "since", "scope")
    _wire: ClassVar[tuple[tuple[str, str, str], ...]] = (
        ("session", "session", ""),
        ("agent", "agent", ""),
        ("agent_name", "agent_name", ""),
        ("pattern", "pattern", ""),
        ("root", "root", ""),
        ("lines", "lines", ""),
        ("forced", "forced", ""),
        ("since_ms", "since", "moment"),
        ("scope", "scope", ""),
    )

    session: str
    """The session."""
    agent: str
    """The session's agent."""
    agent_name: str
    """Its name for people, else its id."""
    pattern: str
    """The pattern, relative to `root`."""
    root: str
    """The working tree's root; `/` outside git."""
    lines: LineRange | None
    """The lines; none for the whole of each file."""
    forced: bool
    """Whether it was taken against another's claim."""
    since: datetime
    """When it was made."""
    scope: str
    """The scope's name."""


class Owner(Record):
    """A claim that covers a path, or lies below it where it is a directory."""

    __slots__ = ("claim", "state", "purpose", "same_worktree")
    _wire: ClassVar[tuple[tuple[str, str, str], ...]] = (
        ("claim", "claim", ""),
        ("state", "state", ""),
        ("purpose", "purpose", ""),
        ("same_worktree", "same_worktree", ""),
    )

    claim: FileClaim
    """The claim."""
    state: AgentState
    """How its agent is doing."""
    purpose: str
    """What its session is for."""
    same_worktree: bool
    """False where it is in another working tree or clone of the repository."""


class Ownership(Record):
    """Who has claimed a path."""

    __slots__ = ("path", "owners")
    _wire: ClassVar[tuple[tuple[str, str, str], ...]] = (("path", "path", ""), ("owners", "owners", ""))

    path: str
    """The path, relative to the caller's root."""
    owners: tuple[Owner, ...]
    """Oldest claim first."""


class WorkLeft(Record):
    """The work in a working tree that is in no remote repository, as git shows it at this moment."""

    __slots__ = ("worktree", "branch", "commit", "uncommitted", "stashes", "unpushed", "problem", "truncated")
    _wire: ClassVar[tuple[tuple[str, str, str], ...]] = (
        ("worktree", "worktree", ""),
        ("branch", "branch", ""),
        ("commit", "commit", ""),
        ("uncommitted", "uncommitted", ""),
        ("stashes", "stashes", ""),
        ("unpushed", "unpushed", ""),
        ("problem", "problem", ""),
        ("truncated", "truncated", ""),
    )

    worktree: str
    """The working tree's root."""
    branch: str | None
    """The branch, unless HEAD is detached."""
    commit: str | None
    """The full commit id, unless nothing was committed yet."""
    uncommitted: tuple[str, ...]
    """Uncommitted files as git's short status shows them, `M src/a.ts`; at most 200."""
    stashes: tuple[str, ...]
    """Stash entries, newest first. All working trees of a repository share them. At most 200."""
    unpushed: tuple[str, ...]
    """Commits that are on HEAD and on no remote-tracking branch, `abc1234 subject`, newest first; at most 200. None
    where the repository has no remote.
    """
    problem: str | None
    """Why the rest is missing, if something is."""
    truncated: bool
    """Whether a list was cut."""


class LineRange(Record):
    """Lines of a file, both ends inclusive, from 1."""

    __slots__ = ("first", "last")
    _wire: ClassVar[tuple[tuple[str, str, str], ...]] = (("first", "first", ""), ("last", "last", ""))

    first: int
    """The first line."""
    last: int
    """The last line, which belongs to the range."""


class DirectMessage(Record):
    """A message to one agent."""

    __slots__ = ("seq", "sender", "sender_name", "recipient", "text", "at", "shown")
    _wire: ClassVar[tuple[tuple[str, str, str], ...]] = (
        ("seq", "seq", ""),
        ("sender", "sender", ""),
        ("sender_name", "sender_name", ""),
        ("recipient", "recipient", ""),
        ("text", "text", ""),
        ("at_ms", "at", "moment"),
        ("shown_ms", "shown", "moment"),
    )

    seq: int
    """Its place in the order of commits."""
    sender: str | None
    """Who sent it, if an agent did."""
    sender_name: str | None
    """The sender's name for people, else its id."""
    recipient: str
    """To whom."""
    text: str
    """What it says."""
    at: datetime
    """When it was sent."""
    shown: datetime | None
    """When it was shown to its recipient."""


Reach = Literal["woken", "next_turn", "if_it_looks", "nobody"]
"""Whether and when the recipient will see a message.

- `woken`: It waits for messages at this moment.
- `next_turn`: Its harness shows it on its next turn.
- `if_it_looks`: It lives, and sees it if it looks.
- `nobody`: It is dead, or has left.
"""


class Sent(Record):
    """A message that was sent."""

    __slots__ = ("message", "recipient_name", "reach", "gone")
    _wire: ClassVar[tuple[tuple[str, str, str], ...]] = (
        ("message", "message", ""),
        ("recipient_name", "recipient_name", ""),
        ("reach", "reach", ""),
        ("gone_ms", "gone", "moment"),
    )

    message: DirectMessage
    """The message."""
    recipient_name: str
    """The recipient's name for people, else its id."""
    reach: Reach
    """Whether the recipient will see it."""
    gone: datetime | None
    """Since when the recipient is dead, or silent after it left; none for one that lives."""


class Proof(Record):
    """One proof of life, as stored."""

    __slots__ = ("kind", "live", "pid", "start", "namespace", "this_boot", "what")
    _wire: ClassVar[tuple[tuple[str, str, str], ...]] = (
        ("kind", "kind", ""),
        ("live", "live", ""),
        ("pid", "pid", ""),
        ("start", "start", ""),
        ("namespace", "namespace", ""),
        ("this_boot", "this_boot", ""),
        ("what", "what", ""),
    )

    kind: ProofKind
    """What it is."""
    live: str
    """The locked file's name (instance, command); empty for a process."""
    pid: int
    """The process."""
    start: int
    """When the process started, in clock ticks since boot."""
    namespace: int
    """The pid namespace that `pid` belongs to."""
    this_boot: bool
    """Whether it was recorded in this boot."""
    what: str
    """The process's name, for people."""


ProofKind = Literal["instance", "command", "process", "shell"]
"""What kind of thing proves a life.

- `instance`: An open handle of this library, by its locked file. Strong.
- `command`: A command that stays (`pd sub`, `pd with-lock`, `pd run`), by its locked file. Proves life while it runs;
  its end proves nothing. One that only waits proves nothing where all strong proofs are lost: it was left behind.
- `process`: A harness's process. Strong.
- `shell`: An interactive shell: its end proves death, its life proves little.
"""


class LockInfo(Record):
    """A held lock, as everyone sees it."""

    __slots__ = (
        "name",
        "token",
        "agent",
        "agent_name",
        "session",
        "purpose",
        "since",
        "expires",
        "holder_state",
        "waiters",
        "scope",
    )
    _wire: ClassVar[tuple[tuple[str, str, str], ...]] = (
        ("name", "name", ""),
        ("token", "token", ""),
        ("agent", "agent", ""),
        ("agent_name", "agent_name", ""),
        ("session", "session", ""),
        ("purpose", "purpose", ""),
        ("since_ms", "since", "moment"),
        ("expires_ms", "expires", "moment"),
        ("holder_state", "holder_state", ""),
        ("waiters", "waiters", ""),
        ("scope", "scope", ""),
    )

    name: str
    """Its name."""
    token: int
    """The fencing token of this grant: greater than that of every grant before."""
    agent: str
    """Who holds it."""
    agent_name: str
    """The holder's name for people."""
    session: str | None
    """The holder's session when it was granted."""
    purpose: str | None
    """What for: what the holder said, else its session's purpose."""
    since: datetime
    """When it was granted."""
    expires: datetime | None
    """When its lease ends; none without a TTL."""
    holder_state: AgentState
    """How the holder is doing."""
    waiters: tuple[LockWaiter, ...]
    """Who waits for it, first come first."""
    scope: str
    """The scope's name."""


class LockList(Record):
    """The held locks of a scope, and how many others were left out."""

    __slots__ = ("locks", "elsewhere")
    _wire: ClassVar[tuple[tuple[str, str, str], ...]] = (("locks", "locks", ""), ("elsewhere", "elsewhere", ""))

    locks: tuple[LockInfo, ...]
    """By name."""
    elsewhere: int
    """How many of other scopes were left out."""


class LockWaiter(Record):
    """One who waits for a lock."""

    __slots__ = ("agent", "agent_name", "since")
    _wire: ClassVar[tuple[tuple[str, str, str], ...]] = (
        ("agent", "agent", ""),
        ("agent_name", "agent_name", ""),
        ("since_ms", "since", "moment"),
    )

    agent: str
    """Its agent."""
    agent_name: str
    """Its agent's name for people."""
    since: datetime
    """Since when."""


class ChannelInfo(Record):
    """A channel that has messages."""

    __slots__ = ("name", "count", "last_seq", "last", "scope", "waiting")
    _wire: ClassVar[tuple[tuple[str, str, str], ...]] = (
        ("name", "name", ""),
        ("count", "count", ""),
        ("last_seq", "last_seq", ""),
        ("last_ms", "last", "moment"),
        ("scope", "scope", ""),
        ("waiting", "waiting", ""),
    )

    name: str
    """Its name."""
    count: int
    """How many messages are stored."""
    last_seq: int
    """The newest message's place in the order of commits."""
    last: datetime
    """When the newest was published."""
    scope: str
    """Its scope."""
    waiting: int
    """How many recorded waiters it concerns."""


class ChannelList(Record):
    """The channels of a scope, and how many others were left out."""

    __slots__ = ("channels", "elsewhere")
    _wire: ClassVar[tuple[tuple[str, str, str], ...]] = (("channels", "channels", ""), ("elsewhere", "elsewhere", ""))

    channels: tuple[ChannelInfo, ...]
    """By name."""
    elsewhere: int
    """How many of other scopes were left out."""


class Message(Record):
    """A message, as stored."""

    __slots__ = ("seq", "channel", "payload", "agent", "agent_name", "at", "scope")
    _wire: ClassVar[tuple[tuple[str, str, str], ...]] = (
        ("seq", "seq", ""),
        ("channel", "channel", ""),
        ("payload", "payload", "json"),
        ("agent", "agent", ""),
        ("agent_name", "agent_name", ""),
        ("at_ms", "at", "moment"),
        ("scope", "scope", ""),
    )

    seq: int
    """Its place in the order of commits. Rises, with gaps."""
    channel: str
    """The channel that it was published on."""
    payload: Json
    """What was published: any JSON value."""
    agent: str | None
    """Who published it, if that was known."""
    agent_name: str | None
    """The publisher's name for people: its name, else its id."""
    at: datetime
    """When."""
    scope: str
    """The scope that it was published in."""


class Published(Record):
    """What came of a publish."""

    __slots__ = ("seq", "channel", "at", "waiting")
    _wire: ClassVar[tuple[tuple[str, str, str], ...]] = (
        ("seq", "seq", ""),
        ("channel", "channel", ""),
        ("at_ms", "at", "moment"),
        ("waiting", "waiting", ""),
    )

    seq: int
    """The message's place in the order of commits."""
    channel: str
    """The channel."""
    at: datetime
    """When."""
    waiting: int
    """How many recorded waiters it concerned."""


class Note(Record):
    """An entry of the journal."""

    __slots__ = ("seq", "session", "agent", "agent_name", "type", "text", "scope", "at")
    _wire: ClassVar[tuple[tuple[str, str, str], ...]] = (
        ("seq", "seq", ""),
        ("session", "session", ""),
        ("agent", "agent", ""),
        ("agent_name", "agent_name", ""),
        ("type", "type", ""),
        ("text", "text", ""),
        ("scope", "scope", ""),
        ("at_ms", "at", "moment"),
    )

    seq: int
    """Its place in the order of all commits."""
    session: str
    """The session."""
    agent: str
    """Who wrote it."""
    agent_name: str
    """The author's name for people, else its id."""
    type: str
    """`note`, `commit`, `blocker`, `handoff`, or any slug."""
    text: str
    """What was written."""
    scope: str
    """The scope's name."""
    at: datetime
    """When it was written."""


class NoteList(Record):
    """Notes of a scope, and how many others were left out."""

    __slots__ = ("notes", "elsewhere")
    _wire: ClassVar[tuple[tuple[str, str, str], ...]] = (("notes", "notes", ""), ("elsewhere", "elsewhere", ""))

    notes: tuple[Note, ...]
    """Oldest first."""
    elsewhere: int
    """How many of other scopes were left out. No more than 1,000 are looked at."""


class WrittenNote(Record):
    """A note that was written."""

    __slots__ = ("note", "opened_session")
    _wire: ClassVar[tuple[tuple[str, str, str], ...]] = (("note", "note", ""), ("opened_session", "opened_session", ""))

    note: Note
    """The note."""
    opened_session: bool
    """Whether a session was opened for it, the agent having none."""


class PortClaim(Record):
    """An assigned port."""

    __slots__ = (
        "identity",
        "port",
        "agent",
        "agent_name",
        "worktree",
        "scope",
        "claimed",
        "used",
        "existing",
        "listening",
        "listener",
    )
    _wire: ClassVar[tuple[tuple[str, str, str], ...]] = (
        ("identity", "identity", ""),
        ("port", "port", ""),
        ("agent", "agent", ""),
        ("agent_name", "agent_name", ""),
        ("worktree", "worktree", ""),
        ("scope", "scope", ""),
        ("claimed_ms", "claimed", "moment"),
        ("used_ms", "used", "moment"),
        ("existing", "existing", ""),
        ("listening", "listening", ""),
        ("listener", "listener", ""),
    )

    identity: str
    """Whose it is."""
    port: int
    """The port."""
    agent: str | None
    """The agent that claimed it last, if the call had one."""
    agent_name: str | None
    """That agent's name for people, else its id."""
    worktree: str | None
    """The working tree that it belongs to; none where it is shared by all, or was claimed outside a repository."""
    scope: str
    """The scope that it was claimed from."""
    claimed: datetime
    """When it was assigned."""
    used: datetime
    """When it was last claimed, to within 5 s."""
    existing: bool
    """Whether the identity had it before this call."""
    listening: bool
    """Whether something listens there now."""
    listener: PortListener | None
    """What listens there, where that can be told."""


class PortListener(Record):
    """A process that listens on a port."""

    __slots__ = ("pid", "command")
    _wire: ClassVar[tuple[tuple[str, str, str], ...]] = (("pid", "pid", ""), ("command", "command", ""))

    pid: int
    """Its process id."""
    command: str
    """Its command line, at most 200 characters."""


class ServiceList(Record):
    """Assigned ports, and how many others were left out."""

    __slots__ = ("services", "elsewhere")
    _wire: ClassVar[tuple[tuple[str, str, str], ...]] = (("services", "services", ""), ("elsewhere", "elsewhere", ""))

    services: tuple[PortClaim, ...]
    """By port."""
    elsewhere: int
    """How many of other scopes were left out."""


class Briefing(Record):
    """What an agent needs to go on with another's work."""

    __slots__ = ("item", "sessions", "unseen", "text")
    _wire: ClassVar[tuple[tuple[str, str, str], ...]] = (
        ("item", "item", ""),
        ("sessions", "sessions", ""),
        ("unseen", "unseen", ""),
        ("text", "text", ""),
    )

    item: SalvageItem
    """The work as it was left: its sessions still name the dead agent."""
    sessions: tuple[Session, ...]
    """The same sessions, now the caller's."""
    unseen: tuple[DirectMessage, ...]
    """Messages to the dead agent that it was never shown, oldest first. They stay its own, for the case that it
    returns.
    """
    text: str
    """All of it in words, several lines. It quotes what others wrote as they wrote it."""


class SalvageItem(Record):
    """The unfinished work of a dead agent."""

    __slots__ = (
        "agent",
        "agent_name",
        "identity",
        "purpose",
        "died",
        "death",
        "sessions",
        "notes",
        "claims",
        "work",
        "state",
        "claimed_by",
        "claimed_by_name",
        "claimed",
    )
    _wire: ClassVar[tuple[tuple[str, str, str], ...]] = (
        ("agent", "agent", ""),
        ("agent_name", "agent_name", ""),
        ("identity", "identity", ""),
        ("purpose", "purpose", ""),
        ("died_ms", "died", "moment"),
        ("death", "death", ""),
        ("sessions", "sessions", ""),
        ("notes", "notes", ""),
        ("claims", "claims", ""),
        ("work", "work", ""),
        ("state", "state", ""),
        ("claimed_by", "claimed_by", ""),
        ("claimed_by_name", "claimed_by_name", ""),
        ("claimed_ms", "claimed", "moment"),
    )

    agent: str
    """The dead agent."""
    agent_name: str
    """Its name for people, else its id."""
    identity: str | None
    """Its identity, if it had one."""
    purpose: str | None
    """What it was for, if it said so."""
    died: datetime
    """When it was found dead."""
    death: str
    """By what proof."""
    sessions: tuple[SessionDetail, ...]
    """Its unfinished sessions with their claims and notes."""
    notes: tuple[Note, ...]
    """Its last ten notes, oldest first."""
    claims: tuple[FileClaim, ...]
    """Its claims."""
    work: tuple[WorkLeft, ...]
    """What stands in its working trees now. Only looked at by listing and claiming."""
    state: SalvageState
    """What became of it."""
    claimed_by: str | None
    """Who took it, or dismissed it."""
    claimed_by_name: str | None
    """That agent's name for people, else its id."""
    claimed: datetime | None
    """When."""


class SalvageList(Record):
    """The work left in a scope, and how much was left out."""

    __slots__ = ("items", "elsewhere")
    _wire: ClassVar[tuple[tuple[str, str, str], ...]] = (("items", "items", ""), ("elsewhere", "elsewhere", ""))

    items: tuple[SalvageItem, ...]
    """The oldest death first."""
    elsewhere: int
    """How many of other scopes were left out."""


SalvageState = Literal["open", "claimed", "completed", "dismissed", "returned"]
"""What became of a dead agent's work.

- `open`: Nobody has taken it yet.
- `claimed`: Another agent goes on with it.
- `completed`: The one that took it has finished it.
- `dismissed`: It was given up.
- `returned`: The agent was alive after all, or the work was given back to it.
"""


class Written(Record):
    """The last write of a file by an agent."""

    __slots__ = ("path", "agent", "agent_name", "state", "at")
    _wire: ClassVar[tuple[tuple[str, str, str], ...]] = (
        ("path", "path", ""),
        ("agent", "agent", ""),
        ("agent_name", "agent_name", ""),
        ("state", "state", ""),
        ("at_ms", "at", "moment"),
    )

    path: str
    """The file, absolute and without symbolic links."""
    agent: str
    """Who wrote it."""
    agent_name: str
    """The agent's name for people, else its id."""
    state: AgentState
    """How the agent is doing."""
    at: datetime
    """When."""


class Session(Record):
    """A unit of work."""

    __slots__ = (
        "id",
        "scope",
        "agent",
        "agent_name",
        "identity",
        "purpose",
        "status",
        "phase",
        "repository",
        "worktree",
        "branch",
        "commit",
        "started",
        "ended",
        "salvaged_from",
        "notes",
    )
    _wire: ClassVar[tuple[tuple[str, str, str], ...]] = (
        ("id", "id", ""),
        ("scope", "scope", ""),
        ("agent", "agent", ""),
        ("agent_name", "agent_name", ""),
        ("identity", "identity", ""),
        ("purpose", "purpose", ""),
        ("status", "status", ""),
        ("phase", "phase", ""),
        ("repository", "repository", ""),
        ("worktree", "worktree", ""),
        ("branch", "branch", ""),
        ("commit", "commit", ""),
        ("started_ms", "started", "moment"),
        ("ended_ms", "ended", "moment"),
        ("salvaged_from", "salvaged_from", ""),
        ("notes", "notes", ""),
    )

    id: str
    """`session-` and a short random suffix."""
    scope: str
    """The scope's name."""
    agent: str
    """The agent that may write to it."""
    agent_name: str
    """Its name for people, else its id."""
    identity: str | None
    """`project[:stack[:context]]`, if it was given or the agent had one."""
    purpose: str
    """What it is for."""
    status: SessionStatus
    """How far it has come."""
    phase: str | None
    """What it is doing now, if it said so."""
    repository: str | None
    """The key of the repository that it began in."""
    worktree: str | None
    """The working tree that it began in."""
    branch: str | None
    """The branch that it began on."""
    commit: str | None
    """The commit that it began on."""
    started: datetime
    """When it began."""
    ended: datetime | None
    """When it ended."""
    salvaged_from: str | None
    """The dead agent that it was taken over from."""
    notes: int
    """How many notes it has."""


class SessionDetail(Record):
    """A session with what belongs to it."""

    __slots__ = ("session", "claims", "notes")
    _wire: ClassVar[tuple[tuple[str, str, str], ...]] = (
        ("session", "session", ""),
        ("claims", "claims", ""),
        ("notes", "notes", ""),
    )

    session: Session
    """The session."""
    claims: tuple[FileClaim, ...]
    """Its claims; none once it has ended."""
    notes: tuple[Note, ...]
    """Its newest 1,000 notes, oldest first."""


class SessionList(Record):
    """The sessions of a scope, and how many others were left out."""

    __slots__ = ("sessions", "elsewhere")
    _wire: ClassVar[tuple[tuple[str, str, str], ...]] = (("sessions", "sessions", ""), ("elsewhere", "elsewhere", ""))

    sessions: tuple[Session, ...]
    """Oldest first."""
    elsewhere: int
    """How many of other scopes were left out."""


SessionStatus = Literal["active", "completed", "abandoned"]
"""How far a session has come.

- `active`: It goes on.
- `completed`: It ended with its work done.
- `abandoned`: It ended without.
"""


class StartedSession(Record):
    """A session that began, and what became of its claims."""

    __slots__ = ("session", "claimed", "conflicts", "dead_overlaps")
    _wire: ClassVar[tuple[tuple[str, str, str], ...]] = (
        ("session", "session", ""),
        ("claimed", "claimed", ""),
        ("conflicts", "conflicts", ""),
        ("dead_overlaps", "dead_overlaps", ""),
    )

    session: Session
    """The session."""
    claimed: tuple[FileClaim, ...]
    """What it has claimed."""
    conflicts: tuple[Conflict, ...]
    """Overlaps with the claims of living agents. Their patterns are claimed only by force."""
    dead_overlaps: tuple[Conflict, ...]
    """Overlaps with the claims of dead agents, which block nothing: their work can be salvaged."""


class AgentCounts(Record):
    """How many agents do how. Those that said goodbye aren't counted."""

    __slots__ = ("active", "stale", "dead")
    _wire: ClassVar[tuple[tuple[str, str, str], ...]] = (
        ("active", "active", ""),
        ("stale", "stale", ""),
        ("dead", "dead", ""),
    )

    active: int
    """Alive and heard of lately."""
    stale: int
    """Alive as far as can be told, but silent for long."""
    dead: int
    """Dead."""


class Status(Record):
    """What the database holds, whatever the scope."""

    __slots__ = (
        "db",
        "size_bytes",
        "wal_bytes",
        "schema",
        "seq",
        "scope",
        "agents",
        "sessions",
        "claims",
        "locks",
        "waiters",
        "channels",
        "messages",
        "ports",
        "salvage",
    )
    _wire: ClassVar[tuple[tuple[str, str, str], ...]] = (
        ("db", "db", ""),
        ("size_bytes", "size_bytes", ""),
        ("wal_bytes", "wal_bytes", ""),
        ("schema", "schema", ""),
        ("seq", "seq", ""),
        ("scope", "scope", ""),
        ("agents", "agents", ""),
        ("sessions", "sessions", ""),
        ("claims", "claims", ""),
        ("locks", "locks", ""),
        ("waiters", "waiters", ""),
        ("channels", "channels", ""),
        ("messages", "messages", ""),
        ("ports", "ports", ""),
        ("salvage", "salvage", ""),
    )

    db: str
    """The database file."""
    size_bytes: int
    """Its size in bytes."""
    wal_bytes: int
    """The size of its write-ahead log in bytes."""
    schema: int
    """The version of its schema."""
    seq: int
    """The last place in the order of commits."""
    scope: str
    """The name of the scope that the caller stands in."""
    agents: AgentCounts
    """How many agents do how."""
    sessions: int
    """Active sessions."""
    claims: int
    """File claims."""
    locks: int
    """Locks held."""
    waiters: tuple[Waiting, ...]
    """Who waits for what, the longest wait first."""
    channels: int
    """Channels with at least one message kept."""
    messages: int
    """Messages kept."""
    ports: int
    """Ports assigned."""
    salvage: int
    """Dead agents whose unfinished work nobody has taken."""


class Waiting(Record):
    """Someone who waits."""

    __slots__ = ("agent", "kind", "name", "since", "scope")
    _wire: ClassVar[tuple[tuple[str, str, str], ...]] = (
        ("agent", "agent", ""),
        ("kind", "kind", ""),
        ("name", "name", ""),
        ("since_ms", "since", "moment"),
        ("scope", "scope", ""),
    )

    agent: str | None
    """The agent, if the waiting call has one."""
    kind: str
    """What for: `lock`, `channel` or `inbox`."""
    name: str
    """The lock, the channel patterns that haven't delivered yet, or the agent whose messages."""
    since: datetime
    """Since when."""
    scope: str
    """The name of the scope."""


class Delivery(Record):
    """A message as it reaches a subscriber."""

    __slots__ = ("message", "replayed", "age", "sender_state")
    _wire: ClassVar[tuple[tuple[str, str, str], ...]] = (
        ("message", "message", ""),
        ("replayed", "replayed", ""),
        ("age_ms", "age", "span"),
        ("sender_state", "sender_state", ""),
    )

    message: Message
    """The message."""
    replayed: bool
    """Whether it was published before the subscription began."""
    age: timedelta
    """How old it is."""
    sender_state: AgentState | None
    """How its sender is doing, for a replayed message of a known agent."""

    @property
    def seq(self) -> int:
        """Its place in the order of commits. Rises, with gaps."""
        return self.message.seq

    @property
    def channel(self) -> str:
        """The channel that it was published on."""
        return self.message.channel

    @property
    def payload(self) -> Json:
        """What was published: any JSON value."""
        return self.message.payload

    @property
    def agent(self) -> str | None:
        """Who published it, if that was known."""
        return self.message.agent

    @property
    def agent_name(self) -> str | None:
        """The publisher's name for people: its name, else its id."""
        return self.message.agent_name

    @property
    def at(self) -> datetime:
        """When."""
        return self.message.at

    @property
    def scope(self) -> str:
        """The scope that it was published in."""
        return self.message.scope


class Warning(Record):
    """Why a wait may be in vain, or incomplete."""

    __slots__ = ("code", "text")
    _wire: ClassVar[tuple[tuple[str, str, str], ...]] = (("code", "code", ""), ("text", "text", ""))

    code: WarningCode
    """What it is about."""
    text: str
    """A sentence for people."""


WarningCode = Literal["deadlock", "owner_gone", "other_scope", "pruned"]
"""The kinds of `Warning`.

- `deadlock`: Agents wait for each other in a circle.
- `owner_gone`: The agent that a channel belongs to is dead, has left or is done.
- `other_scope`: The channel was published in another scope.
- `pruned`: Messages after the subscriber's position were removed before it came by.
"""


__all__ = [
    "Json",
    "ErrorCode",
    "Activity",
    "ActivityList",
    "Agent",
    "AgentList",
    "AgentState",
    "Whoami",
    "BackupMade",
    "Restored",
    "Source",
    "Check",
    "ClaimList",
    "ClaimedFiles",
    "Conflict",
    "FileClaim",
    "Owner",
    "Ownership",
    "WorkLeft",
    "LineRange",
    "DirectMessage",
    "Reach",
    "Sent",
    "Proof",
    "ProofKind",
    "LockInfo",
    "LockList",
    "LockWaiter",
    "ChannelInfo",
    "ChannelList",
    "Message",
    "Published",
    "Note",
    "NoteList",
    "WrittenNote",
    "PortClaim",
    "PortListener",
    "ServiceList",
    "Briefing",
    "SalvageItem",
    "SalvageList",
    "SalvageState",
    "Written",
    "Session",
    "SessionDetail",
    "SessionList",
    "SessionStatus",
    "StartedSession",
    "AgentCounts",
    "Status",
    "Waiting",
    "Delivery",
    "Warning",
    "WarningCode",
]
