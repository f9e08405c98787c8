import { AsyncLocalStorage } from 'node:async_hooks';

import { asyncDispose, type Calls } from './calls.js';
import { cancelled, PortDaddyError } from './error.js';
import type { LockInfo } from './types.js';

/** How to take a lock under which a function runs. */
export interface WithLockOptions {
  /** How long to wait, in milliseconds; without it for ever. */
  timeout?: number | undefined;
  /** Ends the lease this many milliseconds after it is granted, whatever its holder does. */
  ttl?: number | undefined;
  /** What for, up to 4 KiB; others read it while they wait. */
  purpose?: string | undefined;
  /** Whether to wait while another holds it; without it true. */
  blocking?: boolean | undefined;
  /** Ends the wait. */
  signal?: AbortSignal | undefined;
  /** Told once, when the wait begins, who holds the lock. */
  onWait?: ((holder: LockInfo) => void) | undefined;
}

/** How to take a lock. */
export interface LockOptions extends WithLockOptions {}

/** What the native side gives: the grant's token, and what calls under the lock pass on. */
interface Grant {
  token: number;
  chain: string;
}

/**
 * The locks that the running function stands under, as text that only the store reads: it tells by it that a wait would
 * never end. It is about tokens and names their databases, so one chain serves all clients.
 */
const chains = new AsyncLocalStorage<string>();

/** Runs what is nobody's part, such as a handler of events: it stands under no lock, wherever it was registered. */
export function outside<T>(fn: () => T): T {
  return chains.exit(fn);
}

/** Takes a lock; null where it is held and the options say not to wait. */
export async function take(calls: Calls, name: string, options: LockOptions): Promise<(Grant & { lock: Lock }) | null> {
  const { signal, onWait, ...others } = options;
  // For ever, in the words of those who count with it.
  if (others.timeout === Infinity) delete others.timeout;
  const args = [name, others, { chain: chains.getStore(), progress: onWait !== undefined }];
  const grant = await calls.call<Grant | null>('lock', args, {
    signal,
    progress: onWait as ((state: unknown) => void) | undefined,
  });
  if (grant === null) return null;
  const lock = Lock.of(calls, name, grant.token);
  if (signal?.aborted) {
    // It was granted while the caller gave up: nobody would release it.
    await lock.release();
    throw cancelled('lock', signal);
  }
  return { ...grant, lock };
}

/** Runs `fn` under a lock. */
export async function runUnder<T>(
  calls: Calls,
  name: string,
  options: WithLockOptions,
  fn: (token: number) => T | PromiseLike<T>,
): Promise<T> {
  const taken = await take(calls, name, options);
  if (taken === null) throw new PortDaddyError('LOCK_HELD', `the lock ${JSON.stringify(name)} is held`, { fields: { lock: name } });
  let result: T;
  try {
    result = await chains.run(taken.chain, fn, taken.token);
  } catch (error) {
    // The function's own failure says more than that of the release.
    await taken.lock.release().catch(() => {});
    throw error;
  }
  await taken.lock.release();
  return result;
}

/**
 * A lock that is held. It is made by {@link PortDaddy.lock}, and held until it is released, its client is closed, its TTL
 * ends, or the process does; being forgotten doesn't release it.
 *
 * It isn't held against everything: a TTL or `pd unlock --force` end the lease. Pass the {@link token} to whatever the
 * lock protects, so that it can refuse a holder whose lease has ended.
 */
export class Lock {
  /** Its name. */
  readonly name: string;
  /** The fencing token: greater than that of every grant of any lock before, and a safe integer. */
  readonly token: number;
  readonly #calls: Calls;
  #released: Promise<void> | undefined;

  private constructor(calls: Calls, name: string, token: number) {
    this.#calls = calls;
    this.name = name;
    this.token = token;
  }

  /** @internal */
  static of(calls: Calls, name: string, token: number): Lock {
    return new Lock(calls, name, token);
  }

  /**
   * Releases it, and hands it to the next in line. A second call does nothing.
   *
   * Rejects with LEASE_LOST if it was no longer this one's, CLOSED, STORE_*; after STORE_* it may be tried again.
   */
  release(): Promise<void> {
    this.#released ??= this.#release();
    return this.#released;
  }

  async #release(): Promise<void> {
    try {
      await this.#calls.call('releaseLock', [this.name, this.token]);
    } catch (error) {
      if ((error as PortDaddyError).code.startsWith('STORE_')) this.#released = undefined;
      throw error;
    }
  }

  /**
   * Ends the lease this many milliseconds from now.
   *
   * Rejects with LEASE_LOST if it is no longer this one's, INVALID, CLOSED, STORE_*.
   */
  async extend(ttl: number): Promise<LockInfo> {
    try {
      return await this.#calls.call('extendLock', [this.name, ttl, this.token]);
    } catch (error) {
      throw this.#lost(error as PortDaddyError);
    }
  }

  /**
   * The lock as everyone sees it.
   *
   * Rejects with LEASE_LOST if it is no longer this one's, CLOSED, STORE_*.
   */
  async info(): Promise<LockInfo> {
    const info = await this.#calls.call<LockInfo | null>('lockInfo', [this.name]);
    if (info?.token === this.token) return info;
    throw this.#gone();
  }

  /** As {@link release}. */
  [asyncDispose](): Promise<void> {
    return this.release();
  }

  /** By name nobody holds it, or another does; for this grant, both mean that its lease has ended. */
  #lost(error: PortDaddyError): PortDaddyError {
    return error.code === 'NOT_HELD' || error.code === 'NOT_OWNER' ? this.#gone(error) : error;
  }

  #gone(cause?: PortDaddyError): PortDaddyError {
    return new PortDaddyError('LEASE_LOST', `the lease of the lock ${JSON.stringify(this.name)} has ended`, {
      hint: 'what the lock protects may have been changed by others meanwhile',
      fields: { lock: this.name, token: this.token },
      cause,
    });
  }
}
