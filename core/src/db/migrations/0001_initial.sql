-- Units: *_ms are milliseconds since 1970 (wall clock, for people); *_awake_ms are milliseconds on a clock that stops
-- while the machine sleeps and are compared only where `boot` is the current one; `seq` rises in commit order.

-- One row of counters. `seq` orders messages, notes and activity; `token` is the last fencing token given.
CREATE TABLE counters (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    seq      INTEGER NOT NULL,
    token    INTEGER NOT NULL,
    boot     INTEGER NOT NULL   -- the newest row of boots
) STRICT;
INSERT INTO counters VALUES (1, 0, 0, 0);

-- Each boot of the machine that wrote here. Its number is the high part of tokens.
CREATE TABLE boots (
    boot     INTEGER PRIMARY KEY,
    boot_id  TEXT NOT NULL UNIQUE,
    first_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE scopes (
    id   INTEGER PRIMARY KEY,
    key  TEXT NOT NULL UNIQUE,  -- '' is the global scope, 'name:…' a named one, 'repo:…' a repository
    name TEXT NOT NULL          -- for people
) STRICT;

CREATE TABLE agents (
    id            TEXT PRIMARY KEY,
    name          TEXT,
    identity      TEXT,
    purpose       TEXT,
    type          TEXT NOT NULL,
    harness       TEXT,
    scope         INTEGER NOT NULL REFERENCES scopes (id),  -- where it last called from
    state         TEXT NOT NULL CHECK (state IN ('alive', 'dead', 'left')),
    promised      INTEGER NOT NULL DEFAULT 0,               -- it has sent an explicit heartbeat
    registered_ms INTEGER NOT NULL,
    seen_ms       INTEGER NOT NULL,                         -- the last sign of life
    seen_awake_ms INTEGER NOT NULL,
    boot          INTEGER NOT NULL REFERENCES boots (boot),
    died_ms       INTEGER,
    death         TEXT                                      -- the proof, in words
) STRICT, WITHOUT ROWID;
CREATE INDEX agents_by_identity ON agents (identity) WHERE identity IS NOT NULL;
CREATE INDEX agents_by_state ON agents (state, seen_ms);

-- What proves that an agent lives. A row is deleted when the proof is withdrawn in order.
CREATE TABLE proofs (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    agent     TEXT NOT NULL REFERENCES agents (id) ON DELETE CASCADE,
    kind      TEXT NOT NULL CHECK (kind IN ('instance', 'command', 'process', 'shell')),
    live      TEXT NOT NULL,    -- name of a file in ….live/ (instance, command); '' for a process
    pid       INTEGER NOT NULL,
    start     INTEGER NOT NULL, -- clock ticks from boot to the process's start
    namespace INTEGER NOT NULL, -- of pids
    boot      INTEGER NOT NULL REFERENCES boots (boot),
    what      TEXT NOT NULL,    -- for people: the process's name
    UNIQUE (agent, kind, pid, start, namespace, boot, live)
) STRICT;
CREATE INDEX proofs_by_live ON proofs (live) WHERE live <> '';

CREATE TABLE sessions (
    id         TEXT PRIMARY KEY,
    scope      INTEGER NOT NULL REFERENCES scopes (id),
    agent      TEXT NOT NULL,   -- whoever may write to it now; changes by salvage
    identity   TEXT,
    purpose    TEXT NOT NULL,
    status     TEXT NOT NULL CHECK (status IN ('active', 'completed', 'abandoned')),
    phase      TEXT,
    repository TEXT,            -- key of the repository
    worktree   TEXT,
    branch     TEXT,
    commit_id  TEXT,
    started_ms INTEGER NOT NULL,
    ended_ms   INTEGER,
    seq        INTEGER NOT NULL,
    salvage    INTEGER REFERENCES salvages (id)  -- how it came to its present agent
) STRICT, WITHOUT ROWID;
CREATE INDEX sessions_by_agent ON sessions (agent, status, seq);
CREATE INDEX sessions_by_scope ON sessions (scope, seq);

CREATE TABLE notes (
    seq     INTEGER PRIMARY KEY,
    scope   INTEGER NOT NULL REFERENCES scopes (id),
    session TEXT NOT NULL REFERENCES sessions (id),
    agent   TEXT NOT NULL,      -- the author, whoever owns the session now
    type    TEXT NOT NULL,
    text    TEXT NOT NULL,
    at_ms   INTEGER NOT NULL
) STRICT;
CREATE INDEX notes_by_scope ON notes (scope, seq);
CREATE INDEX notes_by_session ON notes (session, seq);
CREATE INDEX notes_by_agent ON notes (agent, seq);
CREATE TRIGGER notes_are_append_only BEFORE UPDATE ON notes
BEGIN SELECT RAISE(ABORT, 'notes are append-only'); END;

CREATE TABLE claims (
    id         INTEGER PRIMARY KEY,
    scope      INTEGER NOT NULL REFERENCES scopes (id),
    session    TEXT NOT NULL REFERENCES sessions (id),
    repository TEXT NOT NULL,   -- key of the repository, '' outside git
    root       TEXT NOT NULL,   -- the working tree's root, '/' outside git
    pattern    TEXT NOT NULL,   -- relative to root
    file       INTEGER NOT NULL DEFAULT 0,  -- 1: the path of a file, with nothing below it
    prefix     TEXT NOT NULL,   -- its literal beginning
    place      TEXT NOT NULL,   -- root and literal beginning: an absolute path
    first_line INTEGER,
    last_line  INTEGER,
    forced     INTEGER NOT NULL DEFAULT 0,
    since_ms   INTEGER NOT NULL
) STRICT;
-- Only claims of active sessions are here: ending a session or releasing a claim deletes it (activity remembers).
CREATE INDEX claims_by_prefix ON claims (repository, prefix);
CREATE INDEX claims_by_place ON claims (place);
CREATE INDEX claims_by_session ON claims (session);

CREATE TABLE messages (
    seq        INTEGER PRIMARY KEY,
    scope      INTEGER NOT NULL REFERENCES scopes (id),
    channel    TEXT NOT NULL,
    agent      TEXT,
    at_ms      INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL,  -- from its ttl, else 7 days; past that it is not delivered, and swept by a later publish
    payload    TEXT NOT NULL      -- JSON; last, so that what is only looked at is read without it
) STRICT;
CREATE INDEX messages_by_channel ON messages (scope, channel, seq);
CREATE INDEX messages_by_expiry ON messages (expires_ms);

CREATE TABLE channels (
    name     TEXT NOT NULL,
    scope    INTEGER NOT NULL REFERENCES scopes (id),
    last_seq INTEGER NOT NULL,  -- the newest message, retained or not
    last_ms  INTEGER NOT NULL,
    count    INTEGER NOT NULL,  -- messages stored now; without any there is no row
    pruned_seq INTEGER NOT NULL DEFAULT 0,  -- the newest that was removed for its number or its age of 7 days
    PRIMARY KEY (scope, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX channels_by_name ON channels (name);

-- Durable positions: the last seq that a named subscriber has handled.
CREATE TABLE cursors (
    scope INTEGER NOT NULL REFERENCES scopes (id),
    name  TEXT NOT NULL,
    seq   INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    PRIMARY KEY (scope, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE locks (
    scope            INTEGER NOT NULL REFERENCES scopes (id),
    name             TEXT NOT NULL,
    token            INTEGER NOT NULL,
    agent            TEXT NOT NULL,
    session          TEXT,
    live             TEXT,      -- the live file whose life it shares; NULL: its agent's life
    ticket           INTEGER,   -- the waiter it was handed to, until that one has noticed
    purpose          TEXT,
    since_ms         INTEGER NOT NULL,
    ttl_ms           INTEGER,
    expires_awake_ms INTEGER,
    boot             INTEGER NOT NULL REFERENCES boots (boot),
    PRIMARY KEY (scope, name)
) STRICT, WITHOUT ROWID;
-- No index but the key: few locks are held at once, and each page that a grant touches is a page to write.

-- Everyone who waits: for a lock, or for channels.
CREATE TABLE waiters (
    ticket   INTEGER PRIMARY KEY AUTOINCREMENT,
    scope    INTEGER NOT NULL REFERENCES scopes (id),
    kind     TEXT NOT NULL CHECK (kind IN ('lock', 'channel')),
    name     TEXT NOT NULL,     -- the lock; or the channel patterns not delivered yet, comma-separated
    agent    TEXT,
    live     TEXT NOT NULL,     -- its live file: it waits as long as that is held
    alone    INTEGER NOT NULL,  -- 1: its agent does nothing else meanwhile (a shell command)
    holds    TEXT NOT NULL,     -- tokens that can't be released before this wait ends, comma-separated
    ttl_ms   INTEGER,
    purpose  TEXT,
    since_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX waiters_by_name ON waiters (kind, scope, name, ticket);
CREATE INDEX waiters_by_agent ON waiters (agent);

CREATE TABLE ports (
    port       INTEGER PRIMARY KEY CHECK (port BETWEEN 1 AND 65535),
    identity   TEXT NOT NULL,
    worktree   TEXT NOT NULL,   -- '' when shared by all
    agent      TEXT,
    scope      INTEGER NOT NULL REFERENCES scopes (id),
    claimed_ms INTEGER NOT NULL,
    used_ms    INTEGER NOT NULL,
    UNIQUE (identity, worktree)
) STRICT;

-- One row for each death that left unfinished sessions.
CREATE TABLE salvages (
    id         INTEGER PRIMARY KEY,
    agent      TEXT NOT NULL,
    state      TEXT NOT NULL CHECK (state IN ('open', 'claimed', 'completed', 'dismissed', 'returned')),
    died_ms    INTEGER NOT NULL,
    death      TEXT NOT NULL,
    by_agent   TEXT,
    claimed_ms INTEGER,
    ended_ms   INTEGER,
    told       INTEGER NOT NULL DEFAULT 0  -- the agent came back and knows
) STRICT;
CREATE INDEX salvages_by_agent ON salvages (agent, state);
CREATE UNIQUE INDEX salvages_open ON salvages (agent) WHERE state = 'open';
CREATE INDEX salvages_by_claimer ON salvages (by_agent) WHERE by_agent IS NOT NULL;
CREATE INDEX sessions_by_salvage ON sessions (salvage) WHERE salvage IS NOT NULL;

CREATE TABLE activity (
    seq     INTEGER PRIMARY KEY,
    at_ms   INTEGER NOT NULL,
    scope   INTEGER NOT NULL REFERENCES scopes (id),
    agent   TEXT,
    type    TEXT NOT NULL,      -- 'lock.grant'
    subject TEXT NOT NULL,      -- what it was done to: a lock's name, a session's id
    detail  TEXT                -- JSON object
) STRICT;
-- No index but the key, either: the log is bounded, and every call appends to it.
