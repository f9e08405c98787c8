// The tutorial's JavaScript, as written: each snippet is in seed/ word for word, and runs as an ES module and as
// CommonJS, while a shell looks on. Three things of it are no JavaScript anywhere, and are mended before it runs:
// `await` in the arrow function of a timer, which becomes an async one; comments that begin with `#`, as two of its
// listings stand in a block of shell; and, in CommonJS, `await` outside a function and the `import` line.
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

import { Store, until } from './setup.mjs';

const seed = join(import.meta.dirname, 'seed');

const mended = (text) => text.replace('setInterval(() => {', 'setInterval(async () => {').replace(/^# /gm, '// ');

const IMPORT = "import { PortDaddy } from 'port-daddy/client';";

// What the tutorial leaves to its reader. `step` says where the program is, and waits until the test has looked.
// Timers of many seconds are short here; what they run is the tutorial's.
const SURROUNDINGS = `
const { createInterface } = await import('node:readline');
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const say = (value) => process.stdout.write(JSON.stringify(value) + '\\n');
const step = async (value) => { say(value); return (await lines.next()).value; };
const console = { log: (text) => say({ log: text }) };
const setInterval = (beat, ms) => { say({ every: ms }); return globalThis.setInterval(beat, 20); };
const setTimeout = (late, ms) => { say({ after: ms }); return globalThis.setTimeout(late, ms / 100); };
const initializeStripe = () => step('initializeStripe');
const runTests = (port) => step({ runTests: port });
const execSync = (command) => step({ execSync: command });
const runMigrations = () => step('runMigrations');
const updateProgressBoard = (message) => say({ updateProgressBoard: message });
`;

/** Runs a snippet, of a kind of module, as an agent. Where it makes no client, `begin` does. */
function play(t, store, kind, name, { agent, begin = '', end = '' }) {
  const text = mended(readFileSync(join(seed, `${name}.js.txt`), 'utf8'));
  const lines = [SURROUNDINGS, text.includes(IMPORT) ? '' : begin, text.replace(IMPORT, ''), end];
  const program =
    kind === 'esm'
      ? [IMPORT, ...lines].join('\n')
      : `const { PortDaddy } = require('port-daddy/client');\n(async () => {\n${lines.join('\n')}\n})();\n`;
  const dir = mkdtempSync(join(import.meta.dirname, 'play-'));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  const file = join(dir, `${name}.${kind === 'esm' ? 'mjs' : 'cjs'}`);
  writeFileSync(file, program);
  return store.start(process.execPath, [file], { agent });
}

for (const kind of ['esm', 'cjs']) {
  test(`the_javascript_sdk_full_pattern_${kind}`, async (t) => {
    const store = new Store(t);
    await store.pd('database', 'pub', 'myapp:db', '{"status":"schema-ready"}');
    const end = 'await step("ended"); process.exit(0);';
    const program = play(t, store, kind, 'full-pattern', { end });

    // In its lock, as a shell sees it.
    assert.equal(await program.said(), 'initializeStripe');
    const { agents } = await store.json('looker', 'agents');
    const agent = agents.find((a) => a.id === 'backend-builder');
    assert.deepEqual([agent.name, agent.identity, agent.purpose, agent.type], ['Backend Builder', 'myapp:api', 'Building REST API', 'ai']);
    assert.equal(agent.state, 'active');
    const { sessions } = await store.json('looker', 'sessions');
    assert.deepEqual(sessions.map((s) => [s.agent, s.purpose, s.status]), [['backend-builder', 'Building payment endpoints', 'active']]);
    const claims = (await store.json('looker', 'files', 'list')).claims.map((c) => c.pattern);
    assert.ok(claims.length === 2 && claims[0].endsWith('src/api/payments/*') && claims[1].endsWith('src/types/Payment.ts'), String(claims));
    const held = await store.run('pd', ['lock', 'payment-config'], { agent: 'looker' });
    assert.deepEqual([held.exit, /Backend Builder|backend-builder/.test(held.stderr)], [1, true], held.stderr);
    // It subscribed after the schema was announced, and was told all the same.
    const notes = () => store.pd('looker', 'notes');
    await until(async () => (await notes()).includes('Schema ready'), 'the note of the schema');
    assert.equal(await notes(), '[Backend Builder] Started payment API implementation\n[Backend Builder] Schema ready, importing types\n');
    const commits = (await store.json('looker', 'notes', '--type', 'commit')).notes;
    assert.deepEqual(commits.map((n) => n.text), ['Schema ready, importing types']);
    program.go();

    assert.deepEqual(await program.said(), { every: 30_000 });
    assert.equal(await program.said(), 'ended');
    assert.equal(JSON.parse(await store.pd('looker', 'sub', 'myapp:api', '-q')).typesUrl, 'http://localhost:3101/api/types.json');
    const { services } = await store.json('looker', 'ps');
    assert.deepEqual(services.map((s) => [s.identity, s.port]), [['myapp:api', 3101]]);
    assert.deepEqual((await store.json('looker', 'locks')).locks, []);
    const [session] = (await store.json('looker', 'sessions', '--status', 'any')).sessions;
    assert.deepEqual([session.status, session.notes], ['completed', 3]);
    assert.ok((await notes()).endsWith('[Backend Builder] Payment API complete, ready for testing\n'));
    // The heartbeat goes on until the program ends.
    const beaten = async () => (await store.json('looker', 'agents')).agents.find((a) => a.id === 'backend-builder').seen_ms;
    const before = await beaten();
    await until(async () => (await beaten()) > before, 'a heartbeat');
    program.go();
    await program.end();
  });

  test(`pub_sub_${kind}`, async (t) => {
    const store = new Store(t);
    const program = play(t, store, kind, 'pubsub', { agent: 'backend', end: 'say("subscribed");' });
    assert.equal(await program.said(), 'subscribed');
    assert.deepEqual(await program.said(), { log: 'Backend ready, starting tests' });
    assert.deepEqual(await program.said(), { runTests: 3101 });
    program.go();
    // It goes on listening.
    await store.pd('shell', 'pub', 'payments:web', '{"status":"starting"}');
    await store.pd('shell', 'pub', 'payments:web', '{"status":"healthy","port":4000}');
    assert.deepEqual(await program.said(), { log: 'Backend ready, starting tests' });
    assert.deepEqual(await program.said(), { runTests: 4000 });
    assert.match(await store.pd('shell', 'sub', 'payments:api', '-q'), /"status":"healthy","port":3101/);
  });

  test(`locks_when_they_are_free_${kind}`, async (t) => {
    const store = new Store(t);
    const program = play(t, store, kind, 'locks', { agent: 'database', begin: 'const pd = new PortDaddy();' });
    for (const then of [{ log: 'Migrations complete' }, undefined]) {
      assert.deepEqual(await program.said(), { execSync: 'npx prisma migrate dev' });
      assert.equal((await store.run('pd', ['lock', 'db-migrations'], { agent: 'looker' })).exit, 1);
      program.go();
      if (then) assert.deepEqual(await program.said(), then);
    }
    await program.end();
    await store.pd('looker', 'lock', 'db-migrations');
  });

  test(`locks_when_they_are_held_${kind}`, async (t) => {
    const store = new Store(t);
    await store.pd('shell', 'lock', 'db-migrations');
    const program = play(t, store, kind, 'locks', { agent: 'database', begin: 'const pd = new PortDaddy();' });
    const waiters = async () => (await store.json('looker', 'locks')).locks[0].waiters.map((w) => w.agent);
    await until(async () => (await waiters()).length === 1, 'its wait');
    await store.pd('shell', 'unlock', 'db-migrations');
    assert.deepEqual(await program.said(), { execSync: 'npx prisma migrate dev' });
    // Another is next in line, and has it when the program asks again without waiting.
    const next = store.start('pd', ['lock', 'db-migrations', '--wait'], { agent: 'next' });
    await until(async () => (await waiters()).length === 1, 'its wait');
    program.go();
    assert.deepEqual(await program.said(), { log: 'Migrations complete' });
    assert.deepEqual(await program.said(), { log: 'Migrations already running, skipping' });
    await program.end();
    await next.end();
    assert.equal((await store.json('looker', 'locks')).locks[0].agent, 'next');
  });

  test(`exclusive_access_${kind}`, async (t) => {
    const store = new Store(t);
    const how = { begin: 'const pd = new PortDaddy();' };
    const programs = ['one', 'two', 'three'].map((agent) => play(t, store, kind, 'exclusive-access', { ...how, agent }));
    // Whoever is inside says so; no other does until it is let go.
    const inside = new Set();
    const done = programs.map(async (program) => {
      assert.equal(await program.said(), 'runMigrations');
      assert.equal(inside.size, 0);
      inside.add(program);
      const { locks } = await store.json('looker', 'locks');
      assert.equal(locks[0].name, 'db-schema');
      inside.delete(program);
      program.go();
      await program.end();
    });
    await Promise.all(done);
    assert.deepEqual((await store.json('looker', 'locks')).locks, []);
  });

  test(`the_status_board_${kind}`, async (t) => {
    const store = new Store(t);
    const program = play(t, store, kind, 'status-board', { agent: 'frontend', begin: 'const pd = new PortDaddy();' });
    assert.deepEqual(await program.said(), { every: 10_000 });
    const status = { agent: 'frontend-builder', progress: 75, blockedOn: 'api-types', eta: '5m' };
    assert.deepEqual(await program.said(), { updateProgressBoard: status });
    assert.deepEqual(await program.said(), { updateProgressBoard: status });
    assert.deepEqual(JSON.parse(await store.pd('looker', 'sub', 'team:*', '-q')), status);
    await store.pd('looker', 'pub', 'team:other', '{"progress":1}');
    await until(async () => (await program.said()).updateProgressBoard.progress === 1, 'what the shell says');
  });

  test(`a_race_that_the_signal_wins_${kind}`, async (t) => {
    const store = new Store(t);
    const end = 'say({ result }); process.exit(0);';
    const program = play(t, store, kind, 'deadlock-race', { agent: 'tests', begin: 'const pd = new PortDaddy();', end });
    assert.deepEqual(await program.said(), { after: 30_000 });
    await store.pd('backend', 'pub', 'backend:ready', '{"port":3101}');
    assert.deepEqual(await program.said(), { result: { port: 3101 } });
    await program.end();
  });

  test(`a_race_that_the_clock_wins_${kind}`, async (t) => {
    const store = new Store(t);
    const text = readFileSync(join(seed, 'deadlock-race.js.txt'), 'utf8');
    assert.ok(text.includes("reject('timeout'), 30000"));
    const begin = "const pd = new PortDaddy();\nprocess.on('unhandledRejection', (reason) => { say({ reason }); process.exit(7); });";
    const program = play(t, store, kind, 'deadlock-race', { agent: 'tests', begin });
    assert.deepEqual(await program.said(), { after: 30_000 });
    // Rejected at the top of an ES module: the process ends with an error of its own.
    const { code, stderr } = await program.exit;
    assert.ok(code !== 0, stderr);
    // A wait that died with its program is nobody's.
    assert.deepEqual((await store.json('looker', 'status')).waiters, []);
  });
}
