// Uses everything as TypeScript sees it. It is compiled, in several ways, and never run.
import {
  ERROR_CODES,
  Lock,
  PortDaddy,
  PortDaddyError,
  type Activity,
  type Agent,
  type ErrorCode,
  type LockInfo,
  type Note,
  type PortClaim,
  type Session,
  type Status,
} from 'port-daddy/client';

/** Whether two types are the same, and not only fit. */
type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
function same<A, B>(..._: Same<A, B> extends true ? [] : ['they differ']): void {}

export async function everything(): Promise<void> {
  const pd = new PortDaddy({ agentId: 'a', session: 's', db: 'x.db', scope: 'shop', global: false, cwd: '.' });
  pd.on('notice', (text) => same<typeof text, string>());

  const agent = await pd.registerAgent({ name: 'A', identity: 'p:a', purpose: 'x', type: 'ai' });
  same<typeof agent, Agent>();
  same<Agent['state'], 'active' | 'stale' | 'dead' | 'left'>();
  same<Agent['death'], string | null>();
  same<Agent['unfinished'], boolean>();
  await pd.registerAgent();
  (await pd.sendHeartbeat()).seenMs.toFixed();
  (await pd.unregisterAgent()).proofs[0]?.thisBoot;
  (await pd.agents({ all: true, project: 'p', left: true })).elsewhere.toFixed();
  (await pd.agent('a')).activeSessions.toFixed();
  (await pd.begin({ purpose: 'x', name: 'A', files: ['a'] })).session.id.trim();
  (await pd.done('x')).endedMs?.toFixed();
  const who = await pd.whoami();
  who.registered?.id.trim();
  who.scopeKey.trim();

  const started = await pd.startSession({ purpose: 'x', files: ['a'], force: true, phase: 'p', identity: 'p:a' });
  started.conflicts[0]?.with.agentName.trim();
  started.deadOverlaps[0]?.holderState;
  await pd.startSession('x');
  const ended = await pd.endSession('x', { status: 'abandoned' });
  same<typeof ended, Session>();
  same<Session['status'], 'active' | 'completed' | 'abandoned'>();
  await pd.endSession({ session: 's', note: 'x', status: 'completed' });
  await pd.endSession();
  (await pd.sessions({ all: true, status: 'active', agent: 'a', project: 'p', limit: 5 })).sessions[0]?.salvagedFrom?.trim();
  (await pd.session('s')).claims[0]?.lines?.first.toFixed();
  (await pd.setPhase('x', { session: 's' })).phase?.trim();

  const written = await pd.note('x', { type: 'commit', session: 's' });
  same<typeof written.openedSession, boolean>();
  (await pd.notes({ limit: 1, sinceMs: 1, grep: 'x', afterSeq: 1, type: 'note', agent: 'a', session: 's', project: 'p', all: true })).notes;
  for await (const note of pd.followNotes({ limit: 1, signal: AbortSignal.timeout(1) })) {
    same<typeof note, Note>();
  }

  (await pd.claimFiles('a', { force: true, session: 's' })).claimed[0]?.forced;
  (await pd.releaseFiles(['a'], { session: 's' }))[0]?.root.trim();
  (await pd.fileClaims({ all: true, session: 's', agent: 'a' })).claims;
  (await pd.whoOwns('a')).owners[0]?.claim.pattern.trim();

  const published = await pd.publish('c', { any: ['json', 1, null] }, { ttl: 1, keep: 1 });
  same<typeof published.waiting, number>();
  const sub = pd.subscribe<{ port: number }>(['a', 'b:*'], { replay: 'all', as: 'me', failOnDeadlock: true, failIfGone: true, purpose: 'x' });
  sub.on('message', (payload, meta) => {
    same<typeof payload.port, number>();
    same<typeof meta.seq, number>();
    same<typeof meta.senderState, Agent['state'] | null>();
  });
  sub.on('warning', ({ code }) => same<typeof code, 'deadlock' | 'owner_gone' | 'other_scope' | 'pruned'>());
  sub.on('error', (error) => error.message.trim());
  sub.on('close', () => {});
  await sub.ready;
  for await (const { payload, meta } of sub) await sub.ack(meta.seq + payload.port);
  await sub.unref().ref().close();
  pd.subscribe('a', { replay: 5 });
  const signal = await pd.waitForSignal<{ port: number }>('c', { timeout: 1, signal: AbortSignal.timeout(1) });
  same<typeof signal, { port: number }>();
  (await pd.messages({ patterns: 'a,b', afterSeq: 1, limit: 1, all: true }))[0]?.payload;
  const { reach, message: direct } = await pd.send('a', 'x');
  same<typeof reach, 'woken' | 'next_turn' | 'if_it_looks' | 'nobody'>();
  await pd.inboxShown(direct.seq);
  (await pd.inbox())[0]?.senderName?.trim();
  (await pd.directMessages({ limit: 1 }))[0]?.shownMs?.toFixed();
  for await (const message of pd.followInbox({ signal: AbortSignal.timeout(1) })) message.text.trim();
  (await pd.channels({ pattern: 'a*', all: true })).channels[0]?.lastSeq.toFixed();
  same<Awaited<ReturnType<typeof pd.clearChannel>>, number>();

  const lock = await pd.lock('m', { timeout: 1, ttl: 1, purpose: 'x', onWait: (info) => same<typeof info, LockInfo>() });
  same<typeof lock, Lock>();
  const perhaps = await pd.lock('m', { blocking: false });
  same<typeof perhaps, Lock | null>();
  same<typeof lock.token, number>();
  (await lock.extend(1)).expiresMs?.toFixed();
  (await lock.info()).waiters[0]?.sinceMs.toFixed();
  await lock.release();
  await pd.unlock('m', { force: true, token: 5 });
  const text = await pd.withLock('m', { timeout: 1 }, async (token) => token.toFixed());
  same<typeof text, string>();
  const count = await pd.withLock('m', (token) => token);
  same<typeof count, number>();
  await pd.extendLock('m', 1, { token: 5 });
  (await pd.locks({ all: true })).locks[0]?.holderState;
  same<Awaited<ReturnType<typeof pd.lockInfo>>, LockInfo | null>();

  const claim = await pd.claim('p:a', { port: 3100, range: [3100, 3200], shared: true });
  same<typeof claim, PortClaim>();
  claim.listener?.command.trim();
  (await pd.release('p:*', { shared: true, allWorktrees: true }))[0]?.port.toFixed();
  (await pd.services({ pattern: 'p:*', all: true })).services;
  (await pd.waitForService(['p:a'], { timeout: 1 }))[0]?.listening;

  const { items } = await pd.salvage({ project: 'p', all: true });
  items[0]?.work[0]?.uncommitted[0]?.trim();
  (await pd.salvageClaim('a')).text.trim();
  same<Awaited<ReturnType<typeof pd.salvageComplete>>['state'], 'open' | 'claimed' | 'completed' | 'dismissed' | 'returned'>();
  await pd.salvageAbandon('a');
  await pd.salvageDismiss('a');

  (await pd.activity({ limit: 1, type: 'lock.', agent: 'a', sinceMs: 1, all: true, afterSeq: 1 })).entries[0]?.detail;
  for await (const entry of pd.followActivity()) same<typeof entry, Activity>();
  const status = await pd.status();
  same<typeof status, Status>();
  same<Status['agents']['dead'], number>();
  same<(typeof status.waiters)[number]['agent'], string | null>();
  (await pd.doctor())[0]?.hint?.trim();
  pd.takeNotices()[0]?.trim();
  pd.startHeartbeat({ interval: 30_000 }).stop();
  await pd.close();

  const codes: readonly ErrorCode[] = ERROR_CODES;
  codes.includes('DEADLOCK');
  const error: unknown = null;
  if (error instanceof PortDaddyError) {
    if (error.code === 'PORT_TAKEN') error.hint?.trim();
    same<typeof error.fields, Record<string, unknown>>();
  }
}

// What must not compile.
export async function nothing(pd: PortDaddy): Promise<void> {
  // @ts-expect-error no such option
  new PortDaddy({ agentID: 'a' });
  // @ts-expect-error of another type
  new PortDaddy({ agentId: 5 });
  // @ts-expect-error no such option
  await pd.note('x', { kind: 'commit' });
  // @ts-expect-error no such field
  (await pd.note('x')).opened_session;
  // @ts-expect-error no such field
  (await pd.whoami()).agentId;
  // @ts-expect-error no such field
  (await pd.claim('x')).host;
  // @ts-expect-error the lock may be held
  (await pd.lock('m', { blocking: false })).release();
  // @ts-expect-error no such replay
  pd.subscribe('x', { replay: 'yesterday' });
  // @ts-expect-error no such status
  await pd.endSession({ status: 'tired' });
  // @ts-expect-error no such event
  pd.subscribe('x').on('mesage', () => {});
  // @ts-expect-error no such code
  const code: ErrorCode = 'NO_SUCH_CODE';
  // @ts-expect-error results can't be missing a field
  const claim: PortClaim = { identity: 'x', port: 1 };
  // @ts-expect-error a lock is made by lock()
  new Lock();
  void [code, claim];
}
