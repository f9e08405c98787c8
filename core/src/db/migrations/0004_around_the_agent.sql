-- What is remembered around an agent that does nothing for it: what it has seen of files, what it was told, what it was sent.

-- The version of a file that an agent last read or wrote.
CREATE TABLE seen_files (
    path  TEXT NOT NULL,      -- absolute, without symbolic links
    agent TEXT NOT NULL,
    hash  TEXT NOT NULL,      -- of its content; '' where no file stood there
    seq   INTEGER NOT NULL,   -- when, in the order of commits
    at_ms INTEGER NOT NULL,
    wrote INTEGER NOT NULL,   -- 1: this content is its own; 2: another's, over what it had written
    PRIMARY KEY (path, agent)
) STRICT, WITHOUT ROWID;
CREATE INDEX seen_files_by_age ON seen_files (at_ms);

-- What an agent was told by itself, so that it is told once.
CREATE TABLE told (
    agent  TEXT NOT NULL,
    what   TEXT NOT NULL,     -- a kind of news, and of what: 'signals SCOPE', 'conflict' and a claim
    seq    INTEGER NOT NULL,  -- up to here, in the order of commits
    digest TEXT NOT NULL,     -- of what it was told last
    at_ms  INTEGER NOT NULL,
    PRIMARY KEY (agent, what)
) STRICT, WITHOUT ROWID;
CREATE INDEX told_by_age ON told (at_ms);

-- That another took what an agent had claimed before, until the agent was told.
CREATE TABLE overlaps (
    seq           INTEGER PRIMARY KEY,
    holder        TEXT NOT NULL,     -- whom to tell
    session       TEXT NOT NULL,     -- whose claim came later
    root          TEXT NOT NULL,     -- that claim
    pattern       TEXT NOT NULL,
    same_worktree INTEGER NOT NULL,
    at_ms         INTEGER NOT NULL
) STRICT;
CREATE INDEX overlaps_by_holder ON overlaps (holder, seq);
CREATE INDEX overlaps_by_age ON overlaps (at_ms);

-- Messages to one agent. Agents' ids are the machine's, whatever the scope.
CREATE TABLE direct_messages (
    seq       INTEGER PRIMARY KEY,
    recipient TEXT NOT NULL,
    sender    TEXT,
    text      TEXT NOT NULL,
    at_ms     INTEGER NOT NULL,
    shown_ms  INTEGER         -- when it was shown to its recipient; NULL: not yet
) STRICT;
CREATE INDEX direct_messages_by_recipient ON direct_messages (recipient, seq);
CREATE INDEX direct_messages_to_show ON direct_messages (recipient, seq) WHERE shown_ms IS NULL;
CREATE INDEX direct_messages_by_shown ON direct_messages (shown_ms) WHERE shown_ms IS NOT NULL;

-- `waiters` once more, with who waits for messages to itself. Nobody waits across a migration, but tickets never come twice:
-- the count goes on.
UPDATE sqlite_sequence SET name = 'waiters before' WHERE name = 'waiters';
DROP TABLE waiters;
CREATE TABLE waiters (
    ticket   INTEGER PRIMARY KEY AUTOINCREMENT,
    scope    INTEGER NOT NULL REFERENCES scopes (id),
    kind     TEXT NOT NULL CHECK (kind IN ('lock', 'channel', 'inbox')),
    name     TEXT NOT NULL,     -- the lock; the channel patterns not delivered yet, comma-separated; or the agent's id
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
UPDATE sqlite_sequence SET name = 'waiters' WHERE name = 'waiters before';

-- The agent whose sub-agent it is.
ALTER TABLE agents ADD COLUMN parent TEXT;
CREATE INDEX agents_by_parent ON agents (parent) WHERE parent IS NOT NULL;

-- 1: a command that does nothing but wait, and outlives no other proof of its agent's life.
ALTER TABLE proofs ADD COLUMN waits INTEGER NOT NULL DEFAULT 0;

-- Whose a stash entry is.
CREATE TABLE stashes (
    repository TEXT NOT NULL, -- the common git directory
    commit_id  TEXT NOT NULL,
    agent      TEXT NOT NULL,
    session    TEXT,
    at_ms      INTEGER NOT NULL,
    PRIMARY KEY (repository, commit_id)
) STRICT, WITHOUT ROWID;
