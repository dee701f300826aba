// A small machine, written by hand: 1 GiB of boot RAM and a DIMM of 1 GiB that hosts its own memmap, 4K pages.

const hex = (n) => `0x${n.toString(16)}`;
const MIB = 2 ** 20;
const BLOCK = 128 * MIB;
const PAGE = 4096;

const run = (first_pfn, pages, use, order = 0, refs = 0) => ({ first_pfn, pages, use, order, count: 1, refs });

/** A self-hosted block: its memmap, then free runs of growing order. */
function selfBlock(start) {
  const pfn = start / PAGE;
  const runs = [run(pfn, 512, 'memmap', 9, 1)];
  for (let order = 9; order < 15; order += 1) runs.push(run(pfn + 2 ** order, 2 ** order, 'free', order));
  return { start: hex(start), size: BLOCK, count: 1, state: 'online', zone: 'Movable', node: 0, source: 'dimm0', memmap: 'self', usable_start: hex(start + 2 * MIB), runs };
}

function bootBlock(start) {
  const pfn = start / PAGE;
  const low = start === 0x40000000;
  const runs = low
    ? [run(pfn, 1024, 'reserved'), run(pfn + 1024, 1024, 'kernel'), run(pfn + 2048, 4096, 'memmap'), run(pfn + 6144, 16, 'table'), run(pfn + 6160, 26608, 'free', 13)]
    : [run(pfn, 32768, 'free', 15)];
  return { start: hex(start), size: BLOCK, count: 1, state: 'online', zone: 'Normal', node: 0, source: 'boot', memmap: 'boot', usable_start: hex(start), runs };
}

/** The view `memory`; `dimms` GiB of DIMM. */
export function memory(dimms = 1) {
  const boot = Array.from({ length: 8 }, (_, n) => bootBlock(0x40000000 + n * BLOCK));
  const added = Array.from({ length: 8 * dimms }, (_, n) => selfBlock(0x80000000 + n * BLOCK));
  return { granule: '4k', page_size: PAGE, section_size: BLOCK, block_size: BLOCK, blocks: [...boot, ...added], devices: [] };
}

const VA = 0xfffffdffc0000000n;
const vaOf = (pfn) => `0x${(VA + BigInt(pfn - 0x40000) * 64n).toString(16)}`;

/** The view `vmemmap`. */
export function vmemmap(dimms = 1) {
  const range = (struct_of, pages, frame, more = {}) => ({ va: vaOf(struct_of), pages, frame: hex(frame), stride: PAGE, level: 2, readonly: false, shared: false, backing: 'ram', struct_of, describes: hex(struct_of * PAGE), ...more });
  const own = Array.from({ length: 8 * dimms }, (_, n) => range(0x80000 + n * 32768, 512, 0x80000000 + n * BLOCK, { backing: 'self' }));
  return { base: hex(VA), pages_mapped: 4096 + 4096 * dimms, frames: 4096 + 4096 * dimms, shared_frames: 0, saved: 0, ranges: [range(0x40000, 4096, 0x40800000), ...own] };
}

/** vmemmap of one 2 MiB huge page at `pfn`: eight pages that share a frame but for the first. */
export function shared(view, pfn, frame) {
  const at = view.ranges.findIndex((one) => pfn >= one.struct_of && pfn < one.struct_of + one.pages * 64);
  const range = view.ranges[at];
  const before = (pfn - range.struct_of) / 64;
  const part = (first, pages, more) => ({ ...range, va: vaOf(first), struct_of: first, pages, level: 3, ...more });
  const parts = [part(range.struct_of, before, { frame: range.frame }), part(pfn, 1, { frame: hex(Number(range.frame) + before * PAGE) }),
    part(pfn + 64, 7, { frame: hex(frame), stride: 0, readonly: true, shared: true, backing: 'shared-tail' }),
    part(pfn + 512, range.pages - before - 8, { frame: hex(Number(range.frame) + (before + 8) * PAGE) })];
  const ranges = [...view.ranges.slice(0, at), ...parts.filter((one) => one.pages > 0), ...view.ranges.slice(at + 1)];
  return { ...view, ranges, shared_frames: 1, saved: 6 };
}

const field = (bits, name, value, meaning) => ({ bits, name, value, meaning });

/** The view `walk` of 0xfffffdffc1200000. */
export function walk() {
  const table = (level, pa, index, descriptor) => ({ level, table: pa, index, entry_pa: pa, descriptor, type: 'table',
    fields: [field('47:12', 'next-level table address', '0x4010a000', '0x4010a000'), field('1', 'type', '0x1', 'table'), field('0', 'valid', '0x1', 'a walk uses the entry')] });
  return { address: '0xfffffdffc1200000', kind: 'virtual', pa: '0x88000000', steps: [
    table(0, '0x40100000', 507, '0x000000004010a003'), table(1, '0x4010a000', 511, '0x000000004010b003'),
    { level: 2, table: '0x4010b000', index: 9, entry_pa: '0x4010b048', descriptor: '0x0060000088000705', type: 'block',
      fields: [field('54', 'UXN', '0x1', 'EL0 does not execute'), field('53', 'PXN', '0x1', 'EL1 does not execute'), field('47:21', 'output address', '0x88000000', '0x88000000'), field('10', 'AF', '0x1', 'accessed'), field('9:8', 'SH', '0x3', 'inner shareable'), field('4:2', 'AttrIndx', '0x1', 'normal'), field('1', 'type', '0x0', 'block'), field('0', 'valid', '0x1', 'a walk uses the entry')] }] };
}

export const tables = () => ({ root: '0x40100000', nodes: [
  { pa: '0x40100000', level: 0, parent: null, index_in_parent: 0, va: '0xffff000000000000', entries: { table: 2, block: 0, page: 0, invalid: 510 }, for: 'root' },
  { pa: '0x40101000', level: 1, parent: '0x40100000', index_in_parent: 0, va: '0xffff000000000000', entries: { table: 1, block: 1, page: 0, invalid: 510 }, for: 'linear' },
  { pa: '0x40102000', level: 2, parent: '0x40101000', index_in_parent: 0, va: '0xffff000000000000', entries: { table: 0, block: 512, page: 0, invalid: 0 }, for: 'linear' },
  { pa: '0x4010a000', level: 1, parent: '0x40100000', index_in_parent: 507, va: '0xfffffd8000000000', entries: { table: 1, block: 0, page: 0, invalid: 511 }, for: 'vmemmap' },
  { pa: '0x4010b000', level: 2, parent: '0x4010a000', index_in_parent: 511, va: '0xfffffdffc0000000', entries: { table: 0, block: 16, page: 0, invalid: 496 }, for: 'vmemmap' }] });

export const page = (pfn = 0x88000) => ({ pfn, pa: hex(pfn * PAGE), va: vaOf(pfn), frame: '0x88000000', use: 'memmap', bytes: `05090000${'01000000'}${'00'.repeat(56)}`, fields: [
  { name: 'kind', offset: 0, bytes: 1, value: '5', meaning: 'MemmapSelf' }, { name: 'order', offset: 1, bytes: 1, value: '9', meaning: '512 pages' },
  { name: 'references', offset: 4, bytes: 4, value: '1', meaning: '' }, { name: 'next', offset: 8, bytes: 4, value: '0', meaning: '' },
  { name: 'previous', offset: 12, bytes: 4, value: '0', meaning: '' }, { name: 'private', offset: 16, bytes: 8, value: '0', meaning: '' }] });

export const tlb = () => ({ entries: [
  { va: '0xfffffdffc1200000', bytes: 2 * MIB, pa: '0x88000000', attributes: 'rw- normal', stale: false },
  { va: '0xfffffdffc1400000', bytes: 2 * MIB, pa: '0x90000000', attributes: 'rw- normal', stale: true, would_break: 'I5' }] });

export const state = (dimms = 1) => ({ granule: PAGE, va_bits: 48, slots: 8, args: { memmap: 'self' }, dedup: { saved_pages: 0, shared_pages: 0, mappings: 0 }, virtio_mem: [], tenants: [], devices: [],
  pages: { present: 524288, free: 514464, allocated: 0, memmap_self: 4096, memmap_ram: 4096, tables: 16, reserved: 1616 },
  zones: [{ name: 'Normal', present: 262144, free: 255984 }, { name: 'Movable', present: 262144, free: 258048 }],
  dimms: dimms ? [{ slot: 0, start: '0x80000000', size: dimms * 1024 * MIB, state: 'online', node: 0 }] : [],
  blocks: memory(dimms).blocks });

/** Answers as a machine would, for a page without one. */
export class SampleSource {
  constructor() {
    this.live = false;
    this.can = { act: true, step: true };
    this.dimms = 0;
  }

  async ask(request) {
    switch (request.do) {
      case 'boot': this.dimms = 0; return { ok: true, log: 'hotmap 0.1.0: 4k pages' };
      case 'line': return { ok: true, text: `${request.text}: done`, status: 0 };
      case 'monitor': this.dimms = request.text.startsWith('plug') ? 1 : 0; return { ok: true, text: '', log: `dimm0: ${request.text}`, status: 0 };
      case 'state': return { ok: true, state: state(this.dimms) };
      case 'trace': return { ok: true, steps: [{ step: '1 claim sections', events: [] }, { step: '2 map linearly', events: [{ kind: 'write', pa: '0x40101008', level: 1, va: '0xffff000040000000', old: '0x0', new: '0x80000705' }] }], undone: false };
      case 'view': return this.view(request);
      default: return { ok: false, error: `unknown: ${request.do}` };
    }
  }

  view({ name }) {
    const views = { memory: () => memory(this.dimms), vmemmap: () => shared(vmemmap(this.dimms), 0x41800, 0x41806000), walk, tables, page, tlb };
    return views[name] ? { ok: true, view: views[name]() } : { ok: false, error: `there is no view ${name} yet` };
  }
}
