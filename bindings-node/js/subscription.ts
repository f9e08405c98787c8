import { EventEmitter } from 'node:events';

import { asyncDispose, checkSignal, type Calls } from './calls.js';
import { invalid, type PortDaddyError } from './error.js';
import { outside } from './lock.js';
import { Stream } from './stream.js';
import type {
  Activity,
  ActivityFilter,
  Delivery,
  DirectMessage,
  Event,
  Message,
  Note,
  NoteFilter,
  Warning,
} from './types.js';

/** What is known of a message besides its payload. */
export interface MessageMeta extends Omit<Message, 'payload'>, Omit<Delivery, 'message'> {}

/** A message as an iterator gives it. */
export interface Received<T = any> {
  /** What was published. */
  payload: T;
  /** What is known of it besides. */
  meta: MessageMeta;
}

/** What a {@link Subscription} emits. */
export interface SubscriptionEvents<T = any> {
  message: [payload: T, meta: MessageMeta];
  warning: [warning: Warning];
  error: [error: Error];
  close: [];
}

/** How to subscribe. */
export interface SubscribeOptions {
  /**
   * What of the past to begin with: `'latest'`, the newest message of each matching channel, if it is at most 24 hours
   * old; `'none'`; `'all'` that is stored; or, with a seq, all that is stored after it. Without it `'latest'`.
   */
  replay?: 'latest' | 'none' | 'all' | number | undefined;
  /**
   * The name of a position that is kept in the database: the subscription goes on after what was last
   * {@link Subscription.ack | ack}nowledged under it, whatever `replay` says.
   */
  as?: string | undefined;
  /** A cycle of agents waiting for each other is an error instead of a warning. */
  failOnDeadlock?: boolean | undefined;
  /** `OWNER_GONE` instead of a warning, when the agent that a channel belongs to is gone. */
  failIfGone?: boolean | undefined;
  /** What for, up to 4 KiB; others can read it. */
  purpose?: string | undefined;
  /** Closes the subscription when it is aborted. */
  signal?: AbortSignal | undefined;
}

/**
 * A stream of messages. It is made by {@link PortDaddy.subscribe}, and goes on until it is closed, fails, or its client
 * is closed.
 *
 * It reads only while somebody wants messages: while `message` has a listener, or a `for await` waits. What nobody has
 * taken stays where it is, for whoever listens or iterates next. Each message goes to all listeners, and where loops
 * run, to one of them; then the loops set the pace, and listeners see a message when a loop takes it. Leaving a loop
 * doesn't close the subscription.
 *
 * Events:
 * - `message` (payload, meta). A handler that throws or rejects is told by `error`, and the subscription goes on.
 * - `warning` (warning): why the wait may be in vain, or incomplete. Without a listener it becomes a notice of the client.
 * - `error` (error): a handler has failed, or the subscription has, with a {@link PortDaddyError}; `close` follows then.
 *   A loop that waits gets the failure as well, as an exception.
 * - `close` (): it is over.
 *
 * @example
 * for await (const { payload, meta } of pd.subscribe('payments:*')) {
 *   console.log(meta.channel, payload);
 *   if (payload.status === 'healthy') break;
 * }
 */
export class Subscription<T = any> extends EventEmitter<SubscriptionEvents<T>> {
  readonly #calls: Calls;
  readonly #stream: Stream<Event, Received<T>>;
  #asked = false;
  #begun = false;

  private constructor(calls: Calls, options: object, signal: AbortSignal | undefined) {
    super({ captureRejections: true });
    this.#calls = calls;
    this.#stream = new Stream(calls, 'subscribe', options, signal, {
      listens: () => this.listenerCount('message') > 0,
      take: (event) => this.#take(event),
      fail: (error, known) => this.#fail(error, known),
      // After the error that it ends with, if there is one, and never before the caller could listen.
      end: () => process.nextTick(() => this.#emit('close')),
    });
    this.#stream.started.then(
      () => (this.#begun = true),
      () => {},
    );
    this.#watch();
  }

  /** @internal */
  static start<T>(calls: Calls, patterns: string | readonly string[], options: SubscribeOptions): Subscription<T> {
    const { as, signal, ...others } = check(patterns, options);
    const list = typeof patterns === 'string' ? patterns : patterns.join(',');
    return new Subscription<T>(calls, { ...others, patterns: list, durable: as }, signal);
  }

  /**
   * Resolves when the subscription's place is taken: what is published from then on will come.
   *
   * Rejects with INVALID, CANCELLED, STORE_*.
   */
  get ready(): Promise<void> {
    this.#asked = true;
    return this.#stream.started;
  }

  /**
   * Stores that everything up to `seq` was handled, for a durable subscription (`as`): the next one of that name goes on
   * after it. Never moves back.
   *
   * Rejects with INVALID for a subscription without a durable name, CLOSED, STORE_*.
   */
  async ack(seq: number): Promise<void> {
    await this.#calls.call('ack', [this.#stream.number, seq]);
  }

  /** Ends the subscription: loops end, `close` is emitted. A second call does nothing. Rejects with STORE_*. */
  close(): Promise<void> {
    return this.#stream.close();
  }

  /** Keeps the process alive while somebody listens or iterates, as it does unless {@link unref} was called. */
  ref(): this {
    this.#stream.keep(true);
    return this;
  }

  /** Lets the process end though somebody listens or iterates. */
  unref(): this {
    this.#stream.keep(false);
    return this;
  }

  /** The messages from here on, as they are asked for. */
  [Symbol.asyncIterator](): AsyncIterableIterator<Received<T>> {
    return this.#stream.iterate();
  }

  /** As {@link close}. */
  [asyncDispose](): Promise<void> {
    return this.close();
  }

  /** As every emitter's. */
  override removeAllListeners(...event: any[]): this {
    super.removeAllListeners(...event);
    // What this class listens for itself stays.
    const own = this as EventEmitter;
    own.off('newListener', this.#look).off('removeListener', this.#look);
    this.#watch();
    this.#look();
    return this;
  }

  #watch(): void {
    const own = this as EventEmitter;
    own.on('newListener', this.#look).on('removeListener', this.#look);
  }

  /** Listeners come or go: only afterwards can it be seen who is there. */
  readonly #look = (): void => {
    queueMicrotask(() => {
      this.#stream.look();
      if (this.listenerCount('error') + this.listenerCount('message') === 0) return;
      const failure = this.#stream.takeFailure();
      if (failure !== undefined) process.nextTick(() => this.#emit('error', failure));
    });
  };

  /** Events belong to no lock: a handler may take the one that it was registered under. */
  #emit(...event: unknown[]): boolean {
    return outside(() => (this.emit as (...event: unknown[]) => boolean).apply(this, event));
  }

  #take(event: Event): Received<T> | undefined {
    if (event.event === 'warning') {
      if (!this.#tell(() => this.#emit('warning', event.data))) this.#calls.notice(event.data.text);
      return undefined;
    }
    const { message, ...delivery } = event.data;
    const { payload, ...rest } = message;
    const received: Received<T> = { payload: payload as T, meta: { ...rest, ...delivery } };
    this.#tell(() => this.#emit('message', received.payload, received.meta));
    return received;
  }

  /** A handler's failure is the handler's: told as every emitter tells it, and the stream goes on. */
  #tell(emit: () => boolean): boolean {
    try {
      return emit();
    } catch (error) {
      process.nextTick(() => this.#emit('error', error as Error));
      return true;
    }
  }

  #fail(error: PortDaddyError, known: boolean): boolean {
    if (this.listenerCount('error') === 0) {
      if (known || (this.#asked && !this.#begun)) return true;
      if (this.listenerCount('message') === 0) return false;
    }
    process.nextTick(() => this.#emit('error', error));
    return true;
  }
}

/**
 * Entries as they are written: those that are there, then each new one. It is made by {@link PortDaddy.followNotes},
 * {@link PortDaddy.followActivity} and {@link PortDaddy.followInbox}, and is read while a `for await` waits. Leaving the loop closes it.
 */
export class Follow<T> implements AsyncIterable<T> {
  readonly #stream: Stream<T, T>;

  private constructor(calls: Calls, operation: string, filter: object, signal: AbortSignal | undefined) {
    this.#stream = new Stream(calls, operation, filter, signal, {
      listens: () => false,
      take: (item) => item,
      fail: (_, known) => known,
      end: () => {},
    });
  }

  /** @internal */
  static notes(calls: Calls, filter: NoteFilter, signal: AbortSignal | undefined): Follow<Note> {
    checkSignal('followNotes', signal);
    return new Follow(calls, 'followNotes', filter, signal);
  }

  /** @internal */
  static activity(calls: Calls, filter: ActivityFilter, signal: AbortSignal | undefined): Follow<Activity> {
    checkSignal('followActivity', signal);
    return new Follow(calls, 'followActivity', filter, signal);
  }

  /** @internal */
  static inbox(calls: Calls, signal: AbortSignal | undefined): Follow<DirectMessage> {
    checkSignal('followInbox', signal);
    return new Follow(calls, 'followInbox', {}, signal);
  }

  /** Ends it, and the loop that reads it. A second call does nothing. Rejects with STORE_*. */
  close(): Promise<void> {
    return this.#stream.close();
  }

  /** The entries from here on, as they are asked for. */
  [Symbol.asyncIterator](): AsyncIterableIterator<T> {
    return this.#stream.iterate(() => this.close());
  }

  /** As {@link close}. */
  [asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** `subscribe` has no promise to reject: what is wrong with its arguments is thrown. */
function check(patterns: unknown, options: SubscribeOptions): SubscribeOptions {
  const wrong = (option: string, rule: string): Error =>
    invalid(`subscribe: ${option} must be ${rule}`, { fields: { operation: 'subscribe', option } });
  if (typeof patterns !== 'string' && !(Array.isArray(patterns) && patterns.every((p) => typeof p === 'string'))) {
    throw wrong('patterns', 'a string or an array of strings');
  }
  const rules: Record<string, [rule: string, holds: (value: unknown) => boolean]> = {
    replay: [
      "'latest', 'none', 'all' or a seq",
      (v) => v === 'latest' || v === 'none' || v === 'all' || (typeof v === 'number' && Number.isSafeInteger(v) && v >= 0),
    ],
    as: ['a string', (v) => typeof v === 'string'],
    failOnDeadlock: ['true or false', (v) => typeof v === 'boolean'],
    failIfGone: ['true or false', (v) => typeof v === 'boolean'],
    purpose: ['a string', (v) => typeof v === 'string'],
    signal: ['an AbortSignal', () => true],
  };
  for (const [option, value] of Object.entries(options)) {
    const rule = Object.hasOwn(rules, option) ? rules[option] : undefined;
    if (rule === undefined) {
      throw invalid(`subscribe: unknown option ${JSON.stringify(option)}; there are ${Object.keys(rules).join(', ')}`, {
        fields: { operation: 'subscribe', option },
      });
    }
    if (value !== undefined && !rule[1](value)) throw wrong(option, rule[0]);
  }
  checkSignal('subscribe', options.signal);
  return options;
}
