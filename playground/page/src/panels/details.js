// The walk, the struct page, the TLB, counts and the audit.

import { useState } from 'preact/hooks';
import { drawStruct } from '../draw/struct.js';
import { drawTree, drawWalk, tablesOf } from '../draw/walk.js';
import { html } from '../draw/svg.js';
import { count, hex, size, plural } from '../format.js';
import { Drawing, has, Missing, Panel } from './common.js';
import { Word } from './words.js';

/** A table of fields: of a descriptor, or of a struct page. */
function Fields({ fields, place, caption }) {
  return html`<table class="fields"><caption>${caption}</caption><thead><tr><th scope="col">${place}</th><th scope="col">field</th><th scope="col">value</th><th scope="col">meaning</th></tr></thead>
    <tbody>${fields.map((field) => html`<tr><td class="mono">${field.bits ?? `+${field.offset}`}</td><td>${field.name}</td><td class="mono">${field.value === null ? '' : String(field.value)}</td><td>${field.meaning ?? ''}</td></tr>`)}</tbody></table>`;
}

export function WalkPanel({ session }) {
  const [chosen, setChosen] = useState(null);
  const { walk, tables } = session.views;
  if (!has(walk)) return html`<${Panel} name="walk" title="The walk"><${Missing} view=${walk} what="The walk"/><${Tree} tables=${tables}/><//>`;
  const at = Math.min(chosen ?? walk.steps.length - 1, walk.steps.length - 1);
  const step = walk.steps[at];
  const options = { pageSize: session.state?.granule, vaBits: session.state?.va_bits, step: at, onStep: setChosen };
  return html`<${Panel} name="walk" title="The walk" note="The MMU reads one descriptor for each level. Choose a level to see its bits.">
    <${Drawing} least="520" of=${[walk, at]} draw=${(width) => drawWalk(walk, { ...options, width })}/>
    ${step && html`<${Fields} fields=${step.fields} place="bits" caption=${`Descriptor of level ${step.level}: ${step.descriptor}, ${step.type}`}/>`}
    <${Tree} tables=${tables} walk=${walk}/><//>`;
}

function Tree({ tables, walk }) {
  if (!has(tables)) return html`<${Missing} view=${tables} what="The tree of tables"/>`;
  return html`<h3>The tree of tables</h3><${Drawing} least="420" of=${[tables, walk]} draw=${(width) => drawTree(tables, { width, lit: tablesOf(walk) })}/>`;
}

export function StructPanel({ session }) {
  const { page } = session.views;
  if (!has(page)) return html`<${Panel} name="struct" title="The struct page"><${Missing} view=${page} what="The struct page"/><//>`;
  return html`<${Panel} name="struct" title="The struct page: 64 bytes">
    ${page.bytes ? html`<${Drawing} least="420" of=${[page]} draw=${(width) => drawStruct(page, { width })}/>
    <${Fields} fields=${page.fields} place="byte" caption=${`Fields of the struct page of pfn ${hex(page.pfn)}`}/>` : html`<p class="missing">It is not mapped: reading it is a fault.</p>`}<//>`;
}

const NOTE = html`<${Word} of="break-before-make">Break-before-make<//>: an entry becomes invalid, the TLB forgets it (<${Word} of="TLBI">tlbi<//>, <${Word} of="DSB">dsb<//>), then the new entry is written. An entry that still leads to the old frame is stale.`;

/** TLB entries that are listed. */
const ENTRIES = 24;

export function TlbPanel({ session }) {
  const { tlb } = session.views;
  if (session.source.live) return null;
  if (!has(tlb)) return html`<${Panel} name="tlb" title="The TLB"><${Missing} view=${tlb} what="The TLB"/><//>`;
  const stale = tlb.entries.filter((entry) => entry.stale);
  const shown = [...stale, ...tlb.entries.filter((entry) => !entry.stale)].slice(0, ENTRIES);
  return html`<${Panel} name="tlb" title="The TLB" note=${NOTE}>
    <p class=${stale.length ? 'bad' : 'good'} role="status">${stale.length ? `${count(stale.length)} stale entries` : 'No stale entry'}, ${count(tlb.entries.length)} in all.</p>
    ${shown.length > 0 && html`<div class="scroll" tabindex="0" role="region" aria-label="TLB entries"><table class="entries"><thead><tr><th scope="col">virtual</th><th scope="col">size</th><th scope="col">physical</th><th scope="col">attributes</th><th scope="col">state</th></tr></thead>
      <tbody>${shown.map((entry) => html`<tr class=${entry.stale ? 'stale' : ''}><td class="mono">${entry.va}</td><td>${size(entry.bytes)}</td><td class="mono">${entry.pa}</td><td>${entry.attributes}</td>
        <td>${entry.stale ? `stale${entry.would_break ? `: breaks ${entry.would_break}` : ''}` : 'good'}</td></tr>`)}</tbody></table></div>`}
    ${tlb.entries.length > ENTRIES && html`<p class="note">${count(tlb.entries.length - ENTRIES)} more.</p>`}<//>`;
}

const PARTS = [
  ['free', 'free', 'free'], ['allocated', 'tenant', 'allocated'], ['memmap_self', 'memmap', 'memmap, self-hosted'],
  ['memmap_ram', 'memmap', 'memmap, in system RAM'], ['tables', 'table', 'tables'], ['reserved', 'reserved', 'reserved'],
];

/** The free runs of a zone by order, from the memory view. */
export function freeRuns(memory, zone) {
  const orders = new Map();
  for (const run of memory.blocks.filter((block) => block.zone === zone).flatMap((block) => block.runs)) {
    if (run.use === 'free' && run.order !== null) orders.set(run.order, (orders.get(run.order) ?? 0) + (run.count ?? run.pages / 2 ** run.order));
  }
  return [...orders].sort((a, b) => a[0] - b[0]);
}

function Zone({ zone, memory, granule }) {
  const runs = has(memory) ? freeRuns(memory, zone.name) : [];
  const most = Math.max(1, ...runs.map(([, n]) => n));
  return html`<div class="zone"><h3><${Word} of="zone"/> ${zone.name}</h3><p>${count(zone.free)} of ${count(zone.present)} pages free</p>
    ${runs.length > 0 && html`<table class="orders"><caption>Free lists</caption><thead><tr><th scope="col">order</th><th scope="col">run</th><th scope="col">runs</th><th scope="col" aria-hidden="true"></th></tr></thead><tbody>
      ${runs.map(([order, n]) => html`<tr><td>${order}</td><td>${size(granule * 2 ** order)}</td><td>${count(n)}</td><td aria-hidden="true"><span class="bar" style=${`width:${Math.max(3, (70 * n) / most)}px`}></span></td></tr>`)}</tbody></table>`}</div>`;
}

export function CountsPanel({ session }) {
  const { state, views: { memory } } = session;
  if (!state) return html`<${Panel} name="counts" title="Counts"><${Missing} what="state"/><//>`;
  const { pages, dedup, zones, granule } = state;
  return html`<${Panel} name="counts" title="Counts, zones and free lists">
    <table class="counts"><caption>Pages of system RAM: ${count(pages.present)}, ${size(pages.present * granule)}</caption><tbody>
      ${PARTS.map(([key, use, name]) => html`<tr><th scope="row"><svg class="drawing" width="12" height="12" aria-hidden="true"><rect class=${`use-${use}`} width="12" height="12" rx="2"/></svg> ${name}</th><td>${count(pages[key])}</td><td>${size(pages[key] * granule)}</td></tr>`)}
      <tr><th scope="row">saved by sharing memmap</th><td id="saved">${count(dedup?.saved_pages ?? 0)}</td><td>${size((dedup?.saved_pages ?? 0) * granule)}</td></tr></tbody></table>
    <div class="zones">${zones.map((zone) => html`<${Zone} zone=${zone} memory=${memory} granule=${granule}/>`)}</div><//>`;
}

export function AuditPanel({ session }) {
  const { audit } = session.views;
  if (session.source.live) return html`<${Panel} name="audit" title="Audit"><p>The guest audits itself: type <code>audit</code> at its shell.</p><//>`;
  if (!has(audit)) return html`<${Panel} name="audit" title="Audit"><${Missing} view=${audit} what="The audit"/><//>`;
  const findings = audit.findings ?? [];
  const after = session.step === null ? '' : ' This is the machine after all steps.';
  return html`<${Panel} name="audit" title="Audit" note=${`The model reads all of its tables, struct pages and counts, and checks the invariants I1 to I8.${after}`}>
    <p class=${audit.clean ? 'good' : 'bad'} role="status">${audit.clean ? `clean${audit.counted ? `: ${audit.counted}` : ''}` : plural(findings.length, 'finding')}</p>
    ${findings.length > 0 && html`<ul class="findings">${findings.slice(0, 20).map((one) => html`<li><b>${one.invariant}</b> ${one.text}</li>`)}</ul>`}<//>`;
}
