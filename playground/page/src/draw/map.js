// Physical memory as strips, and vmemmap beside it with arrows to the frames that hold it.

import { hex, num, plural, sentence, size } from '../format.js';
import { everyBlock, fold, place, rowEnd } from './fold.js';
import { drawing, html, patterns, px, rounded } from './svg.js';
import { shade, USES, useClass } from './theme.js';
import { BACKING, isShared, mapping, perPage } from './vmemmap.js';

const ROW = 22;
const GAP = 12;
const HEAD = 30;
const LABELS = 178;
/** At most this many arrows: more cannot be told apart. */
const ARROWS = 64;

/** Where the columns are. */
function columns(width) {
  const rest = width - LABELS - 12;
  const middle = Math.min(110, rest * 0.14);
  const memory = Math.round((rest - middle) * 0.6);
  return { memory: [LABELS, memory], vmemmap: [LABELS + memory + middle, rest - middle - memory] };
}

const nameOf = (use) => USES[use]?.[0] ?? use;

/** The runs of a row as rectangles; what is narrower than half a pixel is drawn once for that pixel. */
function runs(row, pageSize, [left, width]) {
  const total = row.size / pageSize;
  const list = row.shares ?? row.block.runs;
  const first = num(row.block.start) / pageSize;
  const marks = [];
  let next = 0;
  let drawnTo = -1;
  for (const run of list) {
    const at = ((row.shares ? next : run.first_pfn - first) / total) * width;
    const wide = (run.pages / total) * width;
    next += run.pages;
    const shown = Math.max(wide, run.use === 'free' ? 0.3 : 1.5);
    if (at + shown <= drawnTo + 0.5) continue;
    drawnTo = at + shown;
    const label = `${nameOf(run.use)}: ${plural(run.pages, 'page')}${run.use === 'free' && !row.shares ? ` of order ${run.order}` : ''}`;
    marks.push(html`<rect class=${`run ${useClass(run.use)}`} x=${px(left + at)} width=${px(Math.min(shown, width - at))}
      y="0" height=${ROW} opacity=${shade(run)}><title>${label}</title></rect>`);
  }
  return marks;
}

/** What a screen reader says of a row: what its label shows, then its largest uses. */
function describe(row, pageSize) {
  const pages = new Map();
  for (const run of row.shares ?? row.block.runs) pages.set(run.use, (pages.get(run.use) ?? 0) + run.pages);
  const total = [...pages.values()].reduce((a, b) => a + b, 0) || 1;
  const shares = [...pages].sort((a, b) => b[1] - a[1]).slice(0, 4);
  const uses = shares.map(([use, n]) => `${nameOf(use)} ${((100 * n) / total).toFixed(n / total < 0.02 ? 1 : 0)}%`);
  const { block } = row;
  return `${hex(num(block.start))} ${times(row)}: ${block.source}, ${sentence([block.state, block.zone !== 'none' && `zone ${block.zone}`])}: ${uses.join(', ')}, ${plural(total, 'page')} of ${size(pageSize)}`;
}

/** One row: its label, its strip. Folded blocks look like a pile. */
function strip(row, y, view, at, options) {
  const { block } = row;
  const [left, width] = at.memory;
  const pile = row.times > 1 && !row.whole;
  const act = (event) => {
    if (event.type === 'keydown' && !['Enter', ' '].includes(event.key)) return;
    event.preventDefault?.();
    options.onRow?.(row, event);
  };
  const button = options.onRow && { role: 'button', tabindex: options.focus === row.start ? 0 : -1, 'aria-label': describe(row, view.page_size) };
  return html`<g class="row" transform=${`translate(0,${px(y)})`} onClick=${options.onRow && act} onKeyDown=${options.onRow && act}><g aria-hidden=${options.onRow && 'true'}>
    <text class="mono small" x="4" y="14">${hex(num(row.block.start))}</text>
    <text class="quiet small" x=${LABELS - 8} y="14" text-anchor="end">${times(row)}</text>
    ${pile && html`<rect class="paper" x=${left + 4} y="4" width=${width} height=${ROW}/><rect class="paper" x=${left + 2} y="2" width=${width} height=${ROW}/>`}
    <g opacity=${block.state === 'online' ? 1 : 0.6}>${runs(row, view.page_size, at.memory)}</g>
    <rect class="frame" x=${left} y="0" width=${width} height=${ROW} stroke-dasharray=${block.state === 'online' ? null : '4 3'}/>
    ${block.state !== 'online' && html`<text class="small strong" x=${left + width - 6} y="15" text-anchor="end">${block.state}</text>`}
    </g>${button && html`<rect class="focus" x="1" y="-3" width=${LABELS + width + 4} height=${ROW + 6} rx="3" data-start=${hex(row.start)} ...${button}/>`}
  </g>`;
}

/** How many blocks a row stands for; `of` when the one that it draws is not the first. */
const times = (row) => (row.times > 1 ? `${num(row.block.start) === row.start ? '' : 'of '}${row.times} × ${size(row.block.size)}` : size(row.size));

/** Heading of the rows of one source. */
function heading(row, total, y, at) {
  const { block } = row;
  const where = { self: 'hosts its own memmap', ram: 'memmap in system RAM', boot: 'memmap laid out at boot', demand: 'memmap on demand', altmap: 'memmap on the device' };
  const text = sentence([block.zone !== 'none' && `zone ${block.zone}`, block.node ? `node ${block.node}` : '', where[block.memmap] ?? block.memmap, block.kind]);
  return html`<g transform=${`translate(0,${px(y)})`}><text class="strong" x="4" y="17">${block.source}</text>
    <text class="quiet" x=${at.memory[0]} y="17">${size(total)}: ${text}</text></g>`;
}

/** Rows with the y at which each is drawn, and the headings between them. */
function layout(rows) {
  const placed = [];
  const heads = [];
  const gaps = [];
  let y = 26;
  for (const row of rows) {
    const last = placed.at(-1)?.row;
    if (last && row.start > rowEnd(last)) {
      gaps.push({ y, from: rowEnd(last), to: row.start });
      y += 20;
    }
    if (last?.block.source !== row.block.source) {
      const same = rows.filter((one) => one.block.source === row.block.source);
      heads.push({ row, y, total: same.reduce((sum, one) => sum + (one.whole ? one.size : one.size * one.times), 0) });
      y += HEAD - 4;
    }
    placed.push({ row, y });
    y += ROW + GAP + (row.times > 1 && !row.whole ? 3 : 0);
  }
  return { placed, heads, gaps, height: y + 4 };
}

/** Addresses without memory, between two rows: there is nothing to describe, so vmemmap is not mapped. */
function gap({ y, from, to }, at, vmemmap) {
  const line = ([left, width]) => html`<line class="gap" x1=${left} x2=${left + width} y1=${y + 9} y2=${y + 9}/>`;
  const text = ([left, width], words) => html`<text class="quiet small" x=${left + width / 2} y=${y + 13} text-anchor="middle"
    stroke="var(--paper)" stroke-width="5" paint-order="stroke">${words}</text>`;
  return html`${line(at.memory)}${text(at.memory, `no memory from ${hex(from)} to ${hex(to)}`)}
    ${vmemmap && html`${line(at.vmemmap)}${text(at.vmemmap, 'not mapped')}`}`;
}

/** Pages of vmemmap that describe one block. */
const memmapPages = (block, view, bytes = 64) => Math.max(1, (block.size / view.page_size) * bytes / view.page_size);

/** The ranges of vmemmap that describe the block that a row draws, with their place in the row. */
function described(row, vmemmap, view) {
  const per = perPage(view.page_size);
  const from = num(row.block.start) / view.page_size;
  const pages = Math.max(1, row.block.size / view.page_size / per);
  return vmemmap.ranges
    .filter((range) => range.struct_of < from + pages * per && range.struct_of + range.pages * per > from)
    .map((range) => {
      const first = Math.max(from, range.struct_of);
      const at = (first - from) / per;
      const shown = Math.min(range.pages - (first - range.struct_of) / per, pages - at);
      return { range, first, pages: shown, at: at / pages, share: shown / pages, frame: mapping(vmemmap, view.page_size, first)?.frame ?? null };
    });
}

/** The rectangles of vmemmap in a row, each with where its arrow begins. */
function memmapOf({ row, y }, vmemmap, view, [left, width]) {
  const parts = row.whole ? [] : described(row, vmemmap, view);
  return parts.map(({ range, first, pages, at, share, frame }) => {
    const wide = Math.max(2, share * width);
    const x = left + Math.min(at * width, width - wide);
    return { range, first, pages, frame, x, y, wide, shared: isShared(range) };
  });
}

/** A range of vmemmap; a click chooses the page whose struct page is there. */
function memmapRect({ range, first, pages, x, y, wide, shared }, lit, { view, onPage }) {
  const what = `vmemmap ${range.va}, ${plural(range.pages, 'page')}, level ${range.level}: ${range.same_as ? `mapped as ${range.same_as}` : range.folded ? 'several frames' : `${range.stride === 0 && range.pages > 1 ? 'share the frame' : 'frames from'} ${range.frame}`}${range.readonly ? ', read-only' : ''}${range.backing ? `, ${BACKING[range.backing] ?? range.backing}` : ''}`;
  const act = ({ clientX, currentTarget }) => {
    const box = currentTarget.getBoundingClientRect();
    const into = Math.min(Math.max((clientX - box.left) / box.width, 0), 0.9999);
    onPage(first + Math.floor(into * pages) * perPage(view.page_size));
  };
  return html`<g class=${onPage && 'row'} onClick=${onPage && act}><title>${what}</title>
    <rect class=${`run ${shared ? 'use-huge' : 'use-memmap'}`} x=${px(x)} y=${y + 2} width=${px(wide)} height=${ROW - 4} opacity=${shared ? 0.75 : 0.85}/>
    ${range.readonly && html`<rect class="readonly" x=${px(x)} y=${y + 2} width=${px(wide)} height=${ROW - 4}/>`}
    ${range.readonly && wide > 60 && html`<text class="small strong" x=${px(x + wide / 2)} y=${y + 15} text-anchor="middle">read-only</text>`}
    ${lit && html`<rect class="chosen" x=${px(x)} y=${y + 1} width=${px(wide)} height=${ROW - 2}/>`}</g>`;
}

/** Whether the struct page of a pfn lies in the part of a range that a row shows: one range may describe several rows. */
const holds = ({ first, pages }, pfn, view) => pfn >= first && pfn < first + pages * perPage(view.page_size);

/** Arrows from vmemmap to frames; the one of the chosen page is lit and drawn last. */
function arrows(parts, placed, { memory: view, vmemmap }, at, pfn) {
  const rows = placed.map(({ row }) => row);
  const ys = new Map(placed.map(({ row, y }) => [row, y]));
  const [left, width] = at.memory;
  const drawn = parts.map((part) => {
    const lit = holds(part, pfn, view);
    const frame = lit ? mapping(vmemmap, view.page_size, pfn)?.frame ?? null : part.frame;
    const there = frame === null ? null : place(rows, frame);
    if (!there) return null;
    const a = left + there.share * width;
    const y = ys.get(there.row) + ROW;
    return { lit, part, a, y };
  }).filter(Boolean);
  const wanted = [...once(drawn.filter((one) => !one.lit), (one) => `${Math.round(one.part.x)} ${one.part.y} ${Math.round(one.a)} ${one.y}`).slice(0, ARROWS), ...drawn.filter((one) => one.lit)];
  const glowing = once(drawn.filter(({ part }) => part.shared), (one) => `${Math.round(one.a / 4)} ${one.y}`);
  return html`${wanted.map(({ lit, part, a, y }) => route({ x: part.x + Math.min(part.wide / 2, 12), y: part.y + ROW, a, b: y, gutter: at.vmemmap[0] - 14 - (lit ? 6 : 0), kind: kindOf(part, lit) }))}
    ${glowing.map(({ a, y }) => html`<circle class="glow" cx=${px(a)} cy=${y - 5} r="3.5"/>`)}`;
}

const kindOf = (part, lit) => [part.shared && 'shared', lit && 'lit'].filter(Boolean).join(' ');

/** The first of those with the same key. */
const once = (list, key) => [...new Map(list.map((one) => [key(one), one])).values()];

/** From below a range of vmemmap (x, y) along the gaps between rows, through the gutter, up into a frame (a, b). */
function route({ x, y, a, b, gutter, kind }) {
  const [out, back] = [y + 6, b + 9];
  const points = y === b ? [[x, y], [x, back], [a, back], [a, b + 5]] : [[x, y], [x, out], [gutter, out], [gutter, back], [a, back], [a, b + 5]];
  return html`<path class=${`arrow ${kind}`} d=${rounded(points)}/><polygon class=${`tip ${kind}`} points=${`${px(a)},${px(b - 3)} ${px(a - 3.5)},${px(b + 4)} ${px(a + 3.5)},${px(b + 4)}`}/>`;
}

/** The chosen page's place in its row. */
function choice(address, placed, view, at) {
  const there = place(placed.map(({ row }) => row), address);
  if (!there) return null;
  const y = placed.find(({ row }) => row === there.row).y;
  const x = at.memory[0] + there.share * at.memory[1];
  return html`<g aria-hidden="true"><line class="lit" x1=${px(x)} x2=${px(x)} y1=${y - 5} y2=${y + ROW + 2} stroke-width="2"/>
    <circle class="litfill" cx=${px(x)} cy=${y - 5} r="3.5"/></g>`;
}

/**
 * Draws the views `memory` and `vmemmap`.
 *
 * Options: `width` in pixels; `chosen`, a physical address; `open`, starts of rows not to fold; `onRow(row, event)`
 * makes rows buttons, and `onPage(pfn)` ranges of vmemmap clickable. Draws runs and ranges, at most one mark for each pixel, and at most 64 arrows.
 */
export function drawMap({ memory, vmemmap }, options = {}) {
  const { width = 1000, chosen = -1, open } = options;
  const at = columns(width);
  const rows = fold(memory, { open, chosen });
  const { placed, heads, gaps, height } = layout(rows);
  const pfn = chosen < 0 ? -1 : Math.floor(chosen / memory.page_size);
  const parts = vmemmap ? placed.flatMap((one) => memmapOf(one, vmemmap, memory, at.vmemmap)) : [];
  const focus = placed.find(({ row }) => place([row], chosen))?.row.start ?? placed[0]?.row.start;
  const label = `Physical memory: ${plural(memory.blocks.length, 'block')}${vmemmap ? ', and vmemmap with the frames that hold it' : ''}`;
  return drawing({ width, height, label, role: options.onRow ? 'group' : 'img', children: html`${patterns()}
    <text class="strong" x=${at.memory[0]} y="14">physical memory</text>
    ${vmemmap && html`<text class="strong" x=${at.vmemmap[0]} y="14">${at.vmemmap[1] > 270 ? 'vmemmap: the struct pages, by address' : 'vmemmap: struct pages'}</text>`}
    ${heads.map((head) => heading(head.row, head.total, head.y, at))}
    ${gaps.map((one) => gap(one, at, vmemmap))}
    ${placed.map(({ row, y }) => strip(row, y, memory, at, { ...options, focus }))}
    ${parts.map((part) => memmapRect(part, holds(part, pfn, memory), { view: memory, onPage: options.onPage }))}
    <g aria-hidden="true" pointer-events="none">${arrows(parts, placed, { memory, vmemmap }, at, pfn)}</g>
    ${choice(chosen, placed, memory, at)}` });
}

/** The uses that occur, in the legend's order. */
export function usesOf(memory) {
  const there = new Set(everyBlock(memory).flatMap((block) => block.runs.map((run) => run.use)));
  return [...Object.keys(USES).filter((use) => there.has(use)), ...[...there].filter((use) => !(use in USES))];
}
