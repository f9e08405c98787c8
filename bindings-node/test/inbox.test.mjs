// Messages to one agent: what is kept until it was shown, and what the sender learns.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Store, next, refused } from './setup.mjs';

const texts = (messages) => messages.map((m) => m.text);

test('what_is_sent_is_there_until_it_was_shown', async (t) => {
  const store = new Store(t);
  const [a, b] = [store.open('a'), store.open('b')];
  await a.registerAgent({ name: 'Ann' });
  await b.registerAgent({ name: 'Bob' });
  const { message, recipientName, reach, goneMs } = await a.send('Bob', 'one');
  await a.send('b', 'two\n\u001b[31m');
  assert.deepEqual([message.recipient, recipientName, reach, goneMs], ['b', 'Bob', 'if_it_looks', null]);
  assert.deepEqual([message.sender, message.senderName, message.shownMs], ['a', 'Ann', null]);
  assert.ok(message.atMs > 0);
  for (let i = 0; i < 2; i++) assert.deepEqual(texts(await b.inbox()), ['one', 'two\n\u001b[31m']);
  assert.deepEqual(await a.inbox(), []);
  assert.equal(await b.inboxShown(message.seq), undefined);
  assert.deepEqual(texts(await b.inbox()), ['two\n\u001b[31m']);
  assert.deepEqual((await b.directMessages()).map((m) => m.shownMs !== null), [true, false]);
  assert.deepEqual(texts(await b.directMessages({ limit: 1 })), ['two\n\u001b[31m']);
});

test('an_agent_is_named_by_its_id_or_by_what_it_alone_is_called', async (t) => {
  const store = new Store(t);
  const me = store.open('me');
  for (const id of ['api-1', 'web-1']) await store.open(id).registerAgent({ name: 'Builder', identity: `shop:${id}` });
  assert.equal((await me.send('shop:web-1', 'x')).message.recipient, 'web-1');
  const ambiguous = await refused(me.send('Builder', 'x'), 'AMBIGUOUS');
  assert.equal(ambiguous.fields.candidates.length, 2);
  assert.deepEqual((await refused(me.send('api', 'x'), 'NOT_FOUND')).fields.near, ['api-1']);
});

test('a_text_has_bounds_and_an_inbox_has_room_for_a_thousand', async (t) => {
  const store = new Store(t);
  const [a, b] = [store.open('a'), store.open('b')];
  await b.registerAgent();
  for (const bad of ['', 'a\0b', 'x'.repeat((64 << 10) + 1), 7, undefined]) await refused(a.send('b', bad), 'INVALID');
  for (const bad of ['x', undefined, 1.5]) await refused(b.inboxShown(bad), 'INVALID');
  assert.throws(() => b.followInbox({ nonsense: 1 }), { code: 'INVALID' });
  await Promise.all(Array.from({ length: 1000 }, (_, n) => a.send('b', String(n))));
  assert.equal((await refused(a.send('b', 'one too many'), 'INBOX_FULL')).fields.waiting, 1000);
});

test('a_follower_gets_each_message_once', async (t) => {
  const store = new Store(t);
  const [reader, writer] = [store.open('r'), store.open('w')];
  await reader.registerAgent();
  for (let i = 0; i < 150; i++) await writer.send('r', String(i));
  const follow = reader.followInbox();
  const messages = follow[Symbol.asyncIterator]();
  const written = (async () => {
    for (let i = 150; i < 300; i++) await writer.send('r', String(i));
  })();
  for (let i = 0; i < 300; i++) assert.equal((await next(messages)).text, String(i));
  await written;
  await follow.close();
  assert.deepEqual(await messages.next(), { value: undefined, done: true });
  assert.equal((await reader.inbox()).length, 100, 'following shows nothing');
});

test('following_ends_with_its_time_and_with_its_reader', async (t) => {
  const store = new Store(t);
  const [pd, other] = [store.open('a'), store.open('b')];
  await pd.registerAgent();
  await pd.send('a', 'x');
  for await (const message of pd.followInbox()) {
    await pd.inboxShown(message.seq);
    break;
  }
  const controller = new AbortController();
  const waiting = pd.followInbox({ signal: controller.signal })[Symbol.asyncIterator]().next();
  while (!(await other.status()).waiters.some((w) => w.kind === 'inbox' && w.agent === 'a'));
  assert.equal((await other.send('a', 'wake up')).reach, 'woken');
  assert.equal((await waiting).value.text, 'wake up');
  controller.abort();
  const closed = pd.followInbox()[Symbol.asyncIterator]();
  assert.equal((await closed.next()).value.text, 'wake up');
  const last = closed.next();
  await pd.close();
  assert.deepEqual(await last, { value: undefined, done: true });
});

test('what_a_program_sends_a_shell_reads', async (t) => {
  const store = new Store(t);
  const pd = store.open('a');
  await store.pd('b', 'agent', 'register');
  await pd.send('b', 'from a program');
  assert.equal(await store.pd('b', 'inbox'), '[a] from a program\n');
  assert.equal((await pd.send('b', 'again')).reach, 'if_it_looks');
});
