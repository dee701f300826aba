// What a reader types for a number or a page.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parse, target } from '../src/format.js';

test('numbers are those of the kernel\'s shell', () => {
  for (const [text, value] of [['0', 0n], ['4096', 4096n], ['0x8000_0000', 0x80000000n], ['0XfF', 255n], ['128M', 128n << 20n], ['1GiB', 1n << 30n], ['64k', 64n << 10n], ['2TB', 2n << 40n], ['0xfffffdffc0000000', 0xfffffdffc0000000n]]) assert.equal(parse(text), value, text);
  for (const text of ['', '0x', '12x', 'M', '-1', '1.5G', '99999999999999999999', '16777216T', '1MM', '0x1gg', '_', '12b0']) assert.equal(parse(text), null, text);
});

test('digits without 0x are decimal, and the other reading is offered', () => {
  assert.deepEqual(target('pfn:0x80000'), { of: 'pfn:0x80000' });
  assert.deepEqual(target(' 0x88300000 '), { of: 'addr:0x88300000' });
  assert.deepEqual(target('88300000'), { of: 'addr:0x54359e0', note: '88300000 was read as decimal: 0x54359e0.', hex: 'addr:0x88300000' });
  assert.equal(target('fffe').hex, 'addr:0xfffe');
  assert.match(target('zz').error, /‘zz’ is not an address/);
});

test('no number of more than 64 bits is offered, nor repeated in full', () => {
  const { error, hex } = target('9'.repeat(400));
  assert.equal(hex, null);
  assert.match(error, /^‘9{40}…’ is not an address/);
});
