// The Node.js agent of `examples/polyglot.sh`, which says what the three agents do.
import { PortDaddy } from 'port-daddy/client';

const pd = new PortDaddy({ agentId: 'node' });
const timeout = 60_000;

await pd.begin({ purpose: 'Building the checkout', name: 'Node agent', type: 'ai' });
await pd.publish('built:node', { part: 'the checkout' });
for (const other of ['python', 'shell']) {
  console.log('node: received', await pd.waitForSignal(`built:${other}`, { timeout }));
}

for (const turn of ['python', 'node', 'shell']) {
  if (turn === 'node') {
    await pd.withLock('deploy', { timeout }, async (token) => {
      await pd.note(`Deploying the checkout with token ${token}`, { type: 'commit' });
      await pd.publish('deploying:node', true);
      await Promise.all(['python', 'shell'].map((other) => pd.waitForSignal(`refused:node:${other}`, { timeout })));
    });
  } else {
    await pd.waitForSignal(`deploying:${turn}`, { timeout });
    if ((await pd.lock('deploy', { blocking: false })) !== null) throw new Error('two held the lock at once');
    const holder = await pd.lockInfo('deploy');
    console.log(`node: deploy is held by ${holder.agentName}: ${holder.purpose}`);
    await pd.publish(`refused:${turn}:node`, true);
  }
}
await pd.done('Deployed');
await pd.close();
