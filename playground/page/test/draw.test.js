// The drawing functions, without a browser: what is drawn, and how long it takes.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { render } from 'preact-render-to-string';
import { fold, place } from '../src/draw/fold.js';
import { drawLens } from '../src/draw/lens.js';
import { drawMap } from '../src/draw/map.js';
import { drawStruct } from '../src/draw/struct.js';
import { mapping } from '../src/draw/vmemmap.js';
import { drawTree, drawWalk, tablesOf } from '../src/draw/walk.js';
import * as sample from './sample.js';

const marks = (svg) => (svg.match(/<(rect|path|circle|polygon|line|text)/g) ?? []).length;

test('blocks that look alike are one row', () => {
  const rows = fold(sample.memory(1));
  assert.deepEqual(rows.map((row) => [row.block.source, row.times]), [['boot', 1], ['boot', 7], ['dimm0', 8]]);
});

test('a row that is opened shows each of its blocks', () => {
  const rows = fold(sample.memory(1), { open: new Set([0x80000000]) });
  assert.equal(rows.filter((row) => row.block.source === 'dimm0').length, 8);
});

test('memory with more rows than a reader can take in folds by source, the smaller ones last', () => {
  const rows = fold(large());
  assert.deepEqual(rows.map((row) => [row.block.source, row.times]), [...[1, 2, 1, 2, 1, 1].map((times) => ['boot', times]), ['dimm0', 512]]);
  const each = fold(large(), { open: new Set(large().blocks.map((block) => Number(block.start))) });
  assert.deepEqual([each.length, each.every((row) => row.times === 1)], [8 + 512, true]);
});

test('of very many blocks that are unfolded, the rest is one row', () => {
  const view = sample.memory(256);
  const rows = fold(view, { open: new Set(view.blocks.map((block) => Number(block.start))) });
  assert.deepEqual([rows.length, rows.at(-1).times], [1025, 8 + 2048 - 1024]);
});

test('a folded row draws the block with the chosen address', () => {
  const [, , dimm] = fold(sample.memory(1), { chosen: 0x88300000 });
  assert.equal(dimm.block.start, '0x88000000');
  assert.equal(place([dimm], 0x88000000).share, 0);
});

test('blocks that state lists as one are as many rows or blocks as there are', () => {
  const view = sample.memory(0);
  view.blocks.push({ start: '0x80000000', size: 2 ** 30, count: 8, state: 'online', zone: 'Movable', node: 0, source: 'dimm0', memmap: 'demand', runs: [{ first_pfn: 0x80000, pages: 262144, use: 'free', order: null, count: 1, refs: null }] });
  assert.equal(fold(view).at(-1).times, 8);
});

test('the chosen page\'s arrow is lit, and leads into the block itself when it hosts its own memmap', () => {
  const svg = render(drawMap({ memory: sample.memory(1), vmemmap: sample.vmemmap(1) }, { chosen: 0x88300000 }));
  assert.equal((svg.match(/class="arrow lit"/g) ?? []).length, 1);
});

test('of the rows that one range of vmemmap describes, the one with the chosen page is lit', () => {
  const views = { memory: sample.memory(1), vmemmap: sample.vmemmap(1) };
  const svg = render(drawMap(views, { chosen: 0x78000000 }));
  assert.equal((svg.match(/class="arrow lit"/g) ?? []).length, 1);
  assert.equal((svg.match(/class="chosen"/g) ?? []).length, 1);
  const arrows = (drawn) => drawn.match(/class="arrow [^"]*" d="[^"]*"/g);
  assert.equal(arrows(svg).filter((one) => arrows(render(drawMap(views))).includes(one)).length, 2, 'those of the other rows stay');
});

test('a shared frame glows, and a read-only range is marked', () => {
  const vmemmap = sample.shared(sample.vmemmap(1), 0x41800, 0x41806000);
  const svg = render(drawMap({ memory: sample.memory(1), vmemmap }));
  assert.match(svg, /class="glow"/);
  assert.match(svg, /class="readonly"/);
  assert.match(svg, /read-only/);
});

test('pages of vmemmap that share a frame lead to it', () => {
  const vmemmap = sample.shared(sample.vmemmap(1), 0x41800, 0x41806000);
  for (const pfn of [0x41840, 0x41880, 0x419ff]) assert.equal(mapping(vmemmap, 4096, pfn).frame, 0x41806000);
  assert.notEqual(mapping(vmemmap, 4096, 0x41800).frame, 0x41806000);
  assert.match(render(drawLens({ memory: sample.memory(1), vmemmap }, { pfn: 0x41840 })), /5 of these share it/);
});

test('a range whose table is that of another leads where that one does', () => {
  const base = sample.vmemmap(1);
  const again = { ...base.ranges[1], struct_of: 0x100000, va: '0xfffffdffc3000000', frame: null, same_as: base.ranges[1].va, each: 512 * 4096 };
  const vmemmap = { ...base, first_pfn: 0x40000, ranges: [...base.ranges, again] };
  assert.equal(mapping(vmemmap, 4096, 0x100000 + 64).frame, 0x80001000);
});

test('a walk has a bar for each level and a cell for each bit', () => {
  const svg = render(drawWalk(sample.walk()));
  assert.equal((svg.match(/class="bit"/g) ?? []).length, 3 * 64);
  assert.match(svg, /physical address 0x88000000/);
});

test('the tables that a walk reads are lit in the tree', () => {
  const svg = render(drawTree(sample.tables(), { lit: tablesOf(sample.walk()) }));
  assert.equal((svg.match(/<circle class="litfill"/g) ?? []).length, 3);
});

test('a struct page has 64 bytes', () => {
  assert.equal((render(drawStruct(sample.page())).match(/class="bit"/g) ?? []).length, 64);
});

/** 64 GiB of DIMM whose blocks differ, each with 64 runs. */
function large() {
  const view = sample.memory(64);
  view.blocks.forEach((block, at) => {
    const first = Number(block.start) / 4096;
    block.runs = Array.from({ length: 64 }, (_, n) => ({ first_pfn: first + n * 512, pages: 512, use: (n * at) % 3 ? 'free' : 'tenant', order: 9, count: 1, refs: 0 }));
  });
  return view;
}

test('64 GiB are drawn with few marks, in less than 100 ms', () => {
  const [memory, vmemmap] = [large(), sample.vmemmap(64)];
  render(drawMap({ memory, vmemmap }));
  const began = performance.now();
  const svg = render(drawMap({ memory: large(), vmemmap }, { chosen: 0x88300000 }));
  const time = performance.now() - began;
  assert.ok(marks(svg) < 5000, `${marks(svg)} marks`);
  assert.ok(time < 400, `${time} ms`); // four times the limit: other work may run on this CPU
});
