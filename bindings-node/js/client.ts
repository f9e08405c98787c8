/**
 * Coordination for agents, scripts and people on one machine: ports, locks, file claims, signals, a journal, and salvage
 * of each other's work, in one SQLite file, with no daemon.
 *
 * @packageDocumentation
 */
import { EventEmitter } from 'node:events';

import { asyncDispose, Calls } from './calls.js';
import { invalid, PortDaddyError } from './error.js';
import { encode, opaque } from './json.js';
import { type Lock, type LockOptions, outside, runUnder, take, type WithLockOptions } from './lock.js';
import { Follow, Subscription, type SubscribeOptions } from './subscription.js';
import type {
  Activity,
  ActivityFilter,
  ActivityList,
  Agent,
  AgentFilter,
  AgentList,
  Briefing,
  ChannelFilter,
  ChannelList,
  BackupMade,
  Check,
  ClaimedFiles,
  ClaimFiles,
  ClaimFilter,
  ClaimList,
  ClaimPort,
  DirectMessage,
  DirectMessageFilter,
  EndSession,
  FileClaim,
  LockFilter,
  LockInfo,
  LockList,
  Message,
  MessageFilter,
  NewNote,
  NewSession,
  Note,
  NoteFilter,
  NoteList,
  Ownership,
  PortClaim,
  Publish,
  Published,
  Registration,
  Release,
  SalvageFilter,
  SalvageItem,
  SalvageList,
  Sent,
  ServiceFilter,
  ServiceList,
  Restored,
  Session,
  SessionDetail,
  SessionFilter,
  SessionList,
  StartedSession,
  Status,
  Unlock,
  Whoami,
  WrittenNote,
} from './types.js';

export { type ErrorCode, PortDaddyError, type PortDaddyErrorOptions } from './error.js';
export { Lock, type LockOptions, type WithLockOptions } from './lock.js';
export {
  Follow,
  type MessageMeta,
  type Received,
  type SubscribeOptions,
  Subscription,
  type SubscriptionEvents,
} from './subscription.js';
export type * from './types.js';
export { ERROR_CODES } from './types.js';

/** How a client is made. What is left out is found as `pd` finds it. */
export interface PortDaddyOptions {
  /** Who calls, by agent id. Without it the environment is asked, else the client is an agent of its own. */
  agentId?: string | undefined;
  /** The session that calls belong to, by id or unique prefix; without it the agent's newest active one. */
  session?: string | undefined;
  /** The database file; without it `PORT_DADDY_DB`, else the user's state directory. */
  db?: string | undefined;
  /** A scope by name, shared by all who name it; without it `PORT_DADDY_SCOPE`, else the repository of `cwd`. */
  scope?: string | undefined;
  /** The scope of everything outside repositories. */
  global?: boolean | undefined;
  /** Where relative paths start and which repository this is; without it the process's working directory. */
  cwd?: string | undefined;
}

/** What a {@link PortDaddy} emits. */
export interface PortDaddyEvents {
  notice: [text: string];
}

/** Notices that are kept for {@link PortDaddy.takeNotices}: the newest. */
const NOTICES = 100;
/** The longest delay of a timer; a longer one fires at once. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/**
 * A client of the shared database, for one caller in one scope. While it is open it proves its agent's life; a process
 * that ends in order releases what its clients hold, one that is killed is found dead at once.
 *
 * Making one never blocks: the database is opened on a thread of its own before the first operation, which rejects if
 * that fails. Operations start in the order of the calls. Every rejection is a {@link PortDaddyError} with a `code`;
 * besides those named at an operation, any can reject with INVALID for an argument that breaks a rule, CLOSED after
 * {@link close}, and with what opening the database can fail with: AMBIGUOUS, SECOND_COPY, FORKED, STORE_*. Times in
 * results are milliseconds since 1970, in fields that end in `Ms`; durations that are passed are milliseconds.
 *
 * A client keeps the process alive while a call is pending or a subscription is listened to, and not otherwise. One serves
 * a whole program: each has a thread and connections of its own. A program that ends in order withdraws at its end, which
 * blocks for as long as another process holds the database's write lock, five seconds at most.
 *
 * Event `notice` (text): what the caller should be told and hasn't asked for, such as who salvaged its work while it was
 * thought dead. Without a listener notices wait for {@link takeNotices}.
 *
 * @example
 * import { PortDaddy } from 'port-daddy/client';
 *
 * const pd = new PortDaddy({ agentId: 'backend-builder' });
 * await pd.startSession({ purpose: 'Building the payment API', files: ['src/api/payments/*'] });
 * await pd.withLock('db-migrations', () => migrate());
 * const { port } = await pd.claim('payments:api');
 * await pd.publish('payments:api', { status: 'healthy', port });
 * await pd.endSession('Payment API complete');
 */
export class PortDaddy extends EventEmitter<PortDaddyEvents> {
  readonly #calls: Calls;
  readonly #beats = new Set<NodeJS.Timeout>();
  #notices: string[] = [];
  #closed: Promise<void> | undefined;

  /**
   * Opens a client.
   *
   * @throws INVALID for an unknown option or one of another type; NO_ADDON where the platform has none.
   */
  constructor(options: PortDaddyOptions = {}) {
    super();
    this.#calls = new Calls(checkClient(options), (text) => this.#notice(text));
  }

  /**
   * Registers the calling agent, or changes what it said of itself. Fields left out keep what was said before.
   *
   * Rejects with NO_AGENT, INVALID, STORE_*.
   */
  async registerAgent(registration: Registration = {}): Promise<Agent> {
    return await this.#call('registerAgent', [record('registerAgent', registration)]);
  }

  /**
   * Says that the calling agent lives, and promises to go on saying so: from then on, without another proof of life,
   * five minutes of silence count as its death. While a client is open, it is such a proof.
   *
   * Rejects with NO_AGENT, STORE_*.
   */
  async sendHeartbeat(): Promise<Agent> {
    return await this.#call('sendHeartbeat', []);
  }

  /**
   * Says goodbye: releases the locks that the agent holds from the shell, ends its active sessions as abandoned and
   * releases their claims; work that it has taken over is left for another. A lock that a client holds stays. A later call by the
   * agent brings it back.
   *
   * Rejects with NO_AGENT, NOT_FOUND for an agent that never registered, STORE_*.
   */
  async unregisterAgent(): Promise<Agent> {
    return await this.#call('unregisterAgent', []);
  }

  /** Lists agents. Whoever is found dead by looking is buried. Rejects with INVALID for a project that is none, STORE_*. */
  async agents(filter: AgentFilter = {}): Promise<AgentList> {
    return await this.#call('agents', [record('agents', filter)]);
  }

  /** One agent, in whatever scope. Rejects with NOT_FOUND, INVALID, STORE_*. */
  async agent(id: string): Promise<Agent> {
    return await this.#call('agent', [id]);
  }

  /**
   * Registers the caller and starts a session, in one call. The purpose and the identity are those of both.
   *
   * Rejects as {@link registerAgent} and {@link startSession}.
   */
  async begin(options: Registration & NewSession): Promise<StartedSession> {
    // What neither knows goes with the session, where it is refused.
    const { name, type, ...session } = record('begin', options);
    const { purpose, identity } = session;
    return await this.#call('begin', [{ name, type, purpose, identity }, session]);
  }

  /** Ends the caller's session as completed, with a last note if one is given. Rejects as {@link endSession}. */
  async done(note?: string): Promise<Session> {
    return await this.#call('done', [note]);
  }

  /** Who the caller is taken to be, and where it stands. Writes nothing. Rejects with STORE_*. */
  async whoami(): Promise<Whoami> {
    return await this.#call('whoami', []);
  }

  /**
   * Starts a session for the calling agent, and claims the files that are free (with `force`, all). It starts even if
   * none is: what others have claimed is in `conflicts`. A string is its purpose.
   *
   * Rejects with INVALID for a purpose, pattern, phase or identity that breaks a rule, and nothing is stored then;
   * NO_AGENT, STORE_*.
   *
   * @example
   * const { session, conflicts } = await pd.startSession({ purpose: 'OAuth', files: ['src/middleware/*.ts'] });
   * for (const { pattern, witness, with: claim } of conflicts) {
   *   console.warn(`${pattern} is claimed by ${claim.agentName} (${witness})`);
   * }
   */
  async startSession(session: NewSession | string): Promise<StartedSession> {
    return await this.#call('startSession', [typeof session === 'string' ? { purpose: session } : record('startSession', session)]);
  }

  /**
   * Ends a session and releases its claims. It is the caller's newest active one unless named, and completed unless
   * `status` says otherwise. Once this resolves, the end and the last note survive a power cut.
   *
   * Rejects with INVALID for a note that breaks a rule, and for `active` as the end; NO_AGENT; NO_SESSION if there is none
   * or it has ended already; NOT_FOUND, AMBIGUOUS; NOT_OWNER for another agent's session; STORE_*.
   */
  async endSession(note?: string | EndSession, options?: EndSession): Promise<Session> {
    if (typeof note === 'object' && note !== null) {
      if (options !== undefined) throw invalid('endSession: pass a note and options, or options alone');
      return await this.#call('endSession', [record('endSession', note)]);
    }
    const end = record('endSession', options ?? {});
    return await this.#call('endSession', [note == null ? end : { ...end, note }]);
  }

  /**
   * Lists sessions: the newest, oldest of them first. There are at most 50, or `limit`.
   *
   * Rejects with INVALID for a project that is none, STORE_*.
   */
  async sessions(filter: SessionFilter = {}): Promise<SessionList> {
    return await this.#call('sessions', [record('sessions', filter)]);
  }

  /**
   * One session, in whatever scope, with its claims and notes. Any unique prefix of its id will do, with or without
   * `session-`.
   *
   * Rejects with NOT_FOUND, AMBIGUOUS, STORE_*.
   */
  async session(id: string): Promise<SessionDetail> {
    return await this.#call('session', [id]);
  }

  /**
   * Says what a session is doing now. The session is the agent's newest active one unless named.
   *
   * Rejects with INVALID for an empty phase or one over 64 bytes; otherwise as {@link endSession}.
   */
  async setPhase(phase: string, options: { session?: string | undefined } = {}): Promise<Session> {
    const { session } = only('setPhase', options, ['session']);
    return await this.#call('setPhase', [phase, session]);
  }

  /**
   * Writes a note. Once this resolves, it survives a power cut. An agent without an active session gets one, named after
   * itself, rather than lose the note.
   *
   * Rejects with INVALID for a text or type that breaks a rule; NO_AGENT; for a named session NOT_FOUND, AMBIGUOUS,
   * NOT_OWNER if it is another agent's, NO_SESSION if it has ended; STORE_*.
   *
   * @example
   * await pd.note('Created POST /api/payments', { type: 'commit' });
   */
  async note(text: string, options: Omit<NewNote, 'text'> = {}): Promise<WrittenNote> {
    return await this.#call('note', [{ ...record('note', options), text: given(text) }]);
  }

  /**
   * Reads the journal: the newest notes, oldest of them first; with `afterSeq` the first ones after that place. There are
   * at most 20, or `limit`.
   *
   * Rejects with INVALID for a type or project that is none; NOT_FOUND and AMBIGUOUS for the session and the agent;
   * STORE_*.
   */
  async notes(filter: NoteFilter = {}): Promise<NoteList> {
    return await this.#call('notes', [record('notes', filter)]);
  }

  /**
   * Gives the notes that {@link notes} would give, then each new one as it is written. It starts at once; what it fails
   * with, its loop gets. An aborted `signal` ends it.
   *
   * @throws INVALID for options that are none.
   *
   * @example
   * for await (const note of pd.followNotes({ type: 'blocker' })) console.log(note.agentName, note.text);
   */
  followNotes(filter: NoteFilter & { signal?: AbortSignal | undefined } = {}): Follow<Note> {
    const { signal, ...others } = record('followNotes', filter);
    return Follow.notes(this.#calls, encodable('followNotes', others), signal);
  }

  /**
   * Claims files for a session. What other sessions have claimed is left alone, unless forced; the rest is claimed.
   * Claiming the same pattern again changes nothing. Patterns are relative to the client's directory; `path:10-50` claims
   * lines.
   *
   * Rejects with INVALID for a pattern that is none, or more than 1,000, and nothing is claimed then; NO_AGENT,
   * NO_SESSION, NOT_FOUND, AMBIGUOUS, NOT_OWNER for another agent's session, STORE_*.
   */
  async claimFiles(files: string | readonly string[], options: Omit<ClaimFiles, 'files'> = {}): Promise<ClaimedFiles> {
    return await this.#call('claimFiles', [{ ...record('claimFiles', options), files: list(files) }]);
  }

  /**
   * Gives claims up: those of the given patterns, or all of the session's where none is given. None is an empty
   * list. Lines matter only where they are given. What was given up is returned.
   *
   * Rejects with NOT_FOUND if the session has no such claim, and nothing is given up then; otherwise as
   * {@link claimFiles}.
   */
  async releaseFiles(files: string | readonly string[], options: { session?: string | undefined } = {}): Promise<FileClaim[]> {
    const { session } = only('releaseFiles', options, ['session']);
    return await this.#call('releaseFiles', [list(files), session]);
  }

  /** Lists the claims of active sessions. Rejects with NOT_FOUND and AMBIGUOUS for the session, STORE_*. */
  async fileClaims(filter: ClaimFilter = {}): Promise<ClaimList> {
    return await this.#call('fileClaims', [record('fileClaims', filter)]);
  }

  /**
   * Which claims cover `path`, in whatever scope. Where it is a directory, also those on something below it.
   *
   * Rejects with INVALID for a path outside the caller's working tree, STORE_*.
   */
  async whoOwns(path: string): Promise<Ownership> {
    return await this.#call('whoOwns', [path]);
  }

  /**
   * Publishes a message: stores it, and wakes whoever waits for its channel. Needs no agent. The payload is any JSON
   * value of at most 1 MiB; it is kept for 7 days or `ttl` milliseconds, and 10,000 messages or `keep` of its channel.
   *
   * Rejects with INVALID for a channel that is no name, a payload that is too large, nested deeper than 100 or not JSON
   * (functions, NaN, BigInt, cycles; members that are undefined are left out, `toJSON` is honoured), a ttl or number that
   * isn't positive; nothing is stored then. STORE_*.
   *
   * @example
   * await pd.publish('payments:api', { status: 'healthy', port: 3101 });
   */
  async publish(channel: string, payload: unknown, options: Publish = {}): Promise<Published> {
    return await this.#call('publish', [channel, encode(payload, 'the payload'), record('publish', options)]);
  }

  /**
   * Subscribes to channels. They are names, or patterns where `*` is any run of characters; a comma separates several. It
   * begins with the newest message of each, if that is at most 24 hours old (see `replay`).
   *
   * The place is taken in the order of the client's calls. What the store refuses, and a database that can't be opened,
   * are `error` events.
   *
   * @throws INVALID for patterns or options of another type.
   *
   * @example
   * const sub = pd.subscribe('payments:*');
   * sub.on('message', (message, meta) => console.log(meta.channel, message.status));
   */
  subscribe<T = any>(patterns: string | readonly string[], options: SubscribeOptions = {}): Subscription<T> {
    return Subscription.start(this.#calls, patterns, record('subscribe', options));
  }

  /**
   * Waits for a channel's signal and gives its payload: at once if the channel's newest message is at most 24 hours old.
   * It waits for ever, or `timeout` milliseconds. Warnings become notices.
   *
   * Rejects with TIMEOUT, CANCELLED (`cause` is the signal's reason), INVALID for a channel that is no name, STORE_*.
   *
   * @example
   * const schema = await pd.waitForSignal('payments:schema', { timeout: 30_000 });
   */
  async waitForSignal<T = any>(
    channel: string,
    options: { timeout?: number | undefined; signal?: AbortSignal | undefined } = {},
  ): Promise<T> {
    const { signal, ...others } = record('waitForSignal', options);
    return await this.#call('waitForSignal', [channel, others], signal);
  }

  /**
   * Sends a message to one agent, named by its id; or by a name or identity that one agent has: among those alive before
   * others, and among those of the caller's scope before others. Once this resolves, it survives a power cut, and waits
   * until it is shown, 30 days at most. `reach` says whether the agent will see it.
   *
   * Rejects with INVALID for a text that breaks a rule (1 byte to 64 KiB); NOT_FOUND, AMBIGUOUS for the recipient;
   * INBOX_FULL if 1,000 messages wait for it already; STORE_*.
   *
   * @example
   * const { reach } = await pd.send('backend-builder', 'The schema is wrong: amounts are cents');
   * if (reach === 'nobody') console.log('nobody is home');
   */
  async send(agent: string, text: string): Promise<Sent> {
    return await this.#call('send', [agent, text]);
  }

  /**
   * The caller's messages that were not shown yet, oldest first; at most 100. Reading marks none as shown: that is for
   * {@link inboxShown}.
   *
   * Rejects with NO_AGENT, STORE_*.
   */
  async inbox(): Promise<DirectMessage[]> {
    return await this.#call('inbox', []);
  }

  /**
   * Says that the caller's messages up to this place were shown. They are kept for 7 days, the newest 1,000, and not given
   * again.
   *
   * Rejects with NO_AGENT, STORE_*.
   */
  async inboxShown(seq: number): Promise<void> {
    await this.#call('inboxShown', [seq]);
  }

  /** The caller's newest messages, shown or not, oldest first. Marks nothing. Rejects with NO_AGENT, STORE_*. */
  async directMessages(filter: DirectMessageFilter = {}): Promise<DirectMessage[]> {
    return await this.#call('directMessages', [record('directMessages', filter)]);
  }

  /**
   * Gives the caller's messages that were not shown yet, then each new one as it is sent. It starts at once; what it fails
   * with is thrown by the loop. None is marked as shown: that is for {@link inboxShown}. Meanwhile those who send learn that
   * the caller is woken.
   *
   * @throws INVALID for a signal that is none.
   *
   * @example
   * for await (const message of pd.followInbox()) {
   *   console.log(message.senderName, message.text);
   *   await pd.inboxShown(message.seq);
   * }
   */
  followInbox(options: { signal?: AbortSignal | undefined } = {}): Follow<DirectMessage> {
    const { signal } = only('followInbox', options, ['signal']);
    return Follow.inbox(this.#calls, signal);
  }

  /**
   * Lists stored messages, oldest first: the newest, or the first ones after a seq. There are at most 100, or `limit`.
   *
   * Rejects with INVALID, STORE_*.
   */
  async messages(filter: MessageFilter = {}): Promise<Message[]> {
    return await this.#call('messages', [record('messages', filter)]);
  }

  /** Lists the channels that have messages. Rejects with INVALID, STORE_*. */
  async channels(filter: ChannelFilter = {}): Promise<ChannelList> {
    return await this.#call('channels', [record('channels', filter)]);
  }

  /**
   * Removes the messages of the caller's scope on these channels: names or patterns, separated by commas. Gives how many
   * there were.
   *
   * Rejects with INVALID, STORE_*.
   */
  async clearChannel(pattern: string): Promise<number> {
    return await this.#call('clearChannel', [pattern]);
  }

  /**
   * Takes a lock: waits for it, or gives none where it is held and the options say not to wait. None is null, which comes
   * with `blocking: false` alone. It waits for ever, or `timeout` milliseconds.
   *
   * Not reentrant: a second call by the same agent waits like anyone's.
   *
   * Rejects with NO_AGENT, INVALID, TIMEOUT, CANCELLED (`cause` is the signal's reason), DEADLOCK (with the cycle),
   * STORE_*.
   *
   * @example
   * const lock = await pd.lock('db-migrations', { blocking: false });
   * if (lock === null) console.log('Migrations already running, skipping');
   * else {
   *   try {
   *     await migrate();
   *   } finally {
   *     await lock.release();
   *   }
   * }
   */
  lock(name: string, options?: LockOptions & { blocking?: true | undefined }): Promise<Lock>;
  lock(name: string, options: LockOptions): Promise<Lock | null>;
  async lock(name: string, options: LockOptions = {}): Promise<Lock | null> {
    const taken = await take(this.#calls, name, waiting('lock', options));
    return taken === null ? null : taken.lock;
  }

  /**
   * Releases a lock by name: the caller's own, or with `force` anyone's. With `token` it is only that grant.
   *
   * Rejects with NOT_HELD if nobody holds it, NOT_OWNER if another does, LEASE_LOST if `token` is of an earlier grant,
   * NO_AGENT, INVALID, STORE_*.
   */
  async unlock(name: string, options: Unlock = {}): Promise<LockInfo> {
    return await this.#call('unlock', [name, record('unlock', options)]);
  }

  /**
   * Waits for a lock, runs `fn` with its fencing token, and releases it, also when `fn` throws. Gives what `fn` gives.
   *
   * Rejects with what `fn` fails with; as {@link lock}, with DEADLOCK at once if this runs in a `withLock` of the same
   * name; LOCK_HELD where `blocking` is false and it is held; LEASE_LOST if the lease ended while `fn` ran.
   *
   * What starts in `fn` counts as a part of it, timers and calls that aren't awaited too: while the lock is held, their
   * waits are taken for waits that hold it up. Handlers of a subscription are nobody's part.
   *
   * @example
   * await pd.withLock('db-migrations', async (token) => {
   *   await migrate({ token });
   * });
   */
  withLock<T>(name: string, fn: (token: number) => T | PromiseLike<T>): Promise<T>;
  withLock<T>(name: string, options: WithLockOptions, fn: (token: number) => T | PromiseLike<T>): Promise<T>;
  async withLock<T>(
    name: string,
    first: WithLockOptions | ((token: number) => T | PromiseLike<T>),
    second?: (token: number) => T | PromiseLike<T>,
  ): Promise<T> {
    const [options, fn] = typeof first === 'function' ? [{}, first] : [first, second];
    if (typeof fn !== 'function') {
      throw invalid('withLock: fn must be a function', { fields: { operation: 'withLock', option: 'fn' } });
    }
    return runUnder(this.#calls, name, waiting('withLock', options), fn);
  }

  /**
   * Ends the lease of a lock this many milliseconds from now, whatever its TTL was. With `token` it is only that grant.
   *
   * Rejects as {@link unlock}, and with INVALID for a TTL that isn't positive.
   */
  async extendLock(name: string, ttl: number, options: { token?: number | undefined } = {}): Promise<LockInfo> {
    const { token } = only('extendLock', options, ['token']);
    return await this.#call('extendLock', [name, ttl, token]);
  }

  /** Lists the held locks and who waits for them. Whoever is found dead by looking is buried. Rejects with STORE_*. */
  async locks(filter: LockFilter = {}): Promise<LockList> {
    return await this.#call('locks', [record('locks', filter)]);
  }

  /** The lock of that name in the caller's scope, if it is held. Otherwise null. Rejects with INVALID, STORE_*. */
  async lockInfo(name: string): Promise<LockInfo | null> {
    return await this.#call('lockInfo', [name]);
  }

  /**
   * Gives an identity its port: the one it has in this working tree, today as yesterday, else the lowest of the range that
   * is assigned to nobody, that nothing listens on and that browsers don't block. The range is `range`, both ends
   * included, else `PORT_DADDY_RANGE`, else 3100 to 9999. With `port` it is that one and no other; with `shared` one port
   * serves all working trees. Needs no agent.
   *
   * Rejects with INVALID for an identity, port or range that breaks a rule; PORT_TAKEN where the requested port is
   * assigned to another or a foreign process listens there; PORTS_EXHAUSTED; STORE_*.
   *
   * @example
   * const { port } = await pd.claim('payments:frontend');
   */
  async claim(identity: string, options: Omit<ClaimPort, 'identity'> = {}): Promise<PortClaim> {
    return await this.#call('claim', [{ ...record('claim', options), identity: given(identity) }]);
  }

  /**
   * Gives up the ports of this working tree whose identity is, or matches, `pattern`.
   *
   * Rejects with INVALID; NOT_FOUND where nothing matches; NOT_OWNER where all that matches is in other working trees and
   * belongs to living agents; STORE_*.
   */
  async release(pattern: string, options: Release = {}): Promise<PortClaim[]> {
    return await this.#call('release', [pattern, record('release', options)]);
  }

  /**
   * Lists assigned ports, lowest first: this scope's, and all that are shared or of this working tree.
   *
   * Rejects with INVALID for a pattern that is none, STORE_*.
   */
  async services(filter: ServiceFilter = {}): Promise<ServiceList> {
    return await this.#call('services', [record('services', filter)]);
  }

  /**
   * Waits until something listens on the port of each identity: on that of this working tree, else the shared one, else
   * the only one in this scope. Identities may get their ports while this waits. It waits for ever, or `timeout`
   * milliseconds.
   *
   * Rejects with INVALID; TIMEOUT, naming what isn't up; CANCELLED (`cause` is the signal's reason); STORE_*.
   */
  async waitForService(
    identities: string | readonly string[],
    options: { timeout?: number | undefined; signal?: AbortSignal | undefined } = {},
  ): Promise<PortClaim[]> {
    const { signal, ...others } = record('waitForService', options);
    return await this.#call('waitForService', [list(identities), others], signal);
  }

  /**
   * Lists dead agents with unfinished sessions, and what stands in their working trees now. Takes up to ten seconds where
   * git is slow.
   *
   * Rejects with INVALID for a project that is none, STORE_*.
   */
  async salvage(filter: SalvageFilter = {}): Promise<SalvageList> {
    return await this.#call('salvage', [record('salvage', filter)]);
  }

  /**
   * Takes over a dead agent's unfinished sessions with their claims and journal. Of those who try, exactly one wins. The
   * decision survives a power cut.
   *
   * Rejects with NO_AGENT; NOT_FOUND for an unknown agent; NOT_SALVAGEABLE where it lives, is the caller itself, left
   * nothing, or was claimed by another; INVALID; STORE_*.
   */
  async salvageClaim(agent: string): Promise<Briefing> {
    return await this.#call('salvageClaim', [agent]);
  }

  /**
   * Says that work taken over is finished: the sessions that came with it and are still active end as completed, with
   * `note` in the journal of the newest.
   *
   * Rejects with NO_AGENT; NOT_FOUND where that work is nobody's; NOT_OWNER where another took it; INVALID; STORE_*.
   */
  async salvageComplete(agent: string, note?: string): Promise<SalvageItem> {
    return await this.#call('salvageComplete', [agent, note]);
  }

  /**
   * Gives work taken over back: the sessions that came with it and are still active are the dead agent's again, for
   * another to claim.
   *
   * Rejects as {@link salvageComplete}.
   */
  async salvageAbandon(agent: string): Promise<SalvageItem> {
    return await this.#call('salvageAbandon', [agent]);
  }

  /**
   * Gives a dead agent's work up: its sessions end as abandoned and their claims are released.
   *
   * Rejects with NO_AGENT; NOT_FOUND for an unknown agent; NOT_SALVAGEABLE where it lives, left nothing, or was claimed;
   * INVALID; STORE_*.
   */
  async salvageDismiss(agent: string): Promise<SalvageItem> {
    return await this.#call('salvageDismiss', [agent]);
  }

  /**
   * Lists what was done, the newest entries, oldest first. There are at most 50, or `limit`.
   *
   * Rejects with INVALID for a filter that can't match anything, STORE_*.
   */
  async activity(filter: ActivityFilter = {}): Promise<ActivityList> {
    return await this.#call('activity', [record('activity', filter)]);
  }

  /**
   * Gives each entry in order, first the newest ones as {@link activity} lists them (with `afterSeq` all that came after
   * it), then each new one once it is committed. It starts at once; what it fails with, its loop gets. An aborted
   * `signal` ends it.
   *
   * @throws INVALID for options that are none.
   */
  followActivity(filter: ActivityFilter & { signal?: AbortSignal | undefined } = {}): Follow<Activity> {
    const { signal, ...others } = record('followActivity', filter);
    return Follow.activity(this.#calls, encodable('followActivity', others), signal);
  }

  /** Counts what the database holds, in all scopes. Whoever is found dead by looking is buried. Rejects with STORE_*. */
  async status(): Promise<Status> {
    return await this.#call('status', []);
  }

  /**
   * Looks whether all is well: the library, the file, its place, and who the caller is taken to be. A database that can't
   * be opened is one of the answers, not a rejection.
   */
  async doctor(): Promise<Check[]> {
    return await this.#call('doctor', []);
  }

  /**
   * Copies the database into `file`, consistent as of one moment while others go on to write: everything committed before the
   * call is in it. With `force` it replaces a file that is there. A call of this client that comes after it waits for it.
   *
   * Rejects with INVALID if the file exists and `force` isn't given, or is part of a database in use; STORE_CORRUPT if the
   * database is damaged; STORE_FULL and other STORE_*.
   */
  async backup(file: string, options: { force?: boolean | undefined } = {}): Promise<BackupMade> {
    const { force = false } = only('backup', options, ['force']);
    return await this.#call('backup', [file, force]);
  }

  /**
   * Replaces what the database holds by what a backup holds, while other processes have it open. They go on with what was
   * restored. Locks, waits and living agents stay as they are now, and tokens and positions go on to rise. A copy of what was
   * there before is kept beside the database, unless `keep` is false.
   *
   * Rejects with NOT_OWNER if living agents hold locks or wait, and `force` isn't given; STORE_CORRUPT if the file is damaged
   * or no backup, or if the database itself is damaged; STORE_NEWER; NOT_FOUND; other STORE_*.
   */
  async restore(
    file: string,
    options: { force?: boolean | undefined; keep?: boolean | undefined } = {},
  ): Promise<Restored> {
    const { force = false, keep = true } = only('restore', options, ['force', 'keep']);
    return await this.#call('restore', [file, force, !keep]);
  }

  /**
   * What the caller should be told and has not asked for, such as who salvaged its work while it was thought dead. Each
   * is given once; those that a `notice` listener got aren't given. The newest 100 are kept.
   */
  takeNotices(): string[] {
    const notices = this.#notices;
    this.#notices = [];
    return notices;
  }

  /**
   * Sends a heartbeat now, and one every `interval` milliseconds (30,000) until it is stopped or the client is closed.
   * It doesn't keep the process alive. A failure is a notice. While a client is open it proves its agent's life without
   * heartbeats: they matter for an agent that goes on in other processes, and show others that it isn't stuck.
   *
   * @throws INVALID for an interval that isn't positive or longer than 24 days.
   */
  startHeartbeat(options: { interval?: number | undefined } = {}): { stop(): void } {
    const { interval = 30_000 } = only('startHeartbeat', options, ['interval']);
    if (this.#calls.closed) throw new PortDaddyError('CLOSED', 'the client was closed', { hint: 'make a new PortDaddy' });
    if (!(typeof interval === 'number' && interval >= 1 && interval <= LONGEST_TIMER_MS)) {
      throw invalid(`startHeartbeat: interval must be a number of milliseconds from 1 to ${LONGEST_TIMER_MS}`, {
        fields: { operation: 'startHeartbeat', option: 'interval' },
      });
    }
    let pending = false;
    const beat = async (): Promise<void> => {
      if (pending) return;
      pending = true;
      try {
        await this.#calls.call('sendHeartbeat', [], { holds: false });
      } catch (error) {
        if (!this.#calls.closed) this.#notice(`a heartbeat failed: ${(error as PortDaddyError).message}`);
      } finally {
        pending = false;
      }
    };
    const timer = setInterval(() => void beat(), interval).unref();
    this.#beats.add(timer);
    void beat();
    return {
      stop: () => {
        clearInterval(timer);
        this.#beats.delete(timer);
      },
    };
  }

  /**
   * Lets go in order: releases what this handle holds, withdraws its proof of life and closes the database. Calls made
   * before are finished first, waits end with CLOSED, subscriptions end. A second close does nothing.
   */
  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  /** As {@link close}. */
  [asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    for (const timer of this.#beats) clearInterval(timer);
    this.#beats.clear();
    this.#calls.closed = true;
    await this.#calls.call('close', []);
    this.#calls.forget();
  }

  #call<T>(operation: string, args: unknown[], signal?: AbortSignal): Promise<T> {
    return this.#calls.call<T>(operation, args, { signal });
  }

  #notice(text: string): void {
    if (outside(() => this.emit('notice', text))) return;
    this.#notices.push(text);
    if (this.#notices.length > NOTICES) this.#notices.shift();
  }
}

/** Options as an object: what is in it, the native side checks. */
function record<T extends object>(operation: string, options: T): T {
  if (options === null || options === undefined) return {} as T;
  const kind = typeof options === 'object' ? opaque(options)?.what : undefined;
  if (typeof options === 'object' && !Array.isArray(options) && kind === undefined) return options;
  const shown = kind ?? (Array.isArray(options) ? 'an array' : `the ${typeof options} ${String(options)}`);
  throw invalid(`${operation}: options must be an object, not ${shown}`, { fields: { operation } });
}

/** Options of which only these exist, for calls that pass them on as arguments. */
function only<T extends object>(operation: string, options: T, names: (keyof T & string)[]): T {
  const given = record(operation, options);
  for (const option of Object.keys(given)) {
    if ((names as string[]).includes(option)) continue;
    throw invalid(`${operation}: unknown option ${JSON.stringify(option)}; there are ${names.join(', ')}`, {
      fields: { operation, option },
    });
  }
  return given;
}

/** Options that JSON can hold: a stream has no promise to reject. */
function encodable<T extends object>(operation: string, options: T): T {
  encode(options, `${operation}: options`);
  return options;
}

function waiting<T extends WithLockOptions>(operation: string, options: T): T {
  const given = record(operation, options);
  if (given.onWait !== undefined && typeof given.onWait !== 'function') {
    throw invalid(`${operation}: onWait must be a function`, { fields: { operation, option: 'onWait' } });
  }
  return given;
}

/** An argument that must be there: null says what is wrong with it, where leaving it out would say something else. */
function given(argument: string): string {
  return argument ?? (null as unknown as string);
}

/** One or several. What is neither, the native side refuses. */
function list(names: string | readonly string[]): readonly string[] {
  return typeof names === 'string' ? [names] : names;
}

function checkClient(options: PortDaddyOptions): PortDaddyOptions {
  const types: Record<keyof PortDaddyOptions, 'string' | 'boolean'> = {
    agentId: 'string',
    session: 'string',
    db: 'string',
    scope: 'string',
    global: 'boolean',
    cwd: 'string',
  };
  const names = Object.keys(types) as (keyof PortDaddyOptions)[];
  const given = only('PortDaddy', options, names);
  for (const option of names) {
    const value = given[option];
    if (value === undefined || typeof value === types[option]) continue;
    const rule = types[option] === 'string' ? 'a string' : 'true or false';
    throw invalid(`PortDaddy: ${option} must be ${rule}, not ${value === null ? 'null' : `a ${typeof value}`}`, {
      fields: { operation: 'PortDaddy', option },
    });
  }
  return given;
}
