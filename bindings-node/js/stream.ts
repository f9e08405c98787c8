/*
 * A stream of the native side, read in batches, each asked for only when somebody wants the next item: there is no
 * other buffer than the last batch. Who wants items is a listener, or an iterator's `next()`.
 *
 * Each item is taken once, from one queue. Where iterators run, they set the pace, and each item goes to one of them;
 * listeners see it at that moment. Where none runs, listeners get items as they come. Where nobody wants any, they wait.
 */
import { type Calls, whenAborted } from './calls.js';
import { cancelled, type PortDaddyError } from './error.js';

/** What a stream belongs to. */
export interface Owner<Raw, Item> {
  /** Whether somebody listens, besides iterators. */
  listens(): boolean;
  /** Gives an item to listeners, and returns what iterators get of it; undefined: nothing. */
  take(raw: Raw): Item | undefined;
  /** The stream has failed. `known`: an iterator was told. False if nobody else was: the next iterator will be. */
  fail(error: PortDaddyError, known: boolean): boolean;
  /** The stream is over. */
  end(): void;
}

interface Reader<Item> {
  iterator: object;
  resolve(result: IteratorResult<Item, undefined>): void;
  reject(error: unknown): void;
}

const DONE: IteratorReturnResult<undefined> = { done: true, value: undefined };

export class Stream<Raw, Item> {
  /** Its number within the client. */
  readonly number: number;
  /** Settles when the native side has begun it, or could not. */
  readonly started: Promise<void>;
  readonly #calls: Calls;
  readonly #owner: Owner<Raw, Item>;
  readonly #queue: Raw[] = [];
  readonly #readers: Reader<Item>[] = [];
  /** Iterators that have begun and haven't ended. */
  readonly #iterators = new Set<object>();
  #begun = false;
  #reading: { hold(holds: boolean): void } | undefined;
  #draining = false;
  #kept = true;
  #over = false;
  #failure: PortDaddyError | undefined;
  #closed: Promise<void> | undefined;
  #release: () => void = () => {};

  constructor(calls: Calls, operation: string, options: object, signal: AbortSignal | undefined, owner: Owner<Raw, Item>) {
    this.#calls = calls;
    this.#owner = owner;
    this.number = calls.stream();
    if (signal?.aborted) {
      this.started = Promise.reject(cancelled(operation, signal));
      this.#over = true;
      this.#closed = Promise.resolve();
      owner.end();
    } else {
      this.#release = whenAborted(signal, () => void this.close().catch(() => {}));
      this.started = calls.call(operation, [this.number, options]);
      this.started.then(
        () => {
          this.#begun = true;
          this.look();
        },
        (error: PortDaddyError) => this.#fail(error),
      );
    }
    // Whoever asks for it is told; that nobody does is no unhandled rejection.
    this.started.catch(() => {});
  }

  /** Called when listeners came or went: hands out what waits, asks for more, and holds the process or lets it go. */
  look(): void {
    this.#drain();
    if (this.#over) return;
    const wanted = this.#wanted();
    if (this.#reading !== undefined) this.#reading.hold(this.#kept && wanted);
    else if (wanted && this.#begun && this.#queue.length === 0) this.#read();
  }

  /** Whether it keeps the process alive while somebody wants items. */
  keep(kept: boolean): void {
    this.#kept = kept;
    this.look();
  }

  /** A failure that nobody has been told of yet. */
  takeFailure(): PortDaddyError | undefined {
    const failure = this.#failure;
    this.#failure = undefined;
    return failure;
  }

  /** An iterator; `leave` is called when its loop ends. */
  iterate(leave: () => Promise<void> = async () => {}): AsyncIterableIterator<Item> {
    let done = false;
    const iterator: AsyncIterableIterator<Item> = {
      next: () => {
        if (done) return Promise.resolve(DONE);
        return new Promise((resolve, reject) => {
          this.#iterators.add(iterator);
          this.#readers.push({ iterator, resolve, reject });
          if (this.#over) this.#dismiss(this.takeFailure());
          else this.look();
        });
      },
      return: async () => {
        done = true;
        this.#iterators.delete(iterator);
        for (const reader of this.#readers.filter((reader) => reader.iterator === iterator)) {
          this.#readers.splice(this.#readers.indexOf(reader), 1);
          reader.resolve(DONE);
        }
        this.look();
        await leave();
        return DONE;
      },
      [Symbol.asyncIterator]: () => iterator,
    };
    return iterator;
  }

  /** Ends it. What is still queued is dropped. */
  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    this.#stop();
    this.#dismiss(undefined);
    try {
      await this.started;
      await this.#calls.call('endStream', [this.number]);
    } catch (error) {
      // Nothing was begun, or it ended with its client.
      if (this.#begun && (error as PortDaddyError).code !== 'CLOSED') throw error;
    } finally {
      this.#owner.end();
    }
  }

  #wanted(): boolean {
    return this.#iterators.size > 0 ? this.#readers.length > 0 : this.#owner.listens();
  }

  #read(): void {
    const { items, hold } = this.#calls.next<Raw>(this.number, this.#kept);
    this.#reading = { hold };
    items.then(
      (items) => {
        this.#reading = undefined;
        if (this.#over) return;
        for (const item of items) this.#queue.push(item);
        this.look();
      },
      (error: PortDaddyError) => {
        this.#reading = undefined;
        this.#fail(error);
      },
    );
  }

  #drain(): void {
    // A handler may listen, iterate or close: the loop that called it goes on with what is then true.
    if (this.#draining) return;
    this.#draining = true;
    try {
      while (!this.#over && this.#queue.length > 0 && this.#wanted()) {
        const item = this.#owner.take(this.#queue.shift() as Raw);
        if (item === undefined) continue;
        this.#readers.shift()?.resolve({ done: false, value: item });
      }
    } finally {
      this.#draining = false;
    }
  }

  #fail(error: PortDaddyError): void {
    if (this.#over) return;
    this.#stop();
    // However its last read says so: the client was closed, which ends it as it should.
    if (this.#begun && this.#calls.closed && (error.code === 'CLOSED' || error.code === 'CANCELLED')) {
      this.#closed = Promise.resolve();
      this.#dismiss(undefined);
    } else {
      this.#closed = this.#begun
        ? this.#calls.call<void>('endStream', [this.number], { holds: false }).catch(() => {})
        : Promise.resolve();
      const known = this.#readers.length > 0;
      this.#dismiss(error);
      if (!this.#owner.fail(error, known)) this.#failure = error;
    }
    this.#owner.end();
  }

  #stop(): void {
    this.#over = true;
    this.#queue.length = 0;
    this.#reading?.hold(false);
    this.#release();
  }

  /** Ends all who read: the first with the error, if there is one. */
  #dismiss(error: PortDaddyError | undefined): void {
    for (const reader of this.#readers.splice(0)) {
      if (error === undefined) reader.resolve(DONE);
      else reader.reject(error);
      error = undefined;
    }
    this.#iterators.clear();
  }
}
