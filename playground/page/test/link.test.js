// A session as the fragment of an address, and back.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { deflateRawSync } from 'node:zlib';
import { decode, encode } from '../src/link.js';

const session = { at: 2, look: 'addr:0x88300000', secret: false, requests: [{ do: 'boot', args: 'memmap=self', granule: '4k', memory: '1G' }, { do: 'monitor', text: 'plug 1G' }, { do: 'line', text: 'tenant new 500' }, { do: 'line', text: 'audit' }] };

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

/** A fragment with this JSON, or text. */
const plain = (content) => `#j=${Buffer.from(typeof content === 'string' ? content : JSON.stringify(content)).toString('base64url')}`;
const machine = (fields) => plain({ v: 1, do: [{ do: 'boot', ...fields }] });
const DAMAGED = /^it is damaged, or a part of it is missing$/;

test('a link that is cut off or damaged is refused, in words for a reader', async () => {
  const whole = await encode(session);
  const parts = [whole.slice(0, -6), whole.slice(0, 20), `${whole}.`, `${whole}%20`];
  for (const broken of [...parts, '#s=', '#s=A', '#s=AAAA', '#s=@@@', '#s=%3Cscript%3E', '#j=AAAA', plain('{"v":1')]) {
    await assert.rejects(decode(broken), { message: DAMAGED }, broken);
  }
});

test('a link that holds something else is refused', async () => {
  const refused = (content, why) => assert.rejects(decode(plain(content)), why);
  for (const other of [null, [], '"x"', 5, {}, { v: 2, do: [{ do: 'boot' }] }, { v: 1, do: [] }, { v: 1, do: 'boot' }]) await refused(other, /no session/);
  for (const entry of [{ do: 'line', text: 'x' }, 5, null, { do: 'boot' }]) await refused({ v: 1, do: [{ do: 'boot' }, entry] }, /its entry 1 is not a request/);
  await assert.rejects(decode(plain({ v: 1, do: ['mem'] })), /its entry 0 is not a request/);
});

test('the machine of a link has fields of the types that it takes', async () => {
  const texts = { args: [5, {}, []], granule: [{ type: 'img' }, 4], memory: [5] };
  const wrong = { ...texts, nodes: ['1G', [1]], slots: [-1, 1e30, 0.5, '8'], virtio_mem: ['1G', [{}]], pmem: ['1G', [[]]], pmem_behind_ram: [1] };
  for (const [name, values] of Object.entries(wrong)) {
    for (const value of values) await assert.rejects(decode(machine({ [name]: value })), new RegExp(`no such ${name}`));
  }
  const { requests } = await decode(machine({ args: null, pmem: null, more: '<b>' }));
  assert.deepEqual(requests, [{ do: 'boot', args: '', granule: '4k', memory: '1G' }]);
});

test('a link that grows without bound is refused, and none is made', async () => {
  const line = (text) => ({ do: 'line', text });
  const bomb = deflateRawSync(Buffer.alloc(50_000_000, 32)).toString('base64url');
  await assert.rejects(decode(`#s=${bomb}`), /too long/);
  await assert.rejects(decode(plain({ v: 1, do: [{ do: 'boot' }, ...Array(600).fill('mem')] })), /too long/);
  await assert.rejects(encode({ ...session, requests: [session.requests[0], line('x'.repeat(1_000_000))] }), /too long/);
  await assert.rejects(encode({ ...session, requests: [session.requests[0], ...Array(600).fill(line('mem'))] }), /too long/);
});
