// The walk to one address, level by level, each descriptor bit by bit; and the tree of the tables.

import { hierarchy } from 'd3-hierarchy';
import { big, plural, sentence, size } from '../format.js';
import { down, drawing, html, px } from './svg.js';

const LEVEL = 106;

/** The fields of a descriptor by their highest bit, as {high, low, ...}. */
export function bits(field) {
  const [high, low = high] = String(field.bits).split(':').map(Number);
  return { ...field, high, low };
}

/** The 64 bits of a descriptor, as characters, bit 63 first. */
export const binary = (descriptor) => big(descriptor).toString(2).padStart(64, '0');

/** Fields that say nothing. */
const EMPTY = /^(RES0|ignored|PBHA|reserved)/;

/** One bit of a descriptor: the field that has it gives its tint. */
function bit(step, at, x, y, wide, fields) {
  const index = fields.findIndex((field) => at <= field.high && at >= field.low);
  const value = binary(step.descriptor)[63 - at];
  const field = fields[index];
  return html`<g><title>${field ? `bits ${field.bits}, ${field.name}: ${field.meaning ?? field.value}` : `bit ${at}`}</title>
    <rect class="bit" x=${px(x)} y=${y} width=${px(wide)} height="17" fill=${index < 0 || EMPTY.test(field.name) ? 'var(--panel)' : `hsl(${(index * 67 + 205) % 360} 60% 55% / .38)`}/>
    <text class="mono small" x=${px(x + wide / 2)} y=${y + 12.5} text-anchor="middle" opacity=${value === '1' ? 1 : 0.45}>${value}</text></g>`;
}

/** A table as a strip of its entries, with the one that the walk takes. */
function table(step, index, x, y, wide) {
  const { entries } = index;
  const at = ((step.index + 0.5) / entries) * wide;
  return html`<rect class="paper" x=${x} y=${y} width=${wide} height="14" rx="2"/>
    <rect class="litfill" x=${px(x + Math.min(at, wide - 4))} y=${y} width="4" height="14"/>
    <text class="mono small" x=${x + wide + 8} y=${y + 11}>${`${index.bits} = ${step.index}, of ${entries}`}</text>`;
}

/** One level. */
function level(step, y, { width, index, chosen, onStep, at }) {
  const fields = step.fields.map(bits);
  const wide = (width - 50) / 64;
  const button = onStep && { role: 'button', tabindex: 0, 'aria-pressed': String(chosen), 'aria-label': `Level ${step.level}: table ${step.table}, ${index.bits} of the address are ${step.index}, ${step.type}` };
  const act = (event) => {
    if (event.type === 'keydown' && !['Enter', ' '].includes(event.key)) return;
    event.preventDefault();
    onStep(at);
  };
  return html`<g class="row" onClick=${onStep && act} onKeyDown=${onStep && act}>
    ${button && html`<rect class="focus" x="2" y=${y - 14} width=${width - 4} height=${LEVEL - 16} rx="4" ...${button}/>`}<g aria-hidden=${onStep && 'true'}>
    <circle class="badge" cx="20" cy=${y + 4} r="11"/><text x="20" y=${y + 8} text-anchor="middle" style="fill:var(--paper)" class="strong">${step.level}</text>
    <text class="strong" x="38" y=${y}>${`level ${step.level}`}</text>
    <text class="mono" x="92" y=${y}>${`table ${step.table}`}</text>
    <text class="mono" x=${width - 12} y=${y} text-anchor="end">${`${step.descriptor} = ${step.type}`}</text>
    ${table(step, index, 38, y + 8, Math.min(360, width - 220))}
    ${Array.from({ length: 64 }, (_, i) => bit(step, 63 - i, 38 + i * wide, y + 34, wide, fields))}
    ${[63, 47, 31, 15, 0].map((n) => html`<text class="quiet small" x=${px(38 + (63.5 - n) * wide)} y=${y + 63} text-anchor="middle">${n}</text>`)}
  </g></g>`;
}

/** The bits of the virtual address that index the table of a step, and how many entries it has: the first may be shorter. */
export function indexOf(step, pageSize, vaBits = 48) {
  const shift = Math.log2(pageSize);
  const low = shift + (3 - step.level) * (shift - 3);
  const high = Math.min(low + shift - 3, vaBits) - 1;
  return { bits: high > low ? `bits ${high}:${low}` : `bit ${low}`, entries: 2 ** (high - low + 1) };
}

/** What the walk ends with. */
export function outcome(walk) {
  const { fault, source } = walk;
  if (fault?.kind) return `${fault.kind} fault at level ${fault.level}: ${fault.why}`;
  if (fault) return `fault: ${fault}`;
  return `physical address ${sentence([walk.pa, walk.lands_in, source && `memory of ${source.replace(/ .*/, '')}`])}`;
}

/** What the leaf allows. */
const leafOf = ({ leaf, writable, executable }) => (leaf ? sentence([`a leaf of ${size(leaf)}`, writable ? 'writable' : 'read-only', executable ? 'executable' : 'not executable']) : '');

/**
 * Draws a `walk` view. Options: `width`, `pageSize` in bytes, `vaBits`, `step`, the index of the chosen step,
 * `onStep(index)` makes the levels buttons.
 */
export function drawWalk(walk, { width = 700, pageSize = 4096, vaBits = 48, step: chosen, onStep } = {}) {
  const height = 34 + walk.steps.length * LEVEL + 40;
  const levels = walk.steps.map((step, at) => {
    const y = 48 + at * LEVEL;
    const next = at + 1 < walk.steps.length;
    return html`${level(step, y, { width, index: indexOf(step, pageSize, vaBits), chosen: chosen === at, onStep, at })}
      ${next && down({ x: 20, y: y + 17, a: 20, b: y + LEVEL - 8, kind: 'lit' })}`;
  });
  return drawing({ width, height, role: onStep ? 'group' : 'img', label: `The walk to ${walk.address}: ${plural(walk.steps.length, 'level')}, ${outcome(walk)}`, children: html`
    <text class="mono strong" x="8" y="18">${`${walk.va ?? walk.address}`}</text>${levels}
    <text class=${walk.fault ? 'strong stale' : 'strong'} x="8" y=${height - 26}>${outcome(walk)}</text>
    <text class="quiet" x="8" y=${height - 9}>${leafOf(walk)}</text>` });
}

/** Tables of one parent that are for the same thing, as one node when there are many. */
function children(nodes, pa, lit) {
  const own = nodes.filter((node) => node.parent === pa && node.pa !== pa);
  const groups = new Map();
  for (const node of own) {
    const key = lit.has(node.pa) ? node.pa : `${node.for}/${node.level}`;
    groups.set(key, [...(groups.get(key) ?? []), node]);
  }
  return [...groups.values()].map((group) => ({ node: group[0], times: group.length, nodes, lit }));
}

const entriesText = ({ table: tables, block, page }) => [tables && plural(tables, 'table'), block && plural(block, 'block'), page && plural(page, 'page')].filter(Boolean).join(', ') || 'empty';

/** What a table translates, in short. */
const serves = (regions) => (regions ? `, ${regions.split('+').length > 2 ? 'all regions' : regions}` : '');

/** Draws a `tables` view: the tree from the root, with the tables of the walk (`lit`, a set of addresses) lit. */
export function drawTree(view, { width = 700, lit = new Set() } = {}) {
  const root = view.nodes.find((node) => node.pa === view.root) ?? view.nodes[0];
  const tree = hierarchy({ node: root, times: 1, nodes: view.nodes, lit }, (one) => (one.times > 1 ? [] : children(view.nodes, one.node.pa, lit)));
  const rows = tree.descendants().length;
  let at = 0;
  tree.eachBefore((one) => { one.at = at; at += 1; });
  const y = (one) => 24 + one.at * 24;
  const x = (one) => 14 + one.depth * 30;
  const isLit = (one) => lit.has(one.data.node.pa);
  const links = tree.links().map(({ source, target }) => html`<path class=${`arrow ${isLit(target) && isLit(source) ? 'lit' : ''}`} d=${`M${x(source) + 4},${y(source) + 8}V${y(target)}H${x(target) - 7}`}/>`);
  const names = tree.descendants().map((one) => {
    const { node, times } = one.data;
    return html`<g><circle class=${isLit(one) ? 'litfill' : 'use-table'} cx=${x(one)} cy=${y(one)} r="6"/>
      <text class=${isLit(one) ? 'mono strong' : 'mono'} x=${x(one) + 13} y=${y(one) + 4}>${times > 1 ? `${times} tables` : node.pa}${node.times > 1 ? ` (${node.times} entries lead here)` : ''}</text>
      <text class="quiet" x=${Math.max(250, x(one) + (node.times > 1 ? 290 : 130))} y=${y(one) + 4}>${`level ${node.level}${serves(node.for)}: ${entriesText(node.entries)}`}</text></g>`;
  });
  return drawing({ width, height: 24 + rows * 24, label: `The tree of translation tables: ${plural(view.nodes.length, 'table')}, root ${view.root}`, children: html`${links}${names}` });
}

/** The tables that a walk reads. */
export const tablesOf = (walk) => new Set((walk?.steps ?? []).map((step) => step.table));
