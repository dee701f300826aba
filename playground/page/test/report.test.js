// The page of a run.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { report } from '../report.js';

const BLOCK = 128 * 2 ** 20;
const STATE = JSON.stringify({
  granule: 4096, vmemmap: { start: '0xfffffdffc0000000', first_pfn: 0x40000, page_bytes: 64 }, devices: [],
  blocks: [{ start: '0x40000000', size: BLOCK, state: 'online', zone: 'Normal', source: 'boot', node: 0, memmap: 'boot', usable_start: '0x40000000', tenant_pages: 5, free: 30000, lent: 0, plugged: BLOCK }],
});

test('everything that was told is on the page, in order, and is text', () => {
  const page = report([
    { kind: 'chapter', number: 1, title: 'Boot' },
    { kind: 'command', text: 'hotmap> mem' },
    { kind: 'guest', text: 'present <262144> pages' },
    { kind: 'monitor', text: 'device_add pc-dimm' },
    { kind: 'picture', title: 'Before', transcript: STATE },
    { kind: 'checked', text: 'all is well' },
    { kind: 'figures', machine: 'QEMU 7.2', rows: [{ name: 'add', instructions: 284100, ram: null }, { name: 'Linux 6.12', instructions: 34.4e6, ram: '8 kB' }] },
  ]);
  const places = ['1. Boot', 'hotmap> mem', 'present &lt;262144', 'device_add', 'Before', '<svg', '>tenant<', 'all is well', '284,100', '34,400,000', '8 kB'].map((text) => page.indexOf(text));
  assert.ok(places.every((at) => at > 0), String(places));
  assert.deepEqual(places, places.toSorted((a, b) => a - b));
  assert.doesNotMatch(page, /(src|href)=/, 'the page needs nothing else');
});

test('an event that the page does not know is an error', () => {
  assert.throws(() => report([{ kind: 'song' }]), /'song'/);
});
