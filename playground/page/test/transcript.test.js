// Views from a transcript. The transcript is written by hand, after docs/reference/shell.md; the sums are arithmetic.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { picture } from '../picture.js';
import { views } from '../src/transcript.js';

const BLOCK = 128 * 2 ** 20;
const PAGES = BLOCK / 4096;
const block = (more) => ({ size: BLOCK, state: 'online', zone: 'Movable', source: 'dimm0', node: 0, memmap: 'self', tenant_pages: 0, free: 0, lent: 0, plugged: BLOCK, ...more });
const STATE = {
  granule: 4096,
  vmemmap: { start: '0xfffffdffc0000000', first_pfn: 0x40000, page_bytes: 64 },
  blocks: [
    block({ start: '0x40000000', source: 'boot', zone: 'Normal', memmap: 'boot', usable_start: '0x40000000', free: 30000 }),
    block({ start: '0x80000000', usable_start: '0x80200000', tenant_pages: 100, free: PAGES - 512 - 100 }),
    block({ start: '0x88000000', usable_start: '0x88200000', state: 'offline', zone: 'none' }),
  ],
  devices: [{ start: '0x100000000', size: BLOCK, type: 'fs-dax', state: 'live', altmap: { alloc: 512 }, usable_start: '0x100200000', dedup: false, align: 4096, ranges: [{ start: '0x100000000', size: BLOCK }] }],
};
const PTDUMP = `vmemmap:
  0xfffffdffc0000000..0xfffffdffc0200000 -> 0x40a00000  2 MiB leaves  rw- normal
  0xfffffdffc1000000..0xfffffdffc1001000 -> 0x80000000  4 KiB leaves  rw- normal
  0xfffffdffc1001000..0xfffffdffc1200000 -> 0x4010e000  4 KiB leaves  r-- normal, all to one frame
  0xfffffdffc1200000..0xfffffdffc1400000 -> the table above, 0x4010f000, again for each 2 MiB
tenants:
  0xffff900000000000..0xffff900000064000 -> 0x80200000  4 KiB leaves  rw- normal`;
const WALK = `pfn 0x88000 (0x88000000): its struct page is at 0xfffffdffc1200000
level 0 table 0x40100000 index  507: 0x000000004010a003  table 0x4010a000
level 2 table 0x4010b000 index    9: 0x0060000088000705  2 MiB block 0x88000000  rw- normal
0xfffffdffc1200000 -> 0x88000000, self-hosted: memory of dimm0 that holds its own memmap`;
const transcript = (...parts) => ['hotmap 0.1.0: 4k pages', ...parts, 'hotmap: exit 0: 1 of 1 commands'].join('\r\n');

test('a block has all of its pages, by use', () => {
  const { memory } = views(transcript(JSON.stringify(STATE)));
  for (const { runs } of memory.blocks) assert.equal(runs.reduce((sum, run) => sum + run.pages, 0), PAGES);
  const uses = (at) => Object.fromEntries(memory.blocks[at].runs.map(({ use, pages }) => [use, pages]));
  assert.deepEqual(uses(0), { other: PAGES - 30000, free: 30000 });
  assert.deepEqual(uses(1), { memmap: 512, tenant: 100, free: PAGES - 612 });
  assert.deepEqual(uses(2), { memmap: 512, offline: PAGES - 512 });
  const [, rest] = memory.devices[0].ranges[0].runs;
  assert.deepEqual([rest.use, rest.first_pfn, rest.pages], ['device', 0x100200, PAGES - 512]);
});

test('ptdump gives the pages of vmemmap and the frames behind them', () => {
  const { vmemmap } = views(transcript(JSON.stringify(STATE), PTDUMP));
  assert.equal(vmemmap.pages_mapped, 512 + 512 + 512);
  assert.equal(vmemmap.frames, 512 + 1 + 1);
  assert.deepEqual(vmemmap.ranges.map(({ struct_of }) => struct_of), [0x40000, 0x80000, 0x80040, 0x88000]);
  assert.deepEqual(vmemmap.ranges.map(({ backing }) => backing), ['ram', 'self', 'ram', 'mixed']);
  assert.deepEqual(vmemmap.ranges.map(({ readonly }) => readonly), [false, false, true, false]);
  assert.equal(vmemmap.ranges[3].same_as, '0xfffffdffc1000000');
});

test('a part that ptdump folds is one range, whose frames are not known', () => {
  const folded = `${PTDUMP.split('\n').slice(0, 2).join('\n')}
  0xfffffdffc0200000..0xfffffdffc0201000 -> 0x40c00000  4 KiB leaves  rw- normal
  0xfffffdffc0201000..0xfffffdffc0208000 -> 0x4010e000  4 KiB leaves  r-- normal, all to one frame
  0xfffffdffc0208000..0xfffffdffc0220000    the 2 lines above, 3 times more, to the same shared frame`;
  const { vmemmap } = views(transcript(JSON.stringify(STATE), folded));
  assert.equal(vmemmap.pages_mapped, 512 + 8 * 4);
  assert.deepEqual([vmemmap.complete, vmemmap.ranges.at(-1).folded, vmemmap.ranges.at(-1).pages], [false, true, 24]);
});

test('walk gives the entries', () => {
  const { walk } = views(transcript(JSON.stringify(STATE), WALK));
  assert.deepEqual([walk.pfn, walk.va, walk.pa], [0x88000, '0xfffffdffc1200000', '0x88000000']);
  assert.deepEqual(walk.steps.map(({ level, index, type }) => [level, index, type]), [[0, 507, 'table'], [2, 9, 'block']]);
});

test('the last of several counts', () => {
  const old = { ...STATE, blocks: STATE.blocks.slice(0, 1) };
  assert.equal(views(transcript(JSON.stringify(old), JSON.stringify(STATE))).memory.blocks.length, 3);
});

test('a picture of a transcript has a row for each kind of block', () => {
  const text = picture('map', views(transcript(JSON.stringify(STATE), PTDUMP)), { width: 900 });
  for (const name of ['boot', 'dimm0', 'device 0x100000000', 'tenant']) assert.ok(text.includes(`>${name}<`), name);
  assert.match(text, />A bar shows how many pages each use has, not where they lie\.</);
});

test('what is no transcript is an error that says so', () => {
  assert.throws(() => views(''), /no output of the command 'state'/);
  assert.throws(() => views('{"blocks":'), /not JSON/);
  assert.throws(() => views(JSON.stringify({ ...STATE, granule: 8192 })), /granule of 8192/);
});
