// Ports: assigned once, on this machine, to an identity in a working tree.
import assert from 'node:assert/strict';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';

import { LONG, Store, git, occupied, refused } from './setup.mjs';

async function atOnce(children) {
  for (const child of children) assert.equal(await child.said(), 'ready');
  for (const child of children) child.go();
  const ports = [];
  for (const child of children) ports.push(await child.said());
  return ports;
}

test('sixteen_processes_at_once_get_sixteen_ports_that_nothing_listens_on', async (t) => {
  const store = new Store(t);
  const { port, close } = await occupied();
  t.after(close);
  const options = { range: [port, port + 300] };
  const children = Array.from({ length: 16 }, (_, n) => store.child('port', `agent-${n}`, { identity: `app${n}:web`, options }));
  const ports = await atOnce(children);
  assert.equal(new Set(ports).size, 16, String(ports));
  assert.ok(!ports.includes(port));
  assert.equal((await store.open('looker').services({ all: true })).services.length, 16);
});

test('sixteen_processes_with_one_identity_get_one_port', async (t) => {
  const store = new Store(t);
  const { port, close } = await occupied();
  t.after(close);
  const told = { identity: 'payments:api', options: { range: [port, port + 300] } };
  const ports = await atOnce(Array.from({ length: 16 }, (_, n) => store.child('port', `agent-${n}`, told)));
  assert.equal(new Set(ports).size, 1, String(ports));
});

test('an_identity_keeps_its_port_in_its_working_tree', async (t) => {
  const store = new Store(t);
  const repository = store.repository('one');
  const other = join(store.dir('trees'), 'two');
  git(repository, 'worktree', 'add', '-q', other);
  const [a, b, c] = [store.open('a', { cwd: repository }), store.open('b', { cwd: repository }), store.open('c', { cwd: other })];

  const first = await a.claim('payments:frontend');
  assert.deepEqual([first.existing, first.listening, first.listener], [false, false, null]);
  assert.deepEqual([first.identity, first.agent, first.agentName], ['payments:frontend', 'a', 'a']);
  assert.deepEqual([first.worktree, first.scope], [repository, 'one']);
  assert.ok(first.port >= 3100 && first.claimedMs > 0 && first.usedMs >= first.claimedMs);
  const again = await b.claim('payments:frontend');
  assert.deepEqual([again.existing, again.port, again.agent], [true, first.port, 'b']);

  const second = await c.claim('payments:frontend');
  assert.ok(!second.existing && second.port !== first.port);
  const sharedThere = await c.claim('payments:frontend', { shared: true });
  const sharedHere = await a.claim('payments:frontend', { shared: true });
  assert.equal(sharedThere.port, sharedHere.port);
  assert.equal(sharedHere.worktree, null);

  // What is released is this tree's; a living agent's port elsewhere stays even when all are named.
  await a.claim('payments:frontend');
  await c.claim('payments:frontend');
  const released = await a.release('payments:*');
  assert.deepEqual(released.map((claim) => claim.port), [first.port]);
  const none = await refused(a.release('payments:*'), 'NOT_FOUND');
  assert.ok(none.hint);
  assert.equal((await a.release('payments:*', { allWorktrees: true })).length, 1, 'the shared one');
  await refused(a.release('payments:*', { allWorktrees: true }), 'NOT_OWNER');
  assert.deepEqual((await c.services()).services.map((s) => s.port), [second.port]);
  await c.claim('payments:frontend', { shared: true });
  assert.equal((await c.release('payments:frontend', { shared: true })).length, 1);
});

test('a_requested_port_is_that_port_or_an_error_that_names_who_has_it', async (t) => {
  const store = new Store(t);
  const { port, close } = await occupied();
  // The listener is this process: foreign to the child, our own to us.
  const child = store.child('port', 'b', { identity: 'web', options: { port } });
  await child.said();
  child.go();
  const foreign = await child.said();
  assert.deepEqual([foreign.code, foreign.fields.pid], ['PORT_TAKEN', process.pid]);
  assert.match(foreign.message, /node/);

  const a = store.open('a');
  const mine = await a.claim('api', { port });
  assert.deepEqual([mine.port, mine.listening, mine.existing, mine.listener.pid], [port, true, false, process.pid]);
  assert.match(mine.listener.command, /node/);
  await close();
  const error = await refused(store.open('b').claim('web', { port }), 'PORT_TAKEN');
  assert.deepEqual([error.fields.identity, error.fields.agent], ['api', 'a']);

  // A request for another free port moves the assignment.
  const other = await occupied();
  await other.close();
  const moved = await a.claim('api', { port: other.port });
  assert.deepEqual([moved.port, moved.existing], [other.port, false]);
  assert.equal((await a.services()).services.length, 1);
  assert.ok((await a.claim('api', { port: other.port })).existing);

  await refused(a.claim('x', { port: 0 }), 'INVALID');
  await refused(a.claim('x', { port: 70_000 }), 'INVALID');
  await refused(a.claim('not an identity'), 'INVALID');
  await refused(a.claim('x', { range: [9, 3] }), 'INVALID');
});

test('what_the_dead_left_is_given_away_last_and_the_oldest_first', async (t) => {
  const store = new Store(t);
  const { first, close } = await twoFree();
  t.after(close);
  const options = { range: [first, first + 1] };
  const dead = [];
  for (const name of ['one', 'two']) {
    const child = store.child('port', name, { identity: name, options });
    dead.push({ child, port: (await atOnce([child]))[0] });
  }
  const pd = store.open('heir');
  const full = await refused(pd.claim('third', options), 'PORTS_EXHAUSTED');
  assert.ok(full.message.includes(String(first)), full.message);
  for (const { child } of dead) await child.kill();
  assert.equal((await pd.claim('third', options)).port, dead[0].port);
  assert.equal((await pd.claim('fourth', options)).port, dead[1].port);
});

/** Two free ports beside each other; the one before them is held, so that another run of this test chooses others. */
async function twoFree() {
  const listen = (port) =>
    new Promise((resolve) => {
      const server = createServer();
      server.once('error', () => resolve(null)).listen(port, '0.0.0.0', () => resolve(server));
    });
  const close = (server) => new Promise((resolve) => (server ? server.close(resolve) : resolve()));
  for (let port = 20_001; port < 30_000; port += 3) {
    const guard = await listen(port);
    if (!guard) continue;
    const [one, two] = [await listen(port + 1), await listen(port + 2)];
    await Promise.all([close(one), close(two)]);
    if (one && two) return { first: port + 1, close: () => close(guard) };
    await close(guard);
  }
  throw new Error('no free ports');
}

test('waiting_for_a_service_ends_when_something_listens', async (t) => {
  const store = new Store(t);
  const pd = store.open('tester');
  const none = await refused(pd.waitForService(['api', 'web'], { timeout: 0 }), 'TIMEOUT');
  assert.match(none.message, /api has no port/);
  const { port, close } = await occupied();
  await close();
  await pd.claim('api', { port });
  const silent = await refused(pd.waitForService('api', { timeout: 0 }), 'TIMEOUT');
  assert.ok(silent.message.includes(`port ${port} of api`), silent.message);
  assert.deepEqual(silent.fields.missing, ['api']);

  const child = store.child('listen', 'server', { port });
  assert.equal(await child.said(), 'ready');
  const waiting = pd.waitForService('api', { timeout: LONG });
  child.go();
  assert.equal(await child.said(), 'listening');
  const [up] = await waiting;
  assert.deepEqual([up.identity, up.listening, up.listener.pid], ['api', true, child.pid]);

  const controller = new AbortController();
  const cancelled = pd.waitForService('web', { signal: controller.signal });
  await pd.status();
  controller.abort();
  await refused(cancelled, 'CANCELLED');
  await refused(pd.waitForService([]), 'INVALID');
});

test('the_environment_names_the_range', async (t) => {
  const store = new Store(t);
  const { port, close } = await occupied();
  t.after(close);
  const any = async (range) => {
    const child = store.child('port', 'a', { identity: 'web' }, { env: { PORT_DADDY_RANGE: range } });
    return (await atOnce([child]))[0];
  };
  for (const wrong of ['80-90', '9000', '9000-8000']) {
    const error = await any(wrong);
    assert.deepEqual([error.code, error.fields.variable], ['INVALID', 'PORT_DADDY_RANGE']);
  }
  assert.equal((await any(`${port}-${port}`)).code, 'PORTS_EXHAUSTED');
  const given = await any(`${port}-${port + 300}`);
  assert.ok(given > port && given <= port + 300);
  assert.equal(await any('3100-3101'), given, 'what it has, it keeps');
});

test('the_shell_and_a_program_share_assignments', async (t) => {
  const store = new Store(t);
  const pd = store.open('a');
  const { port } = await pd.claim('payments:frontend');
  assert.equal(await store.pd('a', 'claim', 'payments:frontend', '-q'), `${port}\n`);
  const { services, elsewhere } = await pd.services({ pattern: 'payments:*' });
  assert.deepEqual([services.length, elsewhere, services[0].existing], [1, 0, true]);
  assert.match(await store.pd('looker', 'ps'), new RegExp(`payments:frontend ${port}`));
});
