// The legend of a picture that stands alone: which colour is which use.

import { html, px } from './svg.js';
import { USES, useClass } from './theme.js';

const LINE = 20;
const SWATCH = 18;

/** About as wide as `text` is drawn, in pixels. */
const wide = (text) => text.length * 6.2 + SWATCH + 22;

/** The legend of `uses` from (left, y) on, in lines of at most `width`: {height, children}. */
export function drawLegend(uses, { left = 4, y = 0, width = 1000 } = {}) {
  let [x, line] = [left, 0];
  const marks = uses.map((use) => {
    const name = USES[use]?.[0] ?? use;
    if (x > left && x + wide(name) > width) [x, line] = [left, line + 1];
    const at = x;
    x += wide(name);
    return html`<g transform=${`translate(${px(at)},${y + line * LINE})`}><rect class=${`run ${useClass(use)}`} y="3" width=${SWATCH} height="11"/>
      <text class="small" x=${SWATCH + 6} y="13">${name}</text></g>`;
  });
  return { height: (line + 1) * LINE, children: html`${marks}` };
}
