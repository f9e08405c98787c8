/*
 * The addon: where it is found, and what it looks like from here. Every text that crosses is JSON, made and read on
 * either side off each other's thread.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { PortDaddyError } from './error.js';

/** Called on this thread, once per call; for `progress` before that. */
export type Settle = (call: number, kind: 'value' | 'error' | 'progress', text: string, notices: string | null) => void;

export interface NativeClient {
  start(call: number, operation: string, args: string): void;
  cancel(call: number): void;
  ref(): void;
  unref(): void;
  exit(inOrder: boolean): void;
}

export interface Addon {
  Client: new (options: string, settle: Settle) => NativeClient;
  operations(): string[];
  errorCodes(): string[];
  version(): string;
}

/** The platforms that this version is published for: process.platform, process.arch, C library. */
const BUILDS = ['linux-x64-gnu'];

let loaded: Addon | undefined;

/**
 * The addon, loaded when the first client is made: importing the types and the errors costs nothing.
 *
 * @throws NO_ADDON where there is none for this platform, or it is of another version.
 */
export function addon(): Addon {
  loaded ??= load();
  return loaded;
}

function load(): Addon {
  const root = join(__dirname, '..');
  const own = (JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string }).version;
  const failures: unknown[] = [];
  // What npm installed for this platform, else what was built in this tree.
  const places = [...BUILDS.filter(fits).map((build) => `port-daddy-${build}`), join(root, 'portdaddy.node')];
  for (const place of places) {
    let found: Addon;
    try {
      found = require(place) as Addon;
    } catch (error) {
      // That a package isn't there is no news; that one is there and can't be loaded is the cause.
      if ((error as NodeJS.ErrnoException).code !== 'MODULE_NOT_FOUND') failures.push(error);
      continue;
    }
    const version = found.version();
    if (version !== own) {
      throw new PortDaddyError('NO_ADDON', `port-daddy is ${own}, but its native part is ${version} (${require.resolve(place)})`, {
        hint: 'install both anew, in the same version',
        fields: { version: own, native: version },
      });
    }
    return found;
  }
  const platform = here();
  const packages = BUILDS.map((build) => `port-daddy-${build}`);
  if (!BUILDS.includes(platform)) {
    throw new PortDaddyError('NO_ADDON', `port-daddy has no build for ${platform}: there is ${packages.join(', ')}`, {
      hint: 'build it from source (docs/release.md)',
      fields: { platform, packages },
      cause: failures[0],
    });
  }
  const name = `port-daddy-${platform}`;
  const fields = { platform, packages };
  const failure = failures[0];
  if (failure === undefined) {
    throw new PortDaddyError('NO_ADDON', `the package ${name}, the native part of port-daddy, isn't installed`, {
      hint: 'install without --omit=optional, and on the platform that it runs on',
      fields,
    });
  }
  throw new PortDaddyError('NO_ADDON', `the addon of port-daddy can't be loaded: ${(failure as Error).message}`, {
    hint: `install ${name} anew; it needs the glibc that it was built with, or a later one`,
    fields,
    cause: failure,
  });
}

/** Whether a build could run here, but for the C library: finding that out takes longer than trying. */
function fits(build: string): boolean {
  return build.startsWith(`${process.platform}-${process.arch}-`) || build === `${process.platform}-${process.arch}`;
}

/** This platform, as its package would be called. */
function here(): string {
  const platform = `${process.platform}-${process.arch}`;
  if (process.platform !== 'linux') return platform;
  const { header } = process.report.getReport() as { header?: { glibcVersionRuntime?: string } };
  return `${platform}-${header?.glibcVersionRuntime === undefined ? 'musl' : 'gnu'}`;
}
