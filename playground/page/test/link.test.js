// A session as the fragment of an address, and back.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decode, encode } from '../src/link.js';

const session = { at: 2, look: 'addr:0x88300000', secret: false, requests: [{ do: 'boot', args: 'memmap=self', granule: '4k' }, { do: 'monitor', text: 'plug 1G' }, { do: 'line', text: 'tenant new 500' }, { do: 'line', text: 'audit' }] };

test('a session comes back from its link', async () => {
  assert.deepEqual(await decode(await encode(session)), session);
});

test('boot arguments that are not shown are not shown behind a link either', async () => {
  assert.equal((await decode(await encode({ ...session, secret: true }))).secret, true);
});

test('the link is a word of an address', async () => {
  assert.match(await encode(session), /^#s=[\w-]+$/);
});

test('an address without a session has none', async () => {
  assert.equal(await decode(''), null);
  assert.equal(await decode('#audit'), null);
});

test('a broken link is refused', async () => {
  await assert.rejects(decode('#s=AAAA'));
  await assert.rejects(decode(`#j=${btoa(JSON.stringify({ v: 1, do: [{ do: 'line', text: 'x' }] }))}`.replaceAll('=', '').replace('#j', '#j=')));
  await assert.rejects(decode(`#j=${btoa(JSON.stringify({ v: 1, do: [] })).replaceAll('=', '')}`));
});

test('a link that grows without bound is refused', async () => {
  const many = { ...session, requests: [session.requests[0], { do: 'line', text: 'x'.repeat(1_000_000) }] };
  await assert.rejects(encode(many).then(decode), /too long/);
});
