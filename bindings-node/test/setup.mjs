// What the suites share: a database in a directory of its own, clients that are closed when their test ends, `pd`, and
// child processes that are talked to through pipes.
import assert from 'node:assert/strict';
import { execFile, execFileSync, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

import { PortDaddy, PortDaddyError } from 'port-daddy/client';

/** Long enough never to pass for an answer. */
export const LONG = 30_000;

const here = dirname(fileURLToPath(import.meta.url));
const bin = join(here, '..', 'node_modules', '.bin');

// Nothing of the tests' own surroundings gets in.
for (const name of Object.keys(process.env)) {
  if (/^(PORT_DADDY_|CLAUDE|CODEX_|GEMINI_CLI|CURSOR_AGENT|OPENCODE|QWEN_CODE|GOOSE_)/.test(name)) {
    delete process.env[name];
  }
}

/** A place of its own for one test: a database, a directory to work in. It goes with the test. */
export class Store {
  #clients = [];
  #children = [];

  constructor(t) {
    this.root = realpathSync(mkdtempSync(join(tmpdir(), 'pd-node-')));
    this.db = join(this.root, 'state', 'port-daddy.db');
    this.dir('.');
    t.after(async () => {
      await Promise.all(this.#children.map((child) => child.kill()));
      await Promise.all(this.#clients.map((pd) => pd.close()));
      rmSync(this.root, { recursive: true, force: true });
    });
  }

  /** A directory to work in, outside any repository. */
  dir(name) {
    const dir = join(this.root, 'work', name);
    mkdirSync(dir, { recursive: true });
    return dir;
  }

  write(path, text = '') {
    const file = join(this.root, 'work', path);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, text);
    return file;
  }

  /** A git repository with one commit on `main`. */
  repository(name) {
    const dir = this.dir(name);
    git(dir, 'init', '-q', '-b', 'main');
    git(dir, 'commit', '-q', '--allow-empty', '-m', 'Begin');
    return dir;
  }

  /** A client of an agent, standing in `work` unless it is told otherwise. */
  open(agentId, options = {}) {
    const pd = new PortDaddy({ db: this.db, cwd: this.dir('.'), agentId, ...options });
    this.#clients.push(pd);
    return pd;
  }

  get env() {
    return { ...process.env, PORT_DADDY_DB: this.db, NO_COLOR: '1', PATH: bin + delimiter + process.env.PATH };
  }

  /** Runs a program to its end. */
  run(program, args, { agent, cwd = this.dir('.'), env = {} } = {}) {
    const all = { ...this.env, ...env, ...(agent ? { PORT_DADDY_AGENT: agent } : {}) };
    return new Promise((resolve, reject) => {
      const running = execFile(program, args, { cwd, env: all, maxBuffer: 64 << 20 }, (error, stdout, stderr) => {
        if (error && typeof error.code !== 'number') reject(error);
        else resolve({ exit: error ? error.code : 0, stdout, stderr });
      });
      running.stdin.end();
    });
  }

  /** `pd` as an agent calls it in a shell; what it says, which must be without complaint. */
  async pd(agent, ...args) {
    const run = await this.run(join(bin, 'pd'), args, { agent });
    assert.equal(run.exit, 0, `pd ${args.join(' ')}: ${run.stderr}`);
    return run.stdout;
  }

  /** The same with `--json`, as a value. */
  async json(agent, ...args) {
    return JSON.parse(await this.pd(agent, '--json', ...args));
  }

  /** Starts child.mjs in a role; it says what it says, a JSON value a line. */
  child(role, agent, args = {}, { env = {}, node = [] } = {}) {
    const told = JSON.stringify({ db: this.db, cwd: this.dir('.'), agentId: agent, ...args });
    const child = new Child(process.execPath, [...node, join(here, 'child.mjs'), role, told], { ...this.env, ...env });
    this.#children.push(child);
    return child;
  }

  /** Starts any program that speaks the same way. */
  start(program, args, { env = {}, agent, cwd } = {}) {
    const all = { ...this.env, ...env, ...(agent ? { PORT_DADDY_AGENT: agent } : {}) };
    const child = new Child(program, args, all, cwd ?? this.dir('.'));
    this.#children.push(child);
    return child;
  }
}

/** A process whose standard input and output are pipes to its parent. */
export class Child {
  #lines = [];
  #asking = [];
  #errors = '';

  constructor(program, args, env, cwd) {
    this.process = spawn(program, args, { env, cwd, stdio: ['pipe', 'pipe', 'pipe'] });
    this.process.stdin.on('error', () => {});
    this.process.stderr.on('data', (text) => (this.#errors += text));
    const lines = createInterface({ input: this.process.stdout });
    lines.on('line', (line) => {
      const ask = this.#asking.shift();
      if (ask) ask.resolve(line);
      else this.#lines.push(line);
    });
    lines.on('close', () => {
      this.closed = true;
      for (const ask of this.#asking.splice(0)) ask.reject(this.#silent());
    });
    /** How it ended: `{ code, signal, stderr }`. */
    this.exit = new Promise((resolve) => {
      this.process.on('close', (code, signal) => resolve({ code, signal, stderr: this.#errors }));
    });
  }

  #silent() {
    return new Error(`the child ended without a word: ${this.#errors}`);
  }

  get pid() {
    return this.process.pid;
  }

  /** The next line that it says. */
  async line() {
    if (this.#lines.length > 0) return this.#lines.shift();
    if (this.closed) throw this.#silent();
    return new Promise((resolve, reject) => this.#asking.push({ resolve, reject }));
  }

  /** The next value that it says. */
  async said() {
    const line = await this.line();
    try {
      return JSON.parse(line);
    } catch {
      throw new Error(`the child said ${line}`);
    }
  }

  /** Lets it go past its barrier. */
  go(word = 'go') {
    this.process.stdin.write(`${word}\n`);
  }

  /** Returns once all its threads stand still: one takes the signal, and the others run on until it has. */
  stop() {
    this.process.kill('SIGSTOP');
    const tasks = `/proc/${this.process.pid}/task`;
    const stands = (id) => /\) [TtZX] /.test(readFileSync(`${tasks}/${id}/stat`, 'utf8'));
    while (!readdirSync(tasks).every(stands));
  }

  resume() {
    this.process.kill('SIGCONT');
  }

  /** As `kill -9` does; returns once it is gone. */
  async kill() {
    if (this.process.exitCode === null && this.process.signalCode === null) this.process.kill('SIGKILL');
    await this.exit;
  }

  /** Waits until it has ended by itself, which must be in order. */
  async end() {
    this.process.stdin.end();
    const { code, signal, stderr } = await this.exit;
    assert.deepEqual({ code, signal }, { code: 0, signal: null }, stderr);
  }
}

/** Runs git, untouched by the user's own configuration. */
export function git(dir, ...args) {
  const env = { ...process.env, GIT_CONFIG_GLOBAL: '/dev/null', GIT_CONFIG_NOSYSTEM: '1' };
  for (const name of ['GIT_DIR', 'GIT_WORK_TREE', 'GIT_INDEX_FILE']) delete env[name];
  const who = ['-c', 'user.name=Test', '-c', 'user.email=test@example.org'];
  return execFileSync('git', [...who, ...args], { cwd: dir, env, encoding: 'utf8' }).trim();
}

/** The error that a call is refused with, which must be of this kind. */
export async function refused(call, code, message = /./) {
  let error;
  try {
    const value = await (typeof call === 'function' ? call() : call);
    error = new assert.AssertionError({ message: `not refused with ${code}, but: ${JSON.stringify(value)}` });
  } catch (e) {
    error = e;
  }
  if (!(error instanceof PortDaddyError)) throw error;
  assert.equal(error.code, code, error.message);
  assert.equal(error.name, 'PortDaddyError');
  assert.match(error.message, message);
  return error;
}

/** Asks again and again until it is so. */
export async function until(isSo, what = 'it') {
  const deadline = Date.now() + LONG;
  for (;;) {
    const answer = await isSo();
    if (answer) return answer;
    assert.ok(Date.now() < deadline, `${what} never came about`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

/** Returns once so many wait for a lock. */
export function untilQueued(pd, name, count) {
  return until(async () => ((await pd.lockInfo(name))?.waiters.length ?? 0) === count, `${count} in the queue of ${name}`);
}

/** Returns once so many wait for anything. */
export function untilWaiting(pd, count) {
  return until(async () => (await pd.status()).waiters.length === count, `${count} waiting`);
}

/** A port of the kernel's choice on which something listens until `close`. */
export async function occupied() {
  for (;;) {
    const server = createServer();
    await new Promise((resolve, reject) => server.once('error', reject).listen(0, '127.0.0.1', resolve));
    const { port } = server.address();
    const close = () => new Promise((resolve) => server.close(resolve));
    // With room above it.
    if (port > 2048 && port < 65_000) return { port, close };
    await close();
  }
}

/** The next value of an iterator, which must not have ended. */
export async function next(iterator) {
  const { value, done } = await iterator.next();
  assert.ok(!done, 'the stream has ended');
  return value;
}

/** What marks a database as this program's. */
export const OURS = 0x50744479;

/** Writes an empty database, as SQLite does, with these two numbers in its header. */
export function emptyDatabase(file, { applicationId, version }) {
  const page = Buffer.alloc(4096);
  page.write('SQLite format 3\0', 0, 'latin1');
  page.writeUInt16BE(4096, 16);
  page.set([1, 1, 0, 64, 32, 32], 18);
  for (const [at, value] of [[24, 1], [28, 1], [44, 4], [56, 1], [60, version], [68, applicationId], [92, 1], [96, 3_045_000]]) {
    page.writeUInt32BE(value, at);
  }
  // The one table's page: no cells, and all of it free.
  page[100] = 0x0d;
  page.writeUInt16BE(4096, 105);
  mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
  writeFileSync(file, page);
}
