// The neighbourhood of one page: the pages that its page of vmemmap describes, that page of vmemmap and its neighbours,
// and the frames behind them.

import { hex, num, plural } from '../format.js';
import { everyBlock } from './fold.js';
import { down, drawing, html, patterns, px } from './svg.js';
import { shade, USES, useClass } from './theme.js';
import { isShared, mapping, perPage } from './vmemmap.js';

/** Pages of vmemmap that are drawn. */
const NEIGHBOURS = 9;

/** The run that a pfn belongs to, or null. */
export function runOf(memory, pfn) {
  const block = everyBlock(memory).find((one) => {
    const first = num(one.start) / memory.page_size;
    return pfn >= first && pfn < first + one.size / memory.page_size;
  });
  const run = block?.runs.find((one) => pfn >= one.first_pfn && pfn < one.first_pfn + one.pages);
  return block ? { block, run } : null;
}

/** A page of vmemmap by the first pfn that it describes: where it is mapped. */
function pageAt(vmemmap, pageSize, first) {
  const found = mapping(vmemmap, pageSize, first);
  return { first, range: found?.range, frame: found?.frame ?? null, shared: found && isShared(found.range) };
}

/** The pages that one page of vmemmap describes, as cells: at most 64 marks, each one page or several. */
function described(memory, first, per, { left, width, y, chosen, onPage }) {
  const step = Math.max(1, per / 64);
  const wide = width / (per / step);
  const cells = [];
  for (let pfn = first; pfn < first + per; pfn += step) {
    const there = runOf(memory, pfn);
    const use = there?.run?.use ?? 'unplugged';
    const is = chosen >= pfn && chosen < pfn + step;
    cells.push(html`<rect class=${`run ${useClass(use)}`} x=${px(left + ((pfn - first) / step) * wide)} y=${y} width=${px(wide)} height="26"
      opacity=${there?.run ? shade(there.run) : 1} onClick=${onPage && (() => onPage(pfn))}><title>${`pfn ${hex(pfn)}: ${USES[use]?.[0] ?? use}`}</title></rect>
      ${is && html`<rect class="chosen" x=${px(left + ((pfn - first) / step) * wide)} y=${y - 1} width=${px(wide)} height="28"/>`}`);
  }
  return { cells, x: left + (Math.floor((chosen - first) / step) + 0.5) * wide };
}

/** The frames behind pages of vmemmap, each once, in order of first use. */
function frames(pages) {
  const found = new Map();
  for (const page of pages) {
    if (page.frame === null) continue;
    const frame = found.get(page.frame) ?? { frame: page.frame, pages: 0, readonly: page.range.readonly };
    frame.pages += 1;
    found.set(page.frame, frame);
  }
  return [...found.values()];
}

const text = (x, y, content, kind = null) => html`<text class=${kind} x=${px(x)} y=${y}>${content}</text>`;

/** One page of vmemmap as a box. */
function box(page, x, y, wide, chosen) {
  const label = page.frame === null ? 'not mapped' : `pfn ${hex(page.first)}…`;
  return html`<g><title>${page.frame === null ? `struct pages of pfn ${hex(page.first)}: not mapped` : `struct pages from pfn ${hex(page.first)} are in frame ${hex(page.frame)}`}</title>
    <rect class=${page.frame === null ? 'frame' : `run ${page.shared ? 'use-huge' : 'use-memmap'}`} stroke-dasharray=${page.frame === null ? '3 3' : null}
      x=${px(x)} y=${y} width=${px(wide - 6)} height="30" rx="2" opacity=".85"/>
    ${page.range?.readonly && html`<rect class="readonly" x=${px(x)} y=${y} width=${px(wide - 6)} height="30"/>`}
    ${chosen && html`<rect class="chosen" x=${px(x)} y=${y} width=${px(wide - 6)} height="30" rx="2"/>`}
    <text class="small mono" x=${px(x + (wide - 6) / 2)} y=${y + 44} text-anchor="middle">${label}</text></g>`;
}

/** One frame as a box; a frame that several pages share glows. */
function frameBox(frame, memory, x, y, wide, lit) {
  const there = runOf(memory, frame.frame / memory.page_size);
  const home = there ? there.block.source.replace(/ .*/, '') : '';
  return html`<g><rect class=${`run ${useClass(there?.run?.use ?? 'memmap')}`} x=${px(x)} y=${y} width=${px(wide)} height="30" rx="2"/>
    ${frame.readonly && html`<rect class="readonly" x=${px(x)} y=${y} width=${px(wide)} height="30"/>`}
    ${frame.pages > 1 && html`<rect class="glow" x=${px(x)} y=${y} width=${px(wide)} height="30" rx="2"/>`}
    ${lit && frame.pages === 1 && html`<rect class="chosen" x=${px(x)} y=${y} width=${px(wide)} height="30" rx="2"/>`}
    <text class="small mono" x=${px(x + wide / 2)} y=${y + 44} text-anchor="middle">${hex(frame.frame)}</text>
    <text class="small quiet" x=${px(x + wide / 2)} y=${y + 57} text-anchor="middle">${[home, frame.readonly ? 'read-only' : '', frame.pages > 1 ? `${frame.pages} of these share it` : ''].filter(Boolean).join(', ')}</text></g>`;
}

/**
 * Draws the neighbourhood of the page `options.pfn` of the views `memory` and `vmemmap`.
 *
 * Options: `width` in pixels; `onPage(pfn)` makes pages clickable.
 */
export function drawLens({ memory, vmemmap }, { width = 1000, pfn, onPage }) {
  const per = perPage(memory.page_size);
  const first = pfn - (pfn % per);
  const left = 12;
  const inner = width - 24;
  const row = described(memory, first, per, { left, width: inner, y: 22, chosen: pfn, onPage });
  const half = Math.floor(NEIGHBOURS / 2);
  const start = Math.max(vmemmap.ranges[0]?.struct_of ?? 0, first - half * per);
  const pages = Array.from({ length: NEIGHBOURS }, (_, at) => pageAt(vmemmap, memory.page_size, start + at * per));
  const wide = inner / NEIGHBOURS;
  const xOf = (page) => left + pages.indexOf(page) * wide + (wide - 6) / 2;
  const behind = frames(pages);
  const each = inner / Math.max(behind.length, NEIGHBOURS);
  const frameX = (frame) => left + (behind.length < NEIGHBOURS ? (inner / behind.length) * (behind.indexOf(frame) + 0.5) : each * (behind.indexOf(frame) + 0.5));
  const own = pages.find((page) => page.first === first);
  const label = own?.frame == null
    ? `The struct page of pfn ${hex(pfn)} is not mapped`
    : `The struct page of pfn ${hex(pfn)} is in frame ${hex(own.frame)}${own.shared ? ', which is shared' : ''}`;
  const links = pages.filter((page) => page.frame !== null).map((page) => {
    const frame = behind.find((one) => one.frame === page.frame);
    return down({ x: xOf(page), y: 154, a: frameX(frame), b: 204, kind: `${page.shared ? 'shared' : ''} ${page === own ? 'lit' : ''}` });
  });
  return drawing({ width, height: 270, label, children: html`${patterns()}
    ${text(left, 14, `pages ${hex(first)} to ${hex(first + per - 1)} of physical memory: ${plural(per, 'struct page')} fill one page of vmemmap`, 'quiet')}
    ${row.cells}
    ${own && down({ x: row.x, y: 48, a: xOf(own), b: 104, kind: 'lit' })}
    ${text(left, 96, 'vmemmap, page by page', 'quiet')}
    ${pages.map((page, at) => box(page, left + at * wide, 106, wide, page === own))}
    ${links}
    ${behind.map((frame) => frameBox(frame, memory, frameX(frame) - 48, 206, 96, own?.frame === frame.frame))}` });
}
