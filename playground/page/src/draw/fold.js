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
  block: blocks.find((block) => within(block, chosen)) ?? blocks[0], blocks, ...more,
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

/** Sums up neighbouring rows of one source, except the one with the chosen address, if there are more than `most`. */
function condense(rows, most, chosen) {
  if (rows.length <= most) return rows;
  const keep = (one) => chosen >= one.start && chosen < rowEnd(one);
  const groups = [];
  for (const one of rows) {
    const [before] = groups.at(-1) ?? [];
    const joins = before && before.block.source === one.block.source && !keep(one) && !keep(before);
    if (joins) groups.at(-1).push(one);
    else groups.push([one]);
  }
  return groups.map((group) => (group.length > 1 ? summary(group, chosen) : group[0]));
}

/**
 * The rows of a `memory` view. `open` has the starts of rows that are not folded, `chosen` an address whose row stays,
 * `most` the number of rows above which the rows of one source become one.
 */
export function fold(view, { open = new Set(), chosen = -1, most = 48 } = {}) {
  const unfold = (blocks) => (open.has(num(blocks[0].start)) ? blocks.map((block) => row([block], chosen)) : [row(blocks, chosen)]);
  return condense(alike(view).flatMap(unfold), most, chosen);
}

/** The row in which an address is drawn, and how far into it (0 to 1): blocks that are folded lie on top of each other. */
export function place(rows, address) {
  const found = rows.find((one) => address >= one.start && address < rowEnd(one));
  if (!found) return null;
  return { row: found, share: found.whole ? (address - found.start) / found.size : ((address - found.start) % found.block.size) / found.block.size };
}
