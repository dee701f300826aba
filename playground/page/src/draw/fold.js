// Rows of the memory picture. A row stands for neighbouring blocks that look alike, so that 64 GiB are a few rows.

import { hex, num } from '../format.js';

/** What a block looks like: its runs by their offset, so that blocks that look alike compare equal. */
function looks(block, pageSize) {
  const first = num(block.start) / pageSize;
  const runs = block.runs.map((run) => [run.first_pfn - first, run.pages, run.use, run.order, run.refs > 1]);
  return JSON.stringify([block.size, block.state, block.zone, block.node, block.source, block.memmap, runs]);
}

const within = (block, address) => address >= num(block.start) && address < num(block.start) + block.size;

/**
 * A row: `times` blocks of `size` bytes from `start`, of which `block` is drawn: the one with the chosen address, else
 * the first. `whole`: they are summed up, and `size` is all of it.
 */
const row = (blocks, chosen, more = {}) => ({
  start: num(blocks[0].start), size: blocks[0].size, times: blocks.length,
  block: blocks.find((block) => within(block, chosen)) ?? blocks[0], blocks, like: blocks, ...more,
});

/** One past the last byte of a row. */
export const rowEnd = (one) => one.start + (one.whole ? one.size : one.size * one.times);

/** Blocks that `state` lists as one, one by one. */
function expand(block, pageSize) {
  if (!(block.count > 1)) return [block];
  const size = block.size / block.count;
  return Array.from({ length: block.count }, (_, at) => {
    const start = num(block.start) + at * size;
    const runs = block.runs.map((run) => ({ ...run, first_pfn: start / pageSize, pages: size / pageSize }));
    return { ...block, start: hex(start), size, count: 1, runs };
  });
}

/** A device's ranges, as blocks. */
const asBlocks = (device) => device.ranges.map((range) => ({ ...range, state: 'online', zone: 'none', node: 0, source: `device ${device.start}`, memmap: device.memmap, kind: device.kind }));

/** All memory of a `memory` view, by address: blocks, and devices' ranges in the same shape. */
export function everyBlock(view) {
  const known = EVERY.get(view);
  if (known) return known;
  const blocks = view.blocks.flatMap((block) => expand(block, view.page_size));
  const all = [...blocks, ...(view.devices ?? []).flatMap(asBlocks)].sort((a, b) => num(a.start) - num(b.start));
  EVERY.set(view, all);
  return all;
}

const EVERY = new WeakMap();

/** Neighbouring blocks that look alike, as lists. */
function alike(view) {
  const groups = [];
  let last = null;
  for (const block of everyBlock(view)) {
    const look = looks(block, view.page_size);
    const follows = last && last.look === look && last.end === num(block.start);
    if (follows) groups.at(-1).push(block);
    else groups.push([block]);
    last = { look, end: num(block.start) + block.size };
  }
  return groups;
}

/** Rows of one source as one row that shows shares: for more rows than a reader can take in. */
function summary(rows, chosen) {
  const pages = new Map();
  for (const run of rows.flatMap((one) => one.blocks).flatMap((block) => block.runs)) {
    pages.set(run.use, (pages.get(run.use) ?? 0) + run.pages);
  }
  const runs = [...pages].sort((a, b) => b[1] - a[1]).map(([use, n]) => ({ use, pages: n, order: 15 }));
  const blocks = rows.flatMap((one) => one.blocks);
  return row(blocks, chosen, { shares: runs, size: rowEnd(rows.at(-1)) - rows[0].start, whole: true });
}

/** Lists of neighbours of one source: those for which `joins` holds are one list. */
function neighbours(rows, joins) {
  const groups = [];
  for (const one of rows) {
    const before = groups.at(-1)?.at(-1);
    if (before && joins(one) && joins(before) && before.block.source === one.block.source) groups.at(-1).push(one);
    else groups.push([one]);
  }
  return groups;
}

/** Rows that are drawn at most: of folded blocks, and of blocks that the reader has unfolded. */
const MOST = { folded: 48, unfolded: 1024 };

/**
 * Sums up rows, those of the largest source first, until few enough are left. Rows for which `stays` holds stay, and so do
 * the first that are `opened`.
 */
function condense(rows, opened, stays, chosen) {
  const unfolded = rows.filter(opened).slice(0, MOST.unfolded);
  const kept = new Set([...unfolded, ...rows.filter(stays)]);
  const sources = new Map();
  for (const one of rows.filter((row) => !kept.has(row))) {
    if (!sources.has(one.block.source)) sources.set(one.block.source, []);
    sources.get(one.block.source).push(one);
  }
  let spare = rows.length - kept.size - MOST.folded;
  const joined = new Set();
  for (const own of [...sources.values()].sort((a, b) => b.length - a.length)) {
    if (spare <= 0) break;
    own.forEach((one) => joined.add(one));
    spare -= own.length - 1;
  }
  return neighbours(rows, (one) => joined.has(one)).map((group) => (group.length > 1 ? summary(group, chosen) : group[0]));
}

/**
 * The rows of a `memory` view. `open` has the starts of blocks that are not folded, `chosen` an address whose row stays.
 * `like` of a row are the blocks with which it folds. Far more rows than a reader can take in become one for each source.
 */
export function fold(view, { open = new Set(), chosen = -1 } = {}) {
  const isOpen = (blocks) => blocks.some((block) => open.has(num(block.start)));
  const unfold = (blocks) => (isOpen(blocks) ? blocks.map((block) => row([block], chosen, { like: blocks })) : [row(blocks, chosen)]);
  const rows = alike(view).flatMap(unfold);
  return condense(rows, (one) => isOpen(one.like), (one) => chosen >= one.start && chosen < rowEnd(one), chosen);
}

/** The row in which an address is drawn, and how far into it (0 to 1): blocks that are folded lie on top of each other. */
export function place(rows, address) {
  const found = rows.find((one) => address >= one.start && address < rowEnd(one));
  if (!found) return null;
  return { row: found, share: found.whole ? (address - found.start) / found.size : ((address - found.start) % found.block.size) / found.block.size };
}
