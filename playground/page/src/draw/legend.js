// The legend of a picture that stands alone: which colour is which use.

import { html, px } from './svg.js';
import { USES, useClass } from './theme.js';
import { isShared } from './vmemmap.js';

const LINE = 20;
const SWATCH = 18;

/** About as wide as `text` is drawn, in pixels. */
const wide = (text) => text.length * 6.2 + SWATCH + 22;

const swatch = (use) => ({ name: USES[use]?.[0] ?? use, mark: html`<rect class=${`run ${useClass(use)}`} y="3" width=${SWATCH} height="11"/>` });

/** What vmemmap adds to the uses: read-only pages, and frames that are shared. */
function vmemmapMarks(vmemmap) {
  const ranges = vmemmap?.ranges ?? [];
  const readonly = html`<rect class="run use-huge" y="3" width=${SWATCH} height="11" opacity=".75"/><rect class="readonly" y="3" width=${SWATCH} height="11"/>`;
  const shared = html`<circle class="glow" cx=${SWATCH / 2} cy="8.5" r="4.5"/>`;
  return [
    ranges.some((range) => range.readonly) && { name: 'vmemmap, read-only', mark: readonly },
    ranges.some(isShared) && { name: 'frame that is shared', mark: shared },
  ].filter(Boolean);
}

/**
 * The legend of `uses` and of `vmemmap`, from (left, y) on, in lines of at most `width`, and `note` below it:
 * {height, children}.
 */
export function drawLegend(uses, vmemmap, { left = 4, y = 0, width = 1000, note } = {}) {
  let [x, line] = [left, 0];
  const marks = [...uses.map(swatch), ...vmemmapMarks(vmemmap)].map(({ name, mark }) => {
    if (x > left && x + wide(name) > width) [x, line] = [left, line + 1];
    const at = x;
    x += wide(name);
    return html`<g transform=${`translate(${px(at)},${y + line * LINE})`}>${mark}
      <text class="small" x=${SWATCH + 6} y="13">${name}</text></g>`;
  });
  const said = note && html`<text class="small quiet" x=${left} y=${y + (line + 1) * LINE + 13}>${note}</text>`;
  return { height: (line + (note ? 2 : 1)) * LINE, children: html`${marks}${said}` };
}
