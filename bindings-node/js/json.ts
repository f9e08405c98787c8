/*
 * JSON text of what a caller passes. `JSON.stringify` makes null of NaN and leaves functions out without a word; what a
 * caller passes is stored or refused. As it does, this drops members that are undefined and honours `toJSON`.
 */
import { types } from 'node:util';

import { invalid } from './error.js';

/** Deeper than this the store refuses a value anyway, with words of its own; only a cycle is looked for there. */
const DEPTH = 100;

const HALF = 'a string with half a character (a lone surrogate)';

/** The JSON text of `value`, or INVALID that says where in `what` it holds something that JSON can't. */
export function encode(value: unknown, what: string): string {
  let text: string | undefined;
  let cause: unknown;
  try {
    // The quick look allocates nothing; only a value that fails it is walked again to tell where.
    if (!plain(value, 0)) refuse(value, what, '', []);
    text = JSON.stringify(value);
  } catch (error) {
    if (error instanceof Error && error.name === 'PortDaddyError') throw error;
    cause = error;
  }
  if (text !== undefined) return text;
  throw invalid(`${what} can't be written as JSON${cause instanceof Error ? `: ${cause.message}` : ''}`, { cause });
}

function plain(value: unknown, depth: number): boolean {
  switch (typeof value) {
    case 'string':
      return value.isWellFormed();
    case 'boolean':
      return true;
    case 'number':
      return Number.isFinite(value);
    case 'object':
      break;
    default:
      return false;
  }
  if (value === null) return true;
  if (depth > DEPTH) return false;
  if (typeof (value as { toJSON?: unknown }).toJSON === 'function') return false;
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length; i++) if (!plain(value[i], depth + 1)) return false;
    return true;
  }
  if (opaque(value) !== undefined || types.isBoxedPrimitive(value)) return false;
  for (const name of Object.keys(value)) {
    const member = (value as Record<string, unknown>)[name];
    if (!name.isWellFormed() || (member !== undefined && !plain(member, depth + 1))) return false;
  }
  return true;
}

/** Throws for the first thing in `value` that JSON loses. Returns where there is none: `toJSON` may have made it fit. */
function refuse(value: unknown, path: string, key: string, above: object[]): void {
  // Numbers and strings in their objects are what they hold.
  if (types.isBoxedPrimitive(value)) return refuse((value as object).valueOf(), path, key, above);
  if (value !== null && (typeof value === 'object' || typeof value === 'bigint')) {
    if (types.isDate(value) && Number.isNaN(value.getTime())) throw lost(path, 'an invalid Date');
    const { toJSON } = value as { toJSON?: unknown };
    if (typeof toJSON === 'function') {
      const made: unknown = toJSON.call(value, key);
      if (made !== value) return refuse(made, path, key, above);
    }
  }
  switch (typeof value) {
    case 'string':
      if (!value.isWellFormed()) throw lost(path, HALF, 'it was cut within a character: cut by code points, or toWellFormed()');
      return;
    case 'number':
      if (!Number.isFinite(value)) throw lost(path, String(value));
      return;
    case 'bigint':
      throw lost(path, 'a BigInt', 'pass a number, or a string');
    case 'undefined':
      throw lost(path, 'undefined', 'pass null where nothing is meant');
    case 'function':
    case 'symbol':
      throw lost(path, `a ${typeof value}`);
    case 'object':
      break;
    default:
      return;
  }
  if (value === null) return;
  if (above.includes(value)) throw lost(path, 'an object that contains itself');
  const kind = opaque(value);
  if (kind !== undefined) throw lost(path, kind.what, kind.hint);
  // Far deeper than the store allows: it says so, better than a stack that overflows here.
  if (above.length > 10 * DEPTH) return;
  above.push(value);
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length; i++) refuse(value[i], `${path}[${i}]`, String(i), above);
  } else {
    for (const [name, member] of Object.entries(value)) {
      if (!name.isWellFormed()) throw lost(path, `an object with ${HALF} in a name`);
      if (member !== undefined) refuse(member, step(path, name), name, above);
    }
  }
  above.pop();
}

/** What JSON would make an empty object of, though it holds something. */
export function opaque(value: object): { what: string; hint?: string } | undefined {
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype === Object.prototype || prototype === null || Array.isArray(value)) return undefined;
  if (types.isPromise(value)) return { what: 'a Promise', hint: 'await it first' };
  if (types.isMap(value)) return { what: 'a Map', hint: 'Object.fromEntries(map) makes an object of it' };
  if (types.isSet(value)) return { what: 'a Set', hint: '[...set] makes an array of it' };
  if (types.isNativeError(value)) return { what: 'an Error', hint: 'pass its message' };
  if (types.isRegExp(value)) return { what: 'a RegExp', hint: 'pass its source' };
  if (types.isAnyArrayBuffer(value) || ArrayBuffer.isView(value)) {
    return { what: 'binary data', hint: "Buffer.from(data).toString('base64') makes a string of it" };
  }
  if (types.isWeakMap(value) || types.isWeakSet(value)) return { what: 'a weak collection' };
  return undefined;
}

function step(path: string, name: string): string {
  return /^[A-Za-z_$][\w$]*$/.test(name) ? `${path}.${name}` : `${path}[${JSON.stringify(name)}]`;
}

function lost(path: string, what: string, hint?: string): Error {
  return invalid(`${path} is ${what}, which JSON can't hold`, { hint, fields: { path } });
}
