// The 64 bytes of a struct page, by field.

import { hex } from '../format.js';
import { drawing, html, px } from './svg.js';

/** The bytes of a view's `bytes`, two digits each. */
export const bytesOf = (page) => page.bytes.replace(/^0x/, '').match(/../g) ?? [];

const tint = (index) => (index < 0 ? 'var(--panel)' : `hsl(${(index * 83 + 30) % 360} 62% 55% / .36)`);

/** Draws a `page` view: 4 rows of 16 bytes, tinted by field. Options: `width` in pixels. */
export function drawStruct(page, { width = 560 } = {}) {
  const left = 40;
  const wide = (width - left - 8) / 16;
  const cells = bytesOf(page).map((byte, at) => {
    const index = page.fields.findIndex((field) => at >= field.offset && at < field.offset + field.bytes);
    const field = page.fields[index];
    const [x, y] = [left + (at % 16) * wide, 22 + Math.floor(at / 16) * 44];
    return html`<g><title>${field ? `+${field.offset} ${field.name}: ${field.value ?? ''} ${field.meaning}` : `+${at}: spare`}</title>
      <rect class="bit" x=${px(x)} y=${y} width=${px(wide)} height="22" fill=${tint(field?.value == null ? -1 : index)}/>
      <text class="mono" x=${px(x + wide / 2)} y=${y + 15} text-anchor="middle" opacity=${byte === '00' ? 0.5 : 1}>${byte}</text>
      ${field?.offset === at && html`<text class="small quiet" x=${px(x + 1)} y=${y + 34}>${clip(field.name, field.bytes * wide)}</text>`}</g>`;
  });
  const offsets = [0, 16, 32, 48].map((offset, row) => html`<text class="quiet small mono" x=${left - 6} y=${37 + row * 44} text-anchor="end">${`+${offset}`}</text>`);
  return drawing({ width, height: 200, label: `The 64 bytes of the struct page of pfn ${hex(page.pfn)}, at ${page.va}`, children: html`
    <text class="mono" x="4" y="13">${`${page.va} in physical memory at ${page.frame ?? 'none'}`}</text>${offsets}${cells}` });
}

/** A name that fits into `room` pixels. */
const clip = (name, room) => (name.length * 5.6 <= room ? name : `${name.slice(0, Math.max(1, Math.floor(room / 5.6) - 1))}…`);
