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
  assert.deepEqual(asked, ['boot', 'plug 1G']);
  assert.equal(session.requests.length, 3);
});

test('going forward runs only what comes next', async () => {
  const { session, asked } = await begun();
  await session.run({ do: 'monitor', text: 'plug 1G' });
  await session.goto(0);
  asked.length = 0;
  await session.goto(1);
  assert.deepEqual(asked, ['plug 1G']);
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
  assert.ok(seen.filter((request) => request.do === 'view').every((request) => request.at === 0));
});
