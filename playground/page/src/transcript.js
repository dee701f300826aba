// What a transcript of the console shows, as views: for pictures of a guest that is no longer there.
//
//   state              ->  memory     the last one; a block's pages by use, as its counts say, not where they lie
//   ptdump vmemmap     ->  vmemmap    the last one
//   walk addr:ADDRESS  ->  walk       the last one: entries without their fields
//
// The views have the same shapes as those of the crate hotmap-view, which reads the memory itself.

import { big, hex, num } from './format.js';
import { perPage } from './draw/vmemmap.js';

const PAGES = [4096, 16384, 65536];
const UNITS = { KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30, TiB: 2 ** 40 };
const LEAF = /^ {2}(0x[0-9a-f]+)\.\.(0x[0-9a-f]+) -> (0x[0-9a-f]+) {2}(\d+) (\w+) leaves {2}(r[w-][x-]) \S+(.*)$/;
const AGAIN = /^ {2}(0x[0-9a-f]+)\.\.(0x[0-9a-f]+) -> the table above, 0x[0-9a-f]+, again for each (\d+) (\w+)/;
const FOLDED = /^ {2}(0x[0-9a-f]+)\.\.(0x[0-9a-f]+) {4}the \d+ lines above, \d+ times more/;
const STEP = /^level (\d) table (0x[0-9a-f]+) index +(\d+): (0x[0-9a-f]+)/;

const bytes = (number, unit) => number * (UNITS[unit] ?? 1);

/** The last line of JSON that is a state. */
function stateOf(lines) {
  const line = lines.findLast((one) => one.startsWith('{') && one.includes('"blocks"'));
  if (!line) return null;
  try {
    return JSON.parse(line);
  } catch (error) {
    throw new Error(`the line of 'state' is not JSON: ${error.message}`);
  }
}

/** A block's runs in the order memmap, tenants, everything else, free. */
function runs(block, state) {
  const page = state.granule;
  const total = block.size / page;
  const memmap = (num(block.usable_start) - num(block.start)) / page + (block.lent ?? 0);
  const unplugged = block.plugged === null || block.plugged === undefined ? 0 : (block.size - block.plugged) / page;
  const idle = block.state === 'online' ? 'other' : 'offline';
  const rest = total - memmap - block.tenant_pages - block.free - unplugged;
  const parts = [['memmap', memmap], ['tenant', block.tenant_pages], [idle, rest], ['free', block.free], ['unplugged', unplugged]];
  let pfn = num(block.start) / page;
  return parts.filter(([, pages]) => pages > 0).map(([use, pages]) => {
    const run = { first_pfn: pfn, pages, use, order: Math.floor(Math.log2(pages)), refs: 0, count: 1 };
    pfn += pages;
    return run;
  });
}

/** A device's range: what is set aside, then the rest. */
function deviceRuns(range, device, state) {
  const page = state.granule;
  const first = num(range.start) / page;
  const total = range.size / page;
  const aside = Math.min(total, Math.max(0, num(device.usable_start) / page - first));
  const parts = [['memmap', first, aside], ['device', first + aside, total - aside]];
  return parts.filter(([, , pages]) => pages > 0).map(([use, first_pfn, pages]) => ({ use, first_pfn, pages, order: 0, refs: 0, count: 1 }));
}

function memoryOf(state) {
  const devices = state.devices.map((device) => ({
    start: device.start, state: device.state, kind: device.type, align: device.align, dedup: device.dedup,
    memmap: device.altmap ? 'altmap' : 'ram',
    ranges: device.ranges.map((range) => ({ ...range, exact: false, runs: deviceRuns(range, device, state) })),
  }));
  const blocks = state.blocks.map((block) => ({ ...block, count: 1, exact: false, runs: runs(block, state) }));
  const size = state.blocks[0]?.size ?? 0;
  return { granule: `${state.granule / 1024}k`, page_size: state.granule, block_size: size, section_size: size, blocks, devices };
}

/** The home of a frame: whether it lies in the memory that it describes. */
function backing(frame, describes, state) {
  const part = (address) => [...state.blocks, ...state.devices.flatMap(({ ranges }) => ranges)]
    .find((one) => address >= num(one.start) && address < num(one.start) + one.size);
  const [home, described] = [part(frame), part(describes)];
  if (home && described && home !== described) return home.source === described.source && home.source !== 'boot' ? 'self' : 'ram';
  if (!home || described?.source === 'boot') return 'ram';
  return home.source ? 'self' : 'altmap';
}

/** One line of `ptdump`. */
function range(line, state) {
  const page = state.granule;
  const leaf = LEAF.exec(line);
  const folded = FOLDED.exec(line);
  const found = leaf ?? folded ?? AGAIN.exec(line);
  if (!found) return null;
  const pages = Number((big(found[2]) - big(found[1])) / BigInt(page));
  const struct_of = state.vmemmap.first_pfn + Number((big(found[1]) - big(state.vmemmap.start)) / BigInt(state.vmemmap.page_bytes));
  const base = { va: found[1], pages, struct_of, describes: hex(struct_of * page), same_as: null, each: null, folded: false };
  if (folded) return { ...base, folded: true, frame: null, frames: 0, stride: 0, level: 3, readonly: false, shared: true, backing: 'mixed' };
  if (!leaf) return { ...base, again: bytes(Number(found[3]), found[4]) };
  const size = bytes(Number(leaf[4]), leaf[5]);
  const one = leaf[7].includes('one frame');
  return { ...base, frame: leaf[3], frames: one ? 1 : pages, stride: one ? 0 : page, level: size > page ? 2 : 3,
    readonly: leaf[6][1] === '-', shared: leaf[6][1] === '-', backing: backing(num(leaf[3]), struct_of * page, state) };
}

function vmemmapOf(lines, state) {
  const start = lines.lastIndexOf('vmemmap:');
  if (start < 0) return null;
  const found = [];
  for (const line of lines.slice(start + 1)) {
    const next = range(line, state);
    if (!next) break;
    // The table above maps the last `again` bytes before this line.
    if (next.again) Object.assign(next, { same_as: hex(big(next.va) - BigInt(next.again)), each: next.again, frame: null, frames: 0, stride: 0, level: 3, readonly: false, shared: false, backing: 'mixed' });
    found.push(next);
  }
  const frames = new Set(found.filter((one) => one.shared && one.frame).map((one) => one.frame));
  const own = found.filter((one) => !one.shared).reduce((sum, one) => sum + one.frames, 0);
  const pages_mapped = found.reduce((sum, one) => sum + one.pages, 0);
  const complete = !found.some((one) => one.folded); // the frames of a folded part are not printed
  return { base: state.vmemmap.start, first_pfn: state.vmemmap.first_pfn, pages_mapped, frames: own + frames.size,
    shared_frames: frames.size, saved: pages_mapped - own - frames.size, struct_pages: perPage(state.granule), complete, ranges: found };
}

function walkOf(lines) {
  const at = lines.findLastIndex((line) => / its struct page is at 0x/.test(line));
  if (at < 0) return null;
  const [, pfn, address] = /^pfn (0x[0-9a-f]+) \((0x[0-9a-f]+)\)/.exec(lines[at]) ?? [];
  const steps = [];
  let next = at + 1;
  for (let found; (found = STEP.exec(lines[next] ?? '')); next += 1) {
    const value = big(found[4]);
    const level = Number(found[1]);
    const type = value & 1n ? (value & 2n ? (level === 3 ? 'page' : 'table') : 'block') : 'invalid';
    steps.push({ level, table: found[2], index: Number(found[3]), descriptor: found[4], type, fields: [] });
  }
  const [, va, pa] = /^(0x[0-9a-f]+) -> (0x[0-9a-f]+)/.exec(lines[next] ?? '') ?? [];
  return { address, pfn: num(pfn), va, steps, pa: pa ?? null, fault: pa ? undefined : 'not mapped' };
}

/**
 * The views in a transcript: {state, memory, vmemmap, walk}, without those that it does not show. Throws if it has no
 * `state`, on which the others rest.
 */
export function views(text) {
  const lines = text.split(/\r?\n/).map((line) => line.replace(/^hotmap> /, ''));
  const state = stateOf(lines);
  if (!state) throw new Error("the transcript has no output of the command 'state'");
  if (!PAGES.includes(state.granule)) throw new Error(`the transcript's state has a granule of ${state.granule}`);
  const found = { state, memory: memoryOf(state), vmemmap: vmemmapOf(lines, state), walk: walkOf(lines) };
  return Object.fromEntries(Object.entries(found).filter(([, view]) => view !== null));
}
