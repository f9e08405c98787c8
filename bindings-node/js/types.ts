// Generated from the sources of portdaddy-core by `make types`. Don't edit.

/** Whatever JSON can hold. */
export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

/**
 * Why an operation failed: the code of an error.
 *
 * - `INVALID`: A value breaks a rule; the sentence names the value, the rule and the way out.
 * - `AMBIGUOUS`: A short name fits several things; the candidates are in `candidates`.
 * - `NO_AGENT`: The operation needs an agent and none could be resolved.
 * - `NO_SESSION`: The operation needs an active session and the agent has none.
 * - `NOT_FOUND`: Nothing of that name exists.
 * - `LOCK_HELD`: The lock is held by another and the call doesn't wait.
 * - `NOT_HELD`: Nobody holds the lock.
 * - `NOT_OWNER`: It is held or owned by another.
 * - `LEASE_LOST`: A lease ended before its holder let go: expired, taken by force, or handed on after a death.
 * - `PORT_TAKEN`: The requested port is assigned or in use.
 * - `PORTS_EXHAUSTED`: The range has no port left.
 * - `INBOX_FULL`: The recipient has left too many messages unread.
 * - `NOT_SALVAGEABLE`: The agent's work was already claimed by another, or it isn't dead.
 * - `OWNER_GONE`: Nobody is left who could send what was waited for, or the agent it was for is gone.
 * - `TIMEOUT`: The time given ran out.
 * - `DEADLOCK`: Waiting would close a cycle; the cycle is in `cycle`.
 * - `CANCELLED`: The caller cancelled the wait.
 * - `CLOSED`: The handle was closed.
 * - `FORKED`: The handle was opened before a fork and used in the child.
 * - `SECOND_COPY`: Another copy of this library has the same database open in this process.
 * - `STORE_BUSY`: The database stayed locked by a stopped or stuck process.
 * - `STORE_FULL`: No space left for the database.
 * - `STORE_READ_ONLY`: The database or its directory can't be written.
 * - `STORE_PERMISSION`: Permission denied, or the directory is open to other users.
 * - `STORE_CORRUPT`: The file isn't a database of this library, or it is damaged.
 * - `STORE_NEWER`: The file was made by a newer version.
 * - `STORE_FILESYSTEM`: The filesystem can't carry a shared database.
 * - `STORE_LOCATION`: No place for the database could be found.
 * - `STORE_IO`: Reading or writing failed for another reason.
 * - `INTERNAL`: A defect in this library.
 */
export type ErrorCode =
  | 'INVALID'
  | 'AMBIGUOUS'
  | 'NO_AGENT'
  | 'NO_SESSION'
  | 'NOT_FOUND'
  | 'LOCK_HELD'
  | 'NOT_HELD'
  | 'NOT_OWNER'
  | 'LEASE_LOST'
  | 'PORT_TAKEN'
  | 'PORTS_EXHAUSTED'
  | 'INBOX_FULL'
  | 'NOT_SALVAGEABLE'
  | 'OWNER_GONE'
  | 'TIMEOUT'
  | 'DEADLOCK'
  | 'CANCELLED'
  | 'CLOSED'
  | 'FORKED'
  | 'SECOND_COPY'
  | 'STORE_BUSY'
  | 'STORE_FULL'
  | 'STORE_READ_ONLY'
  | 'STORE_PERMISSION'
  | 'STORE_CORRUPT'
  | 'STORE_NEWER'
  | 'STORE_FILESYSTEM'
  | 'STORE_LOCATION'
  | 'STORE_IO'
  | 'INTERNAL';

/** Every error code. */
export const ERROR_CODES: readonly ErrorCode[] = [
  'INVALID',
  'AMBIGUOUS',
  'NO_AGENT',
  'NO_SESSION',
  'NOT_FOUND',
  'LOCK_HELD',
  'NOT_HELD',
  'NOT_OWNER',
  'LEASE_LOST',
  'PORT_TAKEN',
  'PORTS_EXHAUSTED',
  'INBOX_FULL',
  'NOT_SALVAGEABLE',
  'OWNER_GONE',
  'TIMEOUT',
  'DEADLOCK',
  'CANCELLED',
  'CLOSED',
  'FORKED',
  'SECOND_COPY',
  'STORE_BUSY',
  'STORE_FULL',
  'STORE_READ_ONLY',
  'STORE_PERMISSION',
  'STORE_CORRUPT',
  'STORE_NEWER',
  'STORE_FILESYSTEM',
  'STORE_LOCATION',
  'STORE_IO',
  'INTERNAL',
];

/** One thing that was done. */
export interface Activity {
  /** Its place in the order of commits. */
  seq: number;
  /** When, in milliseconds since 1970. */
  atMs: number;
  /** By whom, or to whom it happened; none for a call without an agent. */
  agent: string | null;
  /** That agent's name for people, else its id. */
  agentName: string | null;
  /** What was done: `lock.grant`, `session.start`. */
  type: string;
  /** What it was done to: a lock's name, a session's id. */
  subject: string;
  /** The particulars, an object; null where there are none. */
  detail: Json;
  /** The name of the scope. */
  scope: string;
}

/** Which entries to list. */
export interface ActivityFilter {
  /** The newest so many; 50 if left out. */
  limit?: number | null;
  /** Only this type, or with a final dot all that begin so: `lock.`. */
  type?: string | null;
  /** Only what this agent did, or what happened to it. */
  agent?: string | null;
  /** Only from this moment on, in milliseconds since 1970. */
  sinceMs?: number | null;
  /** Every scope's. */
  all?: boolean;
  /** Only what came after this place in the order of commits. */
  afterSeq?: number | null;
}

/** The entries of a scope, and how many others were left out. */
export interface ActivityList {
  /** Oldest first. */
  entries: Activity[];
  /** How many of other scopes, as new as those listed, were left out. */
  elsewhere: number;
}

/** An agent, as others see it. */
export interface Agent {
  /** Its id. */
  id: string;
  /** Its name for people, if it gave one. */
  name: string | null;
  /** `project[:stack[:context]]`, if it gave one. */
  identity: string | null;
  /** What it is for, if it said so. */
  purpose: string | null;
  /** `ai`, `human`, `ci`, `cli`, or what it said. */
  type: string;
  /** The coding harness it runs in, if one was seen. */
  harness: string | null;
  /** The scope that it last called from. */
  scope: string;
  /** How it is doing. */
  state: AgentState;
  /** When it registered, in milliseconds since 1970. */
  registeredMs: number;
  /** Its last sign of life, in milliseconds since 1970. */
  seenMs: number;
  /** How long it has been silent, in milliseconds that the machine was awake. */
  silentMs: number;
  /** When it was found dead, in milliseconds since 1970. */
  diedMs: number | null;
  /** By what proof it was found dead. */
  death: string | null;
  /** What proves its life. One that was lost stays until the agent calls again. */
  proofs: Proof[];
  /** Its active sessions. */
  activeSessions: number;
  /** True for a dead agent that left unfinished work. */
  unfinished: boolean;
}

/** Which agents to list. */
export interface AgentFilter {
  /** Every scope's agents, not only those seen in the caller's. */
  all?: boolean;
  /** Only identities of this project. */
  project?: string | null;
  /** Also those that said goodbye, and those dead for more than a day who left nothing unfinished. */
  left?: boolean;
}

/** The agents of a scope, and how many others were left out. */
export interface AgentList {
  /** Alive ones first, then by their last sign of life. */
  agents: Agent[];
  /** How many of other scopes were left out. */
  elsewhere: number;
}

/**
 * How an agent is doing.
 *
 * - `active`: Alive and heard of lately.
 * - `stale`: Alive as far as can be told, but silent for long.
 * - `dead`: Its proofs of life are lost, or it was silent for too long.
 * - `left`: It said goodbye.
 */
export type AgentState = 'active' | 'stale' | 'dead' | 'left';

/** What an agent says of itself. Fields left out keep what was said before. */
export interface Registration {
  /** A name for people, up to 128 bytes. */
  name?: string | null;
  /** `project[:stack[:context]]`. */
  identity?: string | null;
  /** What it is for, up to 4 KiB. */
  purpose?: string | null;
  /** `ai`, `human`, `ci`, `cli`, or another word. */
  type?: string | null;
}

/** Who a call is taken to come from. */
export interface Whoami {
  /** The agent's id; none where nothing around the call names one. */
  agent: string | null;
  /** How the agent was found. */
  source: Source;
  /** The agent as registered; none before its first writing call. */
  registered: Agent | null;
  /** The session that notes would go to. */
  session: Session | null;
  /** The scope's name. */
  scope: string;
  /** The scope's key. */
  scopeKey: string;
  /** The database file. */
  db: string;
}

/** A backup that was made. */
export interface BackupMade {
  /** The file. */
  file: string;
  /** Its size. */
  bytes: number;
  /** The last place in the order of commits that is in it: everything up to there is, and nothing after. */
  seq: number;
}

/** A backup that was restored. */
export interface Restored {
  /** The database. */
  db: string;
  /** The backup. */
  file: string;
  /** The copy of what the database held before. */
  kept: string | null;
  /** The schema that the backup had. */
  schema: number;
  /** The last place in the order of commits that the backup had. */
  seq: number;
  /** Whether the database was damaged, and so was put aside as a whole. */
  wasDamaged: boolean;
}

/**
 * How a caller was found.
 *
 * - `named`: The call says so.
 * - `environment`: `PORT_DADDY_AGENT` says so.
 * - `harness_session`: The harness's session id, from the environment.
 * - `harness_process`: The nearest ancestor process that is a harness.
 * - `shell`: The interactive shell that the command was typed into.
 * - `instance`: The open instance of the library is an agent of its own.
 * - `nobody`: Not found.
 */
export type Source = 'named' | 'environment' | 'harness_session' | 'harness_process' | 'shell' | 'instance' | 'nobody';

/** One thing that was looked at. */
export interface Check {
  /** What: `integrity`, `filesystem`. */
  name: string;
  /** Whether it is as it should be. With a hint as well, it is worth knowing all the same. */
  ok: boolean;
  /** What was found. */
  detail: string;
  /** What to do about it. */
  hint: string | null;
}

/** What to claim. */
export interface ClaimFiles {
  /** Patterns, relative to the handle's directory: at most 1,000. `path:10-50` claims lines. */
  files: readonly string[];
  /** Claims what others have claimed as well. */
  force?: boolean;
  /** The session, by id or unique prefix; without it the agent's newest active one. */
  session?: string | null;
}

/** Which claims to list. */
export interface ClaimFilter {
  /** Every scope's, not only the caller's. */
  all?: boolean;
  /** Only this session's, by id or unique prefix, in whatever scope. */
  session?: string | null;
  /** Only this agent's. */
  agent?: string | null;
}

/** The claims of a scope, and how many others were left out. */
export interface ClaimList {
  /** Oldest first. */
  claims: FileClaim[];
  /** How many of other scopes were left out. */
  elsewhere: number;
}

/** What became of the patterns of one call. */
export interface ClaimedFiles {
  /** The session that claims. */
  session: string;
  /** What it has claimed now, or had before. */
  claimed: FileClaim[];
  /** Overlaps with the claims of living agents. Their patterns are claimed only by force. */
  conflicts: Conflict[];
  /** Overlaps with the claims of dead agents, which block nothing: their work can be salvaged. */
  deadOverlaps: Conflict[];
}

/** Another session's claim that overlaps with a pattern. */
export interface Conflict {
  /** The caller's pattern, relative to its root. */
  pattern: string;
  /** The caller's lines. */
  lines: LineRange | null;
  /** The other's claim. */
  with: FileClaim;
  /** What the other's session is for. */
  sessionPurpose: string;
  /** A path that both match, relative to the caller's root, or absolute where it lies outside. */
  witness: string;
  /** Whether `witness` exists on disk. */
  exists: boolean;
  /** False where the other works in another working tree or clone: a merge ahead, not an overwrite. */
  sameWorktree: boolean;
  /** How the other's agent is doing. */
  holderState: AgentState;
}

/** A session's claim on files. */
export interface FileClaim {
  /** The session. */
  session: string;
  /** The session's agent. */
  agent: string;
  /** Its name for people, else its id. */
  agentName: string;
  /** The pattern, relative to `root`. */
  pattern: string;
  /** The working tree's root; `/` outside git. */
  root: string;
  /** The lines; none for the whole of each file. */
  lines: LineRange | null;
  /** Whether it was taken against another's claim. */
  forced: boolean;
  /** When it was made, in milliseconds since 1970. */
  sinceMs: number;
  /** The scope's name. */
  scope: string;
}

/** A claim that covers a path, or lies below it where it is a directory. */
export interface Owner {
  /** The claim. */
  claim: FileClaim;
  /** How its agent is doing. */
  state: AgentState;
  /** What its session is for. */
  purpose: string;
  /** False where it is in another working tree or clone of the repository. */
  sameWorktree: boolean;
}

/** Who has claimed a path. */
export interface Ownership {
  /** The path, relative to the caller's root. */
  path: string;
  /** Oldest claim first. */
  owners: Owner[];
}

/** The work in a working tree that is in no remote repository, as git shows it at this moment. */
export interface WorkLeft {
  /** The working tree's root. */
  worktree: string;
  /** The branch, unless HEAD is detached. */
  branch: string | null;
  /** The full commit id, unless nothing was committed yet. */
  commit: string | null;
  /** Uncommitted files as git's short status shows them, `M src/a.ts`; at most 200. */
  uncommitted: string[];
  /** Stash entries, newest first. All working trees of a repository share them. At most 200. */
  stashes: string[];
  /**
   * Commits that are on HEAD and on no remote-tracking branch, `abc1234 subject`, newest first; at most 200. None where
   * the repository has no remote.
   */
  unpushed: string[];
  /** Why the rest is missing, if something is. */
  problem: string | null;
  /** Whether a list was cut. */
  truncated: boolean;
}

/** Lines of a file, both ends inclusive, from 1. */
export interface LineRange {
  /** The first line. */
  first: number;
  /** The last line, which belongs to the range. */
  last: number;
}

/** A message to one agent. */
export interface DirectMessage {
  /** Its place in the order of commits. */
  seq: number;
  /** Who sent it, if an agent did. */
  sender: string | null;
  /** The sender's name for people, else its id. */
  senderName: string | null;
  /** To whom. */
  recipient: string;
  /** What it says. */
  text: string;
  /** When it was sent, in milliseconds since 1970. */
  atMs: number;
  /** When it was shown to its recipient, in milliseconds since 1970. */
  shownMs: number | null;
}

/** Which of the caller's messages to list. */
export interface DirectMessageFilter {
  /** The newest so many; without it 20. */
  limit?: number | null;
}

/**
 * Whether and when the recipient will see a message.
 *
 * - `woken`: It waits for messages at this moment.
 * - `next_turn`: Its harness shows it on its next turn.
 * - `if_it_looks`: It lives, and sees it if it looks.
 * - `nobody`: It is dead, or has left.
 */
export type Reach = 'woken' | 'next_turn' | 'if_it_looks' | 'nobody';

/** A message that was sent. */
export interface Sent {
  /** The message. */
  message: DirectMessage;
  /** The recipient's name for people, else its id. */
  recipientName: string;
  /** Whether the recipient will see it. */
  reach: Reach;
  /** Since when the recipient is dead, or silent after it left, in milliseconds since 1970; none for one that lives. */
  goneMs: number | null;
}

/** One proof of life, as stored. */
export interface Proof {
  /** What it is. */
  kind: ProofKind;
  /** The locked file's name (instance, command); empty for a process. */
  live: string;
  /** The process. */
  pid: number;
  /** When the process started, in clock ticks since boot. */
  start: number;
  /** The pid namespace that `pid` belongs to. */
  namespace: number;
  /** Whether it was recorded in this boot. */
  thisBoot: boolean;
  /** The process's name, for people. */
  what: string;
}

/**
 * What kind of thing proves a life.
 *
 * - `instance`: An open handle of this library, by its locked file. Strong.
 * - `command`: A command that stays (`pd sub`, `pd with-lock`, `pd run`), by its locked file. Proves life while it
 *   runs; its end proves nothing. One that only waits proves nothing where all strong proofs are lost: it was left
 *   behind.
 * - `process`: A harness's process. Strong.
 * - `shell`: An interactive shell: its end proves death, its life proves little.
 */
export type ProofKind = 'instance' | 'command' | 'process' | 'shell';

/** Which locks to list. */
export interface LockFilter {
  /** Every scope's. */
  all?: boolean;
}

/** A held lock, as everyone sees it. */
export interface LockInfo {
  /** Its name. */
  name: string;
  /** The fencing token of this grant: greater than that of every grant before. */
  token: number;
  /** Who holds it. */
  agent: string;
  /** The holder's name for people. */
  agentName: string;
  /** The holder's session when it was granted. */
  session: string | null;
  /** What for: what the holder said, else its session's purpose. */
  purpose: string | null;
  /** When it was granted, in milliseconds since 1970. */
  sinceMs: number;
  /** When its lease ends, in milliseconds since 1970; none without a TTL. */
  expiresMs: number | null;
  /** How the holder is doing. */
  holderState: AgentState;
  /** Who waits for it, first come first. */
  waiters: LockWaiter[];
  /** The scope's name. */
  scope: string;
}

/** The held locks of a scope, and how many others were left out. */
export interface LockList {
  /** By name. */
  locks: LockInfo[];
  /** How many of other scopes were left out. */
  elsewhere: number;
}

/** One who waits for a lock. */
export interface LockWaiter {
  /** Its agent. */
  agent: string;
  /** Its agent's name for people. */
  agentName: string;
  /** Since when, in milliseconds since 1970. */
  sinceMs: number;
}

/** How to release a lock by name. */
export interface Unlock {
  /** Even another's; the activity log remembers. */
  force?: boolean;
  /** Only this grant. */
  token?: number | null;
}

/** Which channels to list. */
export interface ChannelFilter {
  /** Only these: names or patterns, separated by commas. */
  pattern?: string | null;
  /** Of every scope, not only the caller's. */
  all?: boolean;
}

/** A channel that has messages. */
export interface ChannelInfo {
  /** Its name. */
  name: string;
  /** How many messages are stored. */
  count: number;
  /** The newest message's place in the order of commits. */
  lastSeq: number;
  /** When the newest was published, in milliseconds since 1970. */
  lastMs: number;
  /** Its scope. */
  scope: string;
  /** How many recorded waiters it concerns. */
  waiting: number;
}

/** The channels of a scope, and how many others were left out. */
export interface ChannelList {
  /** By name. */
  channels: ChannelInfo[];
  /** How many of other scopes were left out. */
  elsewhere: number;
}

/** A message, as stored. */
export interface Message {
  /** Its place in the order of commits. Rises, with gaps. */
  seq: number;
  /** The channel that it was published on. */
  channel: string;
  /** What was published: any JSON value. */
  payload: Json;
  /** Who published it, if that was known. */
  agent: string | null;
  /** The publisher's name for people: its name, else its id. */
  agentName: string | null;
  /** When, in milliseconds since 1970. */
  atMs: number;
  /** The scope that it was published in. */
  scope: string;
}

/** Which messages to list. */
export interface MessageFilter {
  /** Only of these channels: names or patterns, separated by commas. */
  patterns?: string | null;
  /** The first ones after this seq, instead of the newest. */
  afterSeq?: number | null;
  /** At most this many; without it 100. */
  limit?: number | null;
  /** Of every scope, not only the caller's. */
  all?: boolean;
}

/** How to publish. The default keeps the message for 7 days, and 10,000 messages of its channel. */
export interface Publish {
  /** After this many milliseconds it is no longer delivered; without it after 7 days. */
  ttl?: number | null;
  /** How many messages of the channel to keep; without it 10,000. */
  keep?: number | null;
}

/** What came of a publish. */
export interface Published {
  /** The message's place in the order of commits. */
  seq: number;
  /** The channel. */
  channel: string;
  /** When, in milliseconds since 1970. */
  atMs: number;
  /** How many recorded waiters it concerned. */
  waiting: number;
}

/** What to write. */
export interface NewNote {
  /** 1 byte to 1 MiB. */
  text: string;
  /** A slug; without it `note`. */
  type?: string | null;
  /** The session, by id or unique prefix; without it the agent's newest active one. */
  session?: string | null;
}

/** An entry of the journal. */
export interface Note {
  /** Its place in the order of all commits. */
  seq: number;
  /** The session. */
  session: string;
  /** Who wrote it. */
  agent: string;
  /** The author's name for people, else its id. */
  agentName: string;
  /** `note`, `commit`, `blocker`, `handoff`, or any slug. */
  type: string;
  /** What was written. */
  text: string;
  /** The scope's name. */
  scope: string;
  /** When it was written, in milliseconds since 1970. */
  atMs: number;
}

/** Which notes to read. */
export interface NoteFilter {
  /** At most this many; without it 20. */
  limit?: number | null;
  /** Only this session's, by id or unique prefix, in whatever scope. */
  session?: string | null;
  /** Only this author's, by id or name. */
  agent?: string | null;
  /** Only this type. */
  type?: string | null;
  /** Only those of sessions, or else authors, whose identity is in this project. */
  project?: string | null;
  /** Only those written since this moment, in milliseconds since 1970. */
  sinceMs?: number | null;
  /** Only those that hold this text, in whatever case. */
  grep?: string | null;
  /** Every scope's, not only the caller's. */
  all?: boolean;
  /** The first ones after this place, instead of the newest. */
  afterSeq?: number | null;
}

/** Notes of a scope, and how many others were left out. */
export interface NoteList {
  /** Oldest first. */
  notes: Note[];
  /** How many of other scopes were left out. No more than 1,000 are looked at. */
  elsewhere: number;
}

/** A note that was written. */
export interface WrittenNote {
  /** The note. */
  note: Note;
  /** Whether a session was opened for it, the agent having none. */
  openedSession: boolean;
}

/** A port to claim. */
export interface ClaimPort {
  /** Whose port: `project[:stack[:context]]`. */
  identity: string;
  /** This port and no other. An assignment that the identity has already moves to it. */
  port?: number | null;
  /** The lowest free port between these two, both included. Without it `PORT_DADDY_RANGE`, else 3100 to 9999. */
  range?: [number, number] | null;
  /** One port for all working trees instead of one for each. */
  shared?: boolean;
}

/** An assigned port. */
export interface PortClaim {
  /** Whose it is. */
  identity: string;
  /** The port. */
  port: number;
  /** The agent that claimed it last, if the call had one. */
  agent: string | null;
  /** That agent's name for people, else its id. */
  agentName: string | null;
  /** The working tree that it belongs to; none where it is shared by all, or was claimed outside a repository. */
  worktree: string | null;
  /** The scope that it was claimed from. */
  scope: string;
  /** When it was assigned, in milliseconds since 1970. */
  claimedMs: number;
  /** When it was last claimed, in milliseconds since 1970, to within 5 s. */
  usedMs: number;
  /** Whether the identity had it before this call. */
  existing: boolean;
  /** Whether something listens there now. */
  listening: boolean;
  /** What listens there, where that can be told. */
  listener: PortListener | null;
}

/** A process that listens on a port. */
export interface PortListener {
  /** Its process id. */
  pid: number;
  /** Its command line, at most 200 characters. */
  command: string;
}

/** Which assignments to give up. */
export interface Release {
  /** Those shared by all working trees instead of this working tree's. */
  shared?: boolean;
  /** Those of every working tree, except what another living agent has in another one. */
  allWorktrees?: boolean;
}

/** Which assignments to list. */
export interface ServiceFilter {
  /** An identity, or a pattern of identities. */
  pattern?: string | null;
  /** Those of every scope. */
  all?: boolean;
}

/** Assigned ports, and how many others were left out. */
export interface ServiceList {
  /** By port. */
  services: PortClaim[];
  /** How many of other scopes were left out. */
  elsewhere: number;
}

/** What an agent needs to go on with another's work. */
export interface Briefing {
  /** The work as it was left: its sessions still name the dead agent. */
  item: SalvageItem;
  /** The same sessions, now the caller's. */
  sessions: Session[];
  /**
   * Messages to the dead agent that it was never shown, oldest first. They stay its own, for the case that it returns.
   */
  unseen: DirectMessage[];
  /** All of it in words, several lines. It quotes what others wrote as they wrote it. */
  text: string;
}

/** Which work to list. */
export interface SalvageFilter {
  /** Only agents, or sessions, of this project. */
  project?: string | null;
  /** Every scope's, and what was claimed and isn't finished yet. */
  all?: boolean;
}

/** The unfinished work of a dead agent. */
export interface SalvageItem {
  /** The dead agent. */
  agent: string;
  /** Its name for people, else its id. */
  agentName: string;
  /** Its identity, if it had one. */
  identity: string | null;
  /** What it was for, if it said so. */
  purpose: string | null;
  /** When it was found dead, in milliseconds since 1970. */
  diedMs: number;
  /** By what proof. */
  death: string;
  /** Its unfinished sessions with their claims and notes. */
  sessions: SessionDetail[];
  /** Its last ten notes, oldest first. */
  notes: Note[];
  /** Its claims. */
  claims: FileClaim[];
  /** What stands in its working trees now. Only looked at by listing and claiming. */
  work: WorkLeft[];
  /** What became of it. */
  state: SalvageState;
  /** Who took it, or dismissed it. */
  claimedBy: string | null;
  /** That agent's name for people, else its id. */
  claimedByName: string | null;
  /** When, in milliseconds since 1970. */
  claimedMs: number | null;
}

/** The work left in a scope, and how much was left out. */
export interface SalvageList {
  /** The oldest death first. */
  items: SalvageItem[];
  /** How many of other scopes were left out. */
  elsewhere: number;
}

/**
 * What became of a dead agent's work.
 *
 * - `open`: Nobody has taken it yet.
 * - `claimed`: Another agent goes on with it.
 * - `completed`: The one that took it has finished it.
 * - `dismissed`: It was given up.
 * - `returned`: The agent was alive after all, or the work was given back to it.
 */
export type SalvageState = 'open' | 'claimed' | 'completed' | 'dismissed' | 'returned';

/** The last write of a file by an agent. */
export interface Written {
  /** The file, absolute and without symbolic links. */
  path: string;
  /** Who wrote it. */
  agent: string;
  /** The agent's name for people, else its id. */
  agentName: string;
  /** How the agent is doing. */
  state: AgentState;
  /** When, in milliseconds since 1970. */
  atMs: number;
}

/** How to end a session. */
export interface EndSession {
  /** By id or unique prefix; without it the agent's newest active one. */
  session?: string | null;
  /** `completed` or `abandoned`; without it `completed`. */
  status?: SessionStatus | null;
  /** A last note. */
  note?: string | null;
}

/** What to start. */
export interface NewSession {
  /** What it is for: 1 byte to 4 KiB. */
  purpose: string;
  /** Files to claim, at most 1,000 patterns. */
  files?: readonly string[];
  /** Claims what others have claimed as well. */
  force?: boolean;
  /** What it does first, up to 64 bytes. */
  phase?: string | null;
  /** `project[:stack[:context]]`; without it the agent's. */
  identity?: string | null;
}

/** A unit of work. */
export interface Session {
  /** `session-` and a short random suffix. */
  id: string;
  /** The scope's name. */
  scope: string;
  /** The agent that may write to it. */
  agent: string;
  /** Its name for people, else its id. */
  agentName: string;
  /** `project[:stack[:context]]`, if it was given or the agent had one. */
  identity: string | null;
  /** What it is for. */
  purpose: string;
  /** How far it has come. */
  status: SessionStatus;
  /** What it is doing now, if it said so. */
  phase: string | null;
  /** The key of the repository that it began in. */
  repository: string | null;
  /** The working tree that it began in. */
  worktree: string | null;
  /** The branch that it began on. */
  branch: string | null;
  /** The commit that it began on. */
  commit: string | null;
  /** When it began, in milliseconds since 1970. */
  startedMs: number;
  /** When it ended, in milliseconds since 1970. */
  endedMs: number | null;
  /** The dead agent that it was taken over from. */
  salvagedFrom: string | null;
  /** How many notes it has. */
  notes: number;
}

/** A session with what belongs to it. */
export interface SessionDetail {
  /** The session. */
  session: Session;
  /** Its claims; none once it has ended. */
  claims: FileClaim[];
  /** Its newest 1,000 notes, oldest first. */
  notes: Note[];
}

/** Which sessions to list. */
export interface SessionFilter {
  /** Every scope's, not only the caller's. */
  all?: boolean;
  /** Only those that came this far. */
  status?: SessionStatus | null;
  /** Only this agent's. */
  agent?: string | null;
  /** Only identities of this project. */
  project?: string | null;
  /** At most this many, the newest; without it 50. */
  limit?: number | null;
}

/** The sessions of a scope, and how many others were left out. */
export interface SessionList {
  /** Oldest first. */
  sessions: Session[];
  /** How many of other scopes were left out. */
  elsewhere: number;
}

/**
 * How far a session has come.
 *
 * - `active`: It goes on.
 * - `completed`: It ended with its work done.
 * - `abandoned`: It ended without.
 */
export type SessionStatus = 'active' | 'completed' | 'abandoned';

/** A session that began, and what became of its claims. */
export interface StartedSession {
  /** The session. */
  session: Session;
  /** What it has claimed. */
  claimed: FileClaim[];
  /** Overlaps with the claims of living agents. Their patterns are claimed only by force. */
  conflicts: Conflict[];
  /** Overlaps with the claims of dead agents, which block nothing: their work can be salvaged. */
  deadOverlaps: Conflict[];
}

/** How many agents do how. Those that said goodbye aren't counted. */
export interface AgentCounts {
  /** Alive and heard of lately. */
  active: number;
  /** Alive as far as can be told, but silent for long. */
  stale: number;
  /** Dead. */
  dead: number;
}

/** What the database holds, whatever the scope. */
export interface Status {
  /** The database file. */
  db: string;
  /** Its size in bytes. */
  sizeBytes: number;
  /** The size of its write-ahead log in bytes. */
  walBytes: number;
  /** The version of its schema. */
  schema: number;
  /** The last place in the order of commits. */
  seq: number;
  /** The name of the scope that the caller stands in. */
  scope: string;
  /** How many agents do how. */
  agents: AgentCounts;
  /** Active sessions. */
  sessions: number;
  /** File claims. */
  claims: number;
  /** Locks held. */
  locks: number;
  /** Who waits for what, the longest wait first. */
  waiters: Waiting[];
  /** Channels with at least one message kept. */
  channels: number;
  /** Messages kept. */
  messages: number;
  /** Ports assigned. */
  ports: number;
  /** Dead agents whose unfinished work nobody has taken. */
  salvage: number;
}

/** Someone who waits. */
export interface Waiting {
  /** The agent, if the waiting call has one. */
  agent: string | null;
  /** What for: `lock`, `channel` or `inbox`. */
  kind: string;
  /** The lock, the channel patterns that haven't delivered yet, or the agent whose messages. */
  name: string;
  /** Since when, in milliseconds since 1970. */
  sinceMs: number;
  /** The name of the scope. */
  scope: string;
}

/** A message as it reaches a subscriber. */
export interface Delivery {
  /** The message. */
  message: Message;
  /** Whether it was published before the subscription began. */
  replayed: boolean;
  /** How old it is, in milliseconds. */
  ageMs: number;
  /** How its sender is doing, for a replayed message of a known agent. */
  senderState: AgentState | null;
}

/** What a subscription gives. */
export type Event = { event: 'message'; data: Delivery } | { event: 'warning'; data: Warning };

/** Why a wait may be in vain, or incomplete. */
export interface Warning {
  /** What it is about. */
  code: WarningCode;
  /** A sentence for people. */
  text: string;
}

/**
 * The kinds of `Warning`.
 *
 * - `deadlock`: Agents wait for each other in a circle.
 * - `owner_gone`: The agent that a channel belongs to is dead, has left or is done.
 * - `other_scope`: The channel was published in another scope.
 * - `pruned`: Messages after the subscriber's position were removed before it came by.
 */
export type WarningCode = 'deadlock' | 'owner_gone' | 'other_scope' | 'pruned';
