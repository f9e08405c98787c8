import type { ErrorCode as CoreCode } from './types.js';

/**
 * Why a call failed. `NO_ADDON` comes from this package alone: its native part is missing on this platform, or is of
 * another version.
 */
export type ErrorCode = CoreCode | 'NO_ADDON';

/** An error as the native side writes it. */
interface Written {
  code: ErrorCode;
  message: string;
  hint?: string | null;
  fields?: Record<string, unknown>;
  cause?: string | null;
}

/** What an error carries besides its code and its sentence. */
export interface PortDaddyErrorOptions {
  /** What to do next. */
  hint?: string | undefined;
  /** The values of the sentence, by name. */
  fields?: Record<string, unknown> | undefined;
  /** What caused it. */
  cause?: unknown;
}

/**
 * A failed operation: code, sentence, hint and fields.
 *
 * @example
 * try {
 *   await pd.claim('shop:web', { port: 3100 });
 * } catch (error) {
 *   if (!(error instanceof PortDaddyError) || error.code !== 'PORT_TAKEN') throw error;
 *   console.error(error.message, error.hint);
 * }
 */
export class PortDaddyError extends Error {
  /** The stable code, the same in every language: `LOCK_HELD`. A code exists where a caller would act differently. */
  readonly code: ErrorCode;
  /** What to do next, where there is something to do. */
  declare readonly hint?: string;
  /** The values of the sentence, by name. */
  readonly fields: Record<string, unknown>;

  constructor(code: ErrorCode, message: string, options: PortDaddyErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    if (options.hint !== undefined) this.hint = options.hint;
    this.fields = options.fields ?? {};
  }

  static {
    // On the prototype, as with every built-in error: an own property would be printed as one more field.
    Object.defineProperty(this.prototype, 'name', { value: 'PortDaddyError', writable: true, configurable: true });
  }
}

/** The error that the native side wrote as JSON. */
export function readError(text: string): PortDaddyError {
  const { code, message, hint, fields, cause } = JSON.parse(text) as Written;
  return new PortDaddyError(code, message, {
    hint: hint ?? undefined,
    fields,
    cause: cause == null ? undefined : new Error(cause),
  });
}

/** A value that breaks a rule. */
export function invalid(message: string, options?: PortDaddyErrorOptions): PortDaddyError {
  return new PortDaddyError('INVALID', message, options);
}

/** The caller's signal ended the wait. */
export function cancelled(what: string, signal: AbortSignal): PortDaddyError {
  return new PortDaddyError('CANCELLED', `${what} was cancelled`, { cause: signal.reason });
}
