// The session, with a machine that answers from a table.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Session } from '../src/session.js';
import { SampleSource } from './sample.js';

/** A session on a machine that notes what it is asked to do. */
async function begun() {
  const source = new SampleSource();
  const asked = [];
  const session = new Session({ ...source, can: source.can, ask: (request) => {
    if (!['state', 'view', 'trace'].includes(request.do)) asked.push(request.text ?? request.do);
    return source.ask(request);
  } });
  await session.start({});
  return { session, asked };
}

test('going back boots again and runs what came before', async () => {
  const { session, asked } = await begun();
  await session.run({ do: 'monitor', text: 'plug 1G' });
  await session.run({ do: 'line', text: 'audit' });
  asked.length = 0;
  await session.goto(1);
  assert.equal(session.requests.length, 3);
  await session.run({ do: 'line', text: 'mem' });
  assert.deepEqual(asked, ['boot', 'plug 1G', 'mem']);
});

test('a moment that was shown is shown again without the machine', async () => {
  const { session, asked } = await begun();
  await session.run({ do: 'monitor', text: 'plug 1G' });
  const { dimms } = session.state;
  await session.goto(0);
  assert.deepEqual(session.state.dimms, []);
  asked.length = 0;
  await session.goto(1);
  assert.deepEqual([asked, session.state.dimms], [[], dimms]);
});

test('a machine like one before has its answers', async () => {
  const { session } = await begun();
  await session.start({});
  assert.equal(session.shown.length, 1);
  assert.equal(session.shown[0].ok, true);
});

test('of several moments that are wished for, the last is shown', async () => {
  const { session, asked } = await begun();
  for (const text of ['a', 'b', 'c']) await session.run({ do: 'line', text });
  const other = new Session(session.source);
  await other.open({ requests: session.requests, at: 3, look: null });
  asked.length = 0;
  await Promise.all([other.goto(2), other.goto(1), other.goto(0)]);
  assert.deepEqual([asked, other.at], [['boot'], 0]);
});

test('a command in the past drops what came after it', async () => {
  const { session } = await begun();
  await session.run({ do: 'monitor', text: 'plug 1G' });
  await session.goto(0);
  await session.run({ do: 'line', text: 'mem' });
  assert.deepEqual(session.requests.map((request) => request.text ?? 'boot'), ['boot', 'mem']);
});

test('a view that the machine does not know is a message', async () => {
  const { session } = await begun();
  assert.match(session.views.audit.error, /no view audit/);
});

test('a view is asked for at the sub-step that is shown', async () => {
  const { session } = await begun();
  const seen = [];
  const { ask } = session.source;
  session.source.ask = (request) => { seen.push(request); return ask(request); };
  await session.goStep(0);
  assert.ok(seen.length > 0);
  assert.ok(seen.filter((request) => request.do === 'view').every((request) => request.at === 0));
});

/** A session whose machine never answers the line "long", until it is stopped. */
async function hanging(requests = []) {
  const source = new SampleSource();
  let end = null;
  const ask = (request) => (request.text === 'long' ? new Promise((resolve) => { end = () => resolve({ ok: false, stopped: true }); }) : source.ask(request));
  const session = new Session({ live: false, can: source.can, ask, stop: () => end?.() });
  const begun = requests.length ? session.open({ requests, at: requests.length - 1, look: null }) : session.start({});
  if (!requests.length) await begun;
  return { session, begun };
}

const turn = () => new Promise((done) => { setTimeout(done); });

test('a request that is stopped leaves the session as it was', async () => {
  const { session } = await hanging();
  await session.run({ do: 'monitor', text: 'plug 1G' });
  const { requests, state, look } = session;
  const running = session.run({ do: 'line', text: 'long' });
  await turn();
  assert.equal(session.running.request.text, 'long');
  session.stop();
  assert.equal((await running).ok, false);
  assert.deepEqual([session.requests, session.at, session.look, session.busy, session.stopped.text], [requests, 1, look, false, 'long']);
  assert.deepEqual(session.state, state);
  assert.equal((await session.run({ do: 'line', text: 'mem' })).ok, true);
  assert.equal(session.stopped, null);
});

test('a link that is stopped while it runs shows what had run', async () => {
  const { session, begun } = await hanging([{ do: 'boot' }, { do: 'monitor', text: 'plug 1G' }, { do: 'line', text: 'long' }]);
  await turn();
  session.stop();
  await begun;
  assert.deepEqual([session.at, session.requests.length, session.state.dimms.length], [1, 3, 1]);
});

test('nothing is stopped when nothing runs', async () => {
  const { session } = await hanging();
  session.source.stop = () => assert.fail('the machine must stay');
  session.stop();
  assert.equal(session.stopped, null);
});

test('what a sub-step does not change is asked once for a request', async () => {
  const { session } = await begun();
  await session.run({ do: 'monitor', text: 'plug 1G' });
  const seen = [];
  const { ask } = session.source;
  session.source.ask = (request) => { seen.push(request.name ?? request.do); return ask(request); };
  await session.goStep(0);
  assert.deepEqual(seen.sort(), ['memory', 'page', 'tables', 'tlb', 'vmemmap', 'walk']);
});
