// The session, with a machine that answers from a table.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FIRST, Session } from '../src/session.js';
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

/**
 * A session whose machine never answers the line "long", until it is stopped. `slow` are lines that it does not answer from
 * their second time on; with `source.slow` it does not answer requests of this kind, once.
 */
async function hanging(requests = [], slow = []) {
  const source = new SampleSource();
  const seen = new Set();
  let end = null;
  const ask = (request) => {
    const again = slow.includes(request.text) && seen.has(request.text);
    seen.add(request.text);
    const hangs = request.text === 'long' || again || request.do === session.source.slow;
    return hangs ? new Promise((resolve) => { session.source.slow = null; end = () => resolve({ ok: false, stopped: true }); }) : source.ask(request);
  };
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

test('a link that is stopped again while it goes back shows the first machine', async () => {
  const { session, begun } = await hanging([{ do: 'boot' }, { do: 'line', text: 'slow' }, { do: 'line', text: 'long' }], ['slow']);
  await turn();
  session.stop();
  await turn();
  assert.equal(session.running.request.text, 'slow');
  session.stop();
  await begun;
  assert.deepEqual([session.busy, session.requests, session.at, session.failure], [false, [FIRST], 0, null]);
  assert.equal(session.state.granule, 4096);
});

test('a request whose pictures are stopped is named', async () => {
  const { session } = await hanging();
  session.source.slow = 'state';
  const running = session.run({ do: 'monitor', text: 'plug 1G' });
  await turn();
  session.stop();
  await running;
  assert.deepEqual([session.requests.length, session.stopped?.text], [1, 'plug 1G']);
});

test('what waits behind a request is for the session that it finds', async () => {
  const { session } = await begun();
  for (const text of ['a', 'b', 'c']) await session.run({ do: 'line', text });
  await session.goto(0);
  await Promise.all([session.run({ do: 'line', text: 'd' }), session.goto(3), session.goStep(0)]);
  assert.deepEqual([session.requests.length, session.at, session.step], [2, 1, null]);
  await session.run({ do: 'line', text: 'e' });
  assert.deepEqual([session.requests.length, session.answers.length, session.at], [3, 3, 2]);
});

/** A session after "plug 1G" whose machine stops at its next request like `at`: `times` times. */
async function dying(at, times) {
  const source = new SampleSource();
  let [left, there] = [0, false];
  const ask = (request) => {
    if (left > 0 && (request.do === at || request.name === at)) {
      [left, there] = [left - 1, false];
      return { ok: false, error: 'the machine has stopped: its worker ended', gone: true };
    }
    there ||= request.do === 'boot';
    return there ? source.ask(request) : { ok: false, error: 'there is no machine: boot first' };
  };
  const session = new Session({ live: false, can: source.can, ask: async (request) => ask(request) });
  await session.start({});
  await session.run({ do: 'monitor', text: 'plug 1G' });
  left = times;
  return session;
}

test('a machine that stops while it is looked at runs again', async () => {
  for (const at of ['state', 'walk', 'trace']) {
    const session = await dying(at, 1);
    await session.choose('pfn:0x40001');
    await session.run({ do: 'line', text: 'mem' });
    assert.deepEqual([session.failure, session.answers.map((answer) => answer.ok), session.state.dimms.length], [null, [true, true, true], 1], at);
    assert.equal(session.views.walk.error, undefined);
  }
});

test('a machine that stops whenever it is looked at is a failure of no request, with a way back', async () => {
  const session = await dying('state', 6);
  await session.run({ do: 'line', text: 'mem' });
  await session.goto(1);
  await session.goto(0);
  assert.deepEqual([session.failure, session.at], [{ error: 'the machine has stopped: its worker ended', request: undefined }, 0]);
  await session.recover();
  assert.deepEqual([session.failure, session.at, session.requests.length], [null, 0, 3]);
});

test('a machine that stops while words are offered runs again', async () => {
  const session = await dying('complete', 1);
  assert.deepEqual(await session.complete('te'), []);
  await session.run({ do: 'line', text: 'mem' });
  assert.equal(session.failure, null);
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
