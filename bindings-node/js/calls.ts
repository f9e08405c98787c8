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

interface Pending {
  holds: boolean;
  resolve(value: unknown): void;
  reject(error: PortDaddyError): void;
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
    const { number, settled } = this.#start<T>(operation, `[${texts.join(',')}]`, manner);
    if (signal === undefined) return settled;
    const cancel = (): void => this.#native.cancel(number);
    signal.addEventListener('abort', cancel, { once: true });
    try {
      return await settled;
    } catch (error) {
      if (signal.aborted && (error as PortDaddyError).code === 'CANCELLED') throw cancelled(operation, signal);
      throw error;
    } finally {
      signal.removeEventListener('abort', cancel);
    }
  }

  /** A number for a new stream. */
  stream(): number {
    return ++this.#streams;
  }

  /** Starts the next read of a stream. Whether it holds the process can change while it is pending. */
  next<T>(stream: number, holds: boolean): { items: Promise<T[]>; hold(holds: boolean): void } {
    const { number, settled } = this.#start<T[]>('next', `[${stream}]`, { holds });
    return { items: settled, hold: (holds) => this.#hold(number, holds) };
  }

  /** The client is closed: what becomes of it at the process's exit needs no more thought. */
  forget(): void {
    open.delete(this);
  }

  /** Called when this thread exits. */
  exit(inOrder: boolean): void {
    this.#native.exit(inOrder);
  }

  #start<T>(operation: string, args: string, { holds = true, progress }: Manner): { number: number; settled: Promise<T> } {
    const number = ++this.#last;
    const settled = new Promise<T>((resolve, reject) => {
      this.#pending.set(number, { holds: false, resolve: resolve as (value: unknown) => void, reject, progress });
    });
    this.#hold(number, holds);
    try {
      this.#native.start(number, operation, args);
    } catch (error) {
      this.#take(number)?.reject(thrown(error));
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
      if (kind === 'value') pending?.resolve(JSON.parse(text));
      else pending?.reject(readError(text));
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

/** One listener for all clients of this thread; a worker thread has an `exit` event of its own. */
function watchExit(): void {
  if (watching) return;
  watching = true;
  process.on('exit', (code) => {
    for (const calls of open) calls.exit(code === 0);
  });
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
