// The journal: what is written, who reads what, and following it.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Store, next, refused } from './setup.mjs';

const texts = ({ notes }) => notes.map((n) => n.text);

test('a_note_without_a_session_opens_one', async (t) => {
  const store = new Store(t);
  const pd = store.open('api', { cwd: store.repository('shop') });
  await pd.registerAgent({ name: 'Backend Agent' });
  const first = await pd.note('hello');
  const second = await pd.note('again');
  assert.deepEqual([first.openedSession, second.openedSession], [true, false]);
  assert.equal(first.note.session, second.note.session);
  assert.ok(first.note.seq < second.note.seq);
  const { agent, agentName, scope, text, type, atMs } = first.note;
  assert.deepEqual([agent, agentName, scope, text, type], ['api', 'Backend Agent', 'shop', 'hello', 'note']);
  assert.ok(atMs > 0);
  const opened = (await pd.session(first.note.session)).session;
  assert.deepEqual([opened.purpose, opened.branch], ['Backend Agent', 'main']);

  await pd.endSession();
  await refused(pd.note('late', { session: first.note.session }), 'NO_SESSION');
  await refused(pd.note('lost', { session: 'nope' }), 'NOT_FOUND');
});

test('a_note_has_a_text_and_a_type', async (t) => {
  const store = new Store(t);
  const pd = store.open('a');
  const whole = 'x'.repeat(1 << 20);
  for (const bad of [[''], [`${whole}x`], ['x', { type: 'No Slug' }]]) await refused(pd.note(...bad), 'INVALID');
  assert.deepEqual((await pd.notes({ all: true })).notes, []);
  assert.equal((await pd.note(whole)).note.text.length, 1 << 20);
  assert.equal((await pd.note('two\nlines', { type: 'commit' })).note.type, 'commit');
});

test('reading_filters_and_counts_what_is_left_out', async (t) => {
  const store = new Store(t);
  const cwd = store.repository('shop');
  const [a, b] = [store.open('a', { cwd }), store.open('b', { cwd })];
  const other = store.open('c', { cwd: store.repository('blog') });
  await a.registerAgent({ name: 'Ann', identity: 'pay:web' });
  const first = (await a.note('one')).note;
  await b.note('Two ÄRGER', { type: 'blocker' });
  const since = (await b.note('three')).note;
  await other.note('two elsewhere');

  const read = async (filter) => {
    const list = await a.notes(filter);
    return [texts(list).join(','), list.elsewhere];
  };
  assert.deepEqual(await read(), ['one,Two ÄRGER,three', 1]);
  assert.deepEqual(await read({ limit: 2 }), ['Two ÄRGER,three', 1]);
  assert.deepEqual(await read({ all: true }), ['one,Two ÄRGER,three,two elsewhere', 0]);
  assert.deepEqual(await read({ agent: 'b' }), ['Two ÄRGER,three', 0]);
  assert.deepEqual(await read({ agent: 'Ann' }), ['one', 0]);
  assert.deepEqual(await read({ agent: 'c' }), ['', 1]);
  assert.deepEqual(await read({ type: 'blocker' }), ['Two ÄRGER', 0]);
  assert.deepEqual(await read({ grep: 'TWO' }), ['Two ÄRGER', 1]);
  assert.deepEqual(await read({ grep: 'ärger' }), ['Two ÄRGER', 0]);
  assert.deepEqual(await read({ grep: '%' }), ['', 0]);
  assert.deepEqual(await read({ project: 'pay' }), ['one', 0]);
  assert.deepEqual(await read({ sinceMs: Number.MAX_SAFE_INTEGER }), ['', 0]);
  assert.deepEqual(await read({ session: since.session }), ['Two ÄRGER,three', 0]);
  assert.deepEqual(await read({ afterSeq: first.seq, limit: 1 }), ['Two ÄRGER', 1]);
  await refused(a.notes({ agent: 'nobody' }), 'NOT_FOUND');
});

test('a_note_in_a_named_session_goes_to_its_scope', async (t) => {
  const store = new Store(t);
  const inside = store.open('a', { cwd: store.repository('shop') });
  const { id } = (await inside.startSession('Work')).session;
  const { note } = await store.open('a').note('from outside', { session: id });
  assert.equal(note.scope, 'shop');
  assert.deepEqual(texts(await inside.notes()), ['from outside']);
});

test('a_follower_gets_each_note_once', async (t) => {
  const store = new Store(t);
  const [reader, writer] = [store.open('r'), store.open('w')];
  for (let i = 0; i < 30; i++) await writer.note(`old ${i}`);
  const follow = reader.followNotes({ limit: 2 });
  const notes = follow[Symbol.asyncIterator]();
  assert.equal((await next(notes)).text, 'old 28');
  assert.equal((await next(notes)).text, 'old 29');
  const written = Promise.all([...Array(600).keys()].map((i) => writer.note(`new ${i}`)));
  for (let i = 0; i < 600; i++) assert.equal((await next(notes)).text, `new ${i}`);
  await written;
  await follow.close();
  assert.deepEqual(await notes.next(), { value: undefined, done: true });
});

test('following_ends_with_its_time_and_with_its_reader', async (t) => {
  const store = new Store(t);
  const pd = store.open('a');
  await pd.note('x');
  // With a loop that is left, for it is closed then.
  const heard = [];
  for await (const note of pd.followNotes()) {
    heard.push(note.text);
    break;
  }
  assert.deepEqual(heard, ['x']);
  // With the reader's own error.
  await assert.rejects(async () => {
    for await (const note of pd.followNotes()) throw new Error(`enough of ${note.text}`);
  }, { message: 'enough of x' });
  // With its signal.
  const controller = new AbortController();
  const waiting = pd.followNotes({ limit: 0, signal: controller.signal })[Symbol.asyncIterator]().next();
  await pd.status();
  controller.abort();
  assert.deepEqual(await waiting, { value: undefined, done: true });
  // With the client.
  const closed = pd.followNotes({ limit: 0 })[Symbol.asyncIterator]().next();
  await pd.close();
  assert.deepEqual(await closed, { value: undefined, done: true });
});

test('eight_processes_lose_no_note_and_wait_their_turn', async (t) => {
  const store = new Store(t);
  const each = 40;
  const children = Array.from({ length: 8 }, (_, n) => store.child('notes', `agent-${n}`, { count: each }));
  for (const child of children) assert.equal(await child.said(), 'ready');
  for (const child of children) child.go();
  for (const child of children) assert.equal(await child.said(), 'done');
  const { notes } = await store.open('reader').notes({ limit: 1000 });
  assert.equal(notes.length, 8 * each);
  assert.ok(notes.every((note, i) => i === 0 || notes[i - 1].seq < note.seq));
  for (let n = 0; n < 8; n++) {
    const own = notes.filter((note) => note.agent === `agent-${n}`);
    assert.deepEqual(own.map((note) => note.text), Array.from({ length: each }, (_, i) => `agent-${n} ${i}`));
    assert.equal(new Set(own.map((note) => note.session)).size, 1, 'one session each');
  }
});

test('what_a_program_writes_a_shell_reads', async (t) => {
  const store = new Store(t);
  const pd = store.open('api');
  await pd.registerAgent({ name: 'API' });
  await pd.note('from a program', { type: 'commit' });
  await store.pd('api', 'note', 'from a shell');
  assert.equal(await store.pd('looker', 'notes'), '[API] from a program\n[API] from a shell\n');
  assert.deepEqual(texts(await pd.notes()), ['from a program', 'from a shell']);
});
