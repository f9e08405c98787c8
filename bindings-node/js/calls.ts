/*
 * The calls of one client: each is started on the native side, and settled by it once, in a callback on this thread.
 *
 * The process lives as long as a call that holds it is pending: the native client is ref()ed when the first one starts
 * and unref()ed when the last one settles.
 */
import { cancelled, invalid, PortDaddyError, readError } from './error.js';
import { encode } from './json.js';
import { addon, type NativeClient } from './native.js';

/** How a call goes, besides its operation and arguments. */
export interface Manner {
  /** Whether the process stays while it is pending; without it, it does. */
  holds?: boolean;
  /** Ends its wait. */
  signal?: AbortSignal | undefined;
  /** Told how it goes on. */
  progress?: ((state: unknown) => void) | undefined;
}

/** What a call settles with. The error is made where it is awaited, so that its stack leads to the caller. */
type Answer = { value: unknown } | { failed: () => PortDaddyError };

interface Pending {
  holds: boolean;
  settle(answer: Answer): void;
  progress: ((state: unknown) => void) | undefined;
}

/** `Symbol.asyncDispose`, which the first releases of Node 20 don't have. */
export const asyncDispose: typeof Symbol.asyncDispose = Symbol.asyncDispose ?? Symbol.for('Symbol.asyncDispose');

/** One native client. */
export class Calls {
  /** Whether the user has asked to close it. */
  closed = false;
  readonly #native: NativeClient;
  /** Tells the user something that no call asked for. */
  readonly notice: (text: string) => void;
  readonly #pending = new Map<number, Pending>();
  #last = 0;
  #holding = 0;
  #streams = 0;

  constructor(options: object, notice: (text: string) => void) {
    this.notice = notice;
    this.#native = new (addon().Client)(encode(options, 'options'), (call, kind, text, notices) => {
      this.#settle(call, kind, text, notices);
    });
    open.add(this);
    watchExit();
  }

  /** Starts an operation, whose arguments may be any values that JSON can hold; undefined is null. */
  async call<T>(operation: string, args: unknown[], manner: Manner = {}): Promise<T> {
    const { signal } = manner;
    checkSignal(operation, signal);
    const texts = args.map((arg) => (arg === undefined ? 'null' : encode(arg, `${operation}: options`)));
    if (signal?.aborted) throw cancelled(operation, signal);
    const { number, settled } = this.#start(operation, `[${texts.join(',')}]`, manner);
    const release = whenAborted(signal, () => this.#native.cancel(number));
    const answer = await settled;
    release();
    if ('value' in answer) return answer.value as T;
    const error = answer.failed();
    throw signal?.aborted && error.code === 'CANCELLED' ? cancelled(operation, signal) : error;
  }

  /** A number for a new stream. */
  stream(): number {
    return ++this.#streams;
  }

  /** Starts the next read of a stream. Whether it holds the process can change while it is pending. */
  next<T>(stream: number, holds: boolean): { items: Promise<T[]>; hold(holds: boolean): void } {
    const { number, settled } = this.#start('next', `[${stream}]`, { holds });
    const items = settled.then((answer) => {
      if ('failed' in answer) throw answer.failed();
      return answer.value as T[];
    });
    return { items, hold: (holds) => this.#hold(number, holds) };
  }

  /** The client is closed: what becomes of it at the process's exit needs no more thought. */
  forget(): void {
    open.delete(this);
  }

  /** Called when this thread exits. */
  exit(inOrder: boolean): void {
    this.#native.exit(inOrder);
  }

  #start(operation: string, args: string, { holds = true, progress }: Manner): { number: number; settled: Promise<Answer> } {
    const number = ++this.#last;
    const settled = new Promise<Answer>((settle) => {
      this.#pending.set(number, { holds: false, settle, progress });
    });
    this.#hold(number, holds);
    try {
      this.#native.start(number, operation, args);
    } catch (error) {
      this.#take(number)?.settle({ failed: () => thrown(error) });
    }
    return { number, settled };
  }

  #settle(number: number, kind: 'value' | 'error' | 'progress', text: string, notices: string | null): void {
    if (kind === 'progress') {
      const progress = this.#pending.get(number)?.progress;
      // In a turn of its own: what it throws is its own failure, not the call's.
      if (progress !== undefined) process.nextTick(progress, JSON.parse(text));
    } else {
      const pending = this.#take(number);
      pending?.settle(kind === 'value' ? { value: JSON.parse(text) } : { failed: () => readError(text) });
    }
    if (notices !== null) for (const notice of JSON.parse(notices) as string[]) this.notice(notice);
  }

  #take(number: number): Pending | undefined {
    const pending = this.#pending.get(number);
    this.#hold(number, false);
    this.#pending.delete(number);
    return pending;
  }

  #hold(number: number, holds: boolean): void {
    const pending = this.#pending.get(number);
    if (pending === undefined || pending.holds === holds) return;
    pending.holds = holds;
    if (holds) {
      if (this.#holding++ === 0) this.#native.ref();
    } else if (--this.#holding === 0) this.#native.unref();
  }
}

/** Clients that aren't closed. They live until they are, or this thread ends: a lock is not for the collector to end. */
const open = new Set<Calls>();
let watching = false;

/** How long the clients of a thread that ends may take to withdraw in order; the rest end as a death, which is as clear. */
const EXIT_MS = 1000;

/** One listener for all clients of this thread; a worker thread has an `exit` event of its own. */
function watchExit(): void {
  if (watching) return;
  watching = true;
  process.on('exit', (code) => {
    const until = Date.now() + EXIT_MS;
    for (const calls of open) calls.exit(code === 0 && Date.now() < until);
  });
}

/** What a signal is to end: one listener each, however many calls are given it. */
const ends = new WeakMap<AbortSignal, Set<() => void>>();

/** Calls `act` when the signal is aborted, until the function that it returns is called. */
export function whenAborted(signal: AbortSignal | undefined, act: () => void): () => void {
  if (signal === undefined) return () => {};
  let acts = ends.get(signal);
  if (acts === undefined) {
    const all = (acts = new Set());
    ends.set(signal, acts);
    signal.addEventListener('abort', () => [...all].forEach((act) => act()), { once: true });
  }
  const all = acts;
  all.add(act);
  return () => void all.delete(act);
}

/** INVALID for what is no AbortSignal: the one option that never crosses to the native side. */
export function checkSignal(operation: string, signal: unknown): void {
  if (signal === undefined) return;
  const { aborted, addEventListener } = (signal ?? {}) as Partial<AbortSignal>;
  if (typeof aborted === 'boolean' && typeof addEventListener === 'function') return;
  throw invalid(`${operation}: signal must be an AbortSignal`, { fields: { operation, option: 'signal' } });
}

/** What `start` threw: an error's JSON is its message, as where the client was opened before a fork. */
function thrown(error: unknown): PortDaddyError {
  const text = error instanceof Error ? error.message : String(error);
  try {
    return readError(text);
  } catch {
    return new PortDaddyError('INTERNAL', `the addon failed: ${text}`, { cause: error });
  }
}
