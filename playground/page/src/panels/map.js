// Physical memory and vmemmap, and the neighbourhood of the chosen page.

import { useState } from 'preact/hooks';
import { drawLens, runOf } from '../draw/lens.js';
import { drawMap, usesOf } from '../draw/map.js';
import { everyBlock } from '../draw/fold.js';
import { html } from '../draw/svg.js';
import { USES, useClass } from '../draw/theme.js';
import { hex, num, size, target } from '../format.js';
import { Drawing, has, Missing, Panel } from './common.js';
import { Word } from './words.js';

function Legend({ memory }) {
  return html`<ul class="legend" aria-label="Legend">${usesOf(memory).map((use) => html`<li>
    <svg class="drawing" width="14" height="14" aria-hidden="true"><rect class=${useClass(use)} width="14" height="14" rx="2"/></svg>${USES[use]?.[0] ?? use}${use === 'free' ? ', more solid in a longer run' : ''}</li>`)}
    <li><svg class="drawing" width="18" height="14" aria-hidden="true"><circle class="glow" cx="9" cy="7" r="4"/></svg>frame that is shared</li>
    <li><svg class="drawing" width="10" height="14" aria-hidden="true"><line class="lit" x1="5" x2="5" y1="3" y2="14" stroke-width="2"/><circle class="litfill" cx="5" cy="4" r="3.5"/></svg>the chosen page</li></ul>`;
}

/** Arrow keys move between rows and, in a row, from run to run. */
function onKey(event, { session, memory }) {
  const rows = [...event.currentTarget.querySelectorAll('.focus')];
  const at = rows.indexOf(document.activeElement);
  const { key } = event;
  if (at < 0 || !['ArrowUp', 'ArrowDown', 'ArrowLeft', 'ArrowRight'].includes(key)) return;
  event.preventDefault();
  if (key === 'ArrowUp' || key === 'ArrowDown') {
    rows[Math.min(Math.max(at + (key === 'ArrowDown' ? 1 : -1), 0), rows.length - 1)].focus();
    return;
  }
  const starts = everyBlock(memory).flatMap((block) => block.runs.map((run) => run.first_pfn));
  const pfn = Math.floor(session.address / memory.page_size);
  const next = key === 'ArrowRight' ? starts.find((start) => start > pfn) : starts.findLast((start) => start < pfn);
  if (next !== undefined) session.choose(`addr:${hex(next * memory.page_size)}`);
}

/** The address under the pointer, in the strip of a row. */
function pointed(row, event, memory) {
  const strip = event.currentTarget.querySelector('.frame')?.getBoundingClientRect();
  const into = strip && event.clientX ? (event.clientX - strip.left) / strip.width : -1;
  if (into < 0 || into >= 1) return null;
  const [from, bytes] = row.whole ? [row.start, row.size] : [num(row.block.start), row.block.size];
  return from + Math.floor((into * bytes) / memory.page_size) * memory.page_size;
}

export function MapPanel({ session }) {
  const [open, setOpen] = useState(new Set());
  const { memory, vmemmap } = session.views;
  if (!has(memory)) return html`<${Panel} name="map" title="Memory"><${Missing} view=${memory} what="Memory"/><//>`;
  const starts = (blocks) => blocks.map((block) => num(block.start));
  const toggle = (row) => {
    const like = starts(row.like);
    const rest = [...open].filter((start) => !like.includes(start));
    setOpen(new Set(rest.length < open.size ? rest : [...rest, ...like]));
  };
  const onRow = (row, event) => {
    const address = pointed(row, event, memory);
    if (address !== null) session.choose(`addr:${hex(address)}`);
    else if (row.like.length > 1) toggle(row);
    else session.choose(`addr:${hex(row.start)}`);
  };
  const unfold = open.size > 0
    ? html`<button type="button" onClick=${() => setOpen(new Set())}>Fold blocks that look alike</button>`
    : html`<button type="button" onClick=${() => setOpen(new Set(starts(everyBlock(memory))))}>Show each block</button>`;
  const block = size(memory.block_size ?? memory.blocks[0]?.size ?? 0);
  const note = html`${size(memory.page_size)} pages, <${Word} of="memory block">blocks<//> of ${block}: “8 × ${block}” is eight that look alike. An arrow leads from <${Word} of="struct page">struct pages<//> to the frame that holds them. Click in a strip, or in <${Word} of="vmemmap"/>, to choose a page.`;
  return html`<${Panel} name="map" title="Memory" note=${note} tools=${unfold}>
    <div onKeyDown=${(event) => onKey(event, { session, memory })}>
      <${Drawing} least="600" of=${[memory, vmemmap, open, session.address]} draw=${(width) => drawMap({ memory, vmemmap: has(vmemmap) ? vmemmap : null }, { width, open, chosen: session.address, onRow, onPage: (pfn) => session.choose(`pfn:${hex(pfn)}`) })}/></div>
    ${!has(vmemmap) && html`<${Missing} view=${vmemmap} what="vmemmap"/>`}
    <${Legend} memory=${memory}/><//>`;
}

/** What was typed at the field, if it was not taken as it stands, and a way to what was meant. */
function Read({ read, session }) {
  const there = (of) => session.state?.blocks.some((block) => inside(of, block, session.state.granule));
  const offer = read?.hex && (read.error || !there(read.of)) && html` <button type="button" onClick=${() => session.choose(read.hex)}>Look at ${read.hex}</button>`;
  return html`<p role="status" class=${read?.error ? 'bad' : 'note'}>${read && (read.error ?? read.note)}${offer}</p>`;
}

/** Whether the page that `of` names lies in a block. */
function inside(of, block, granule) {
  const [kind, value] = of.split(':');
  const address = num(value) * (kind === 'pfn' ? granule : 1);
  return address >= num(block.start) && address < num(block.start) + block.size;
}

/** The field for an address, and the picture around it. */
export function LensPanel({ session }) {
  const [read, setRead] = useState(null);
  const { memory, vmemmap, page } = session.views;
  const choose = (event) => {
    event.preventDefault();
    const typed = target(new FormData(event.target).get('look'));
    if (typed.of) session.choose(typed.of);
    setRead({ ...typed, of: typed.of ?? session.look });
  };
  const form = html`<form class="look" onSubmit=${choose}>
    <label>Page or address <input name="look" class="mono" key=${session.look} defaultValue=${session.look ?? ''} placeholder="addr:0x80000000" spellcheck="false"/></label>
    <button type="submit">Look</button></form>`;
  const ready = has(memory) && has(vmemmap) && session.address >= 0 && memory.page_size;
  // What was said of a page holds until another is chosen.
  return html`<${Panel} name="lens" title="The chosen page" tools=${form}>
    <${Read} read=${read?.of === session.look ? read : null} session=${session}/>
    ${has(page) && has(memory) && html`<p class="says" id="says">${says(page, memory)}</p>`}
    ${page?.error && html`<p class="missing" id="says">${page.error}</p>`}
    ${ready ? html`<${Drawing} least="600" of=${[memory, vmemmap, session.address]} draw=${(width) => drawLens({ memory, vmemmap }, { width, pfn: Math.floor(session.address / memory.page_size), onPage: (pfn) => session.choose(`pfn:${hex(pfn)}`) })}/>`
    : has(memory) && html`<p class="missing">Choose a page of physical memory.</p>`}<//>`;
}

/** The chain from a page to the frame of its struct page, in words. */
function says(page, memory) {
  if (!page.frame && !runOf(memory, page.pfn)) return html`<${Word} of="pfn"/> <b>${hex(page.pfn)}</b> (${page.pa}): <b>no memory is there</b>, so its struct page at <b>${page.va}</b> is not mapped. A DIMM takes its memmap with it when it goes.`;
  const frame = page.frame && hex(num(page.frame) - (num(page.frame) % memory.page_size));
  const home = frame && runOf(memory, num(frame) / memory.page_size);
  const where = home ? `, ${home.run?.use === 'memmap' ? 'memmap' : USES[home.run?.use]?.[0] ?? 'memory'} of ${home.block.source}` : '';
  return html`<${Word} of="pfn"/> <b>${hex(page.pfn)}</b> (${page.pa}) is <b>${USES[page.use]?.[0] ?? page.use}</b>. Its <${Word} of="struct page"/> is at <b>${page.va}</b>, ${frame ? html`in the frame at <b>${frame}</b>${where}${page.readonly ? ', read-only' : ''}.` : 'which is not mapped.'}`;
}
