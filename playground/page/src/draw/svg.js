// What all drawings share. A drawing function is pure: (view, options) -> virtual nodes.

import { h } from 'preact';
import htm from 'htm';

export const html = htm.bind(h);

/** The outermost element. `label` is what a screen reader says of the whole. */
export function drawing({ width, height, label, role = 'img', children, ...rest }) {
  return html`<svg xmlns="http://www.w3.org/2000/svg" class="drawing" role=${role} aria-label=${label}
    width=${width} height=${height} viewBox=${`0 0 ${width} ${height}`} ...${rest}>${children}</svg>`;
}

/** Fills that are patterns. Ids are the same in each drawing and mean the same. */
export const patterns = () => html`<defs>
  <pattern id="readonly" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">
    <rect width="6" height="6" fill="none"/><line x1="0" y1="0" x2="0" y2="6" stroke="var(--ink)" stroke-width="1.6" opacity=".55"/>
  </pattern></defs>`;

/** Numbers in a path have one decimal: a tenth of a pixel. */
export const px = (value) => Math.round(value * 10) / 10;

/** A path through points, with rounded corners. */
export function rounded(points, radius = 4) {
  const towards = ([x, y], [a, b]) => {
    const far = Math.hypot(a - x, b - y) || 1;
    const step = Math.min(radius, far / 2) / far;
    return [px(x + (a - x) * step), px(y + (b - y) * step)];
  };
  const corners = points.slice(1, -1).map((point, at) => `L${towards(point, points[at])}Q${point.map(px)} ${towards(point, points[at + 2])}`);
  return `M${points[0].map(px)}${corners.join('')}L${points.at(-1).map(px)}`;
}

/** An arrow down, from (x, y) to (a, b). */
export function down({ x, y, a, b, kind = '' }) {
  const [sx, sy, tx, ty] = [x, y, a, b].map(px);
  const middle = px((sy + ty) / 2);
  return html`<path class=${`arrow ${kind}`} d=${`M${sx},${sy}C${sx},${middle} ${tx},${middle} ${tx},${ty - 4}`}/>
    <polygon class=${`tip ${kind}`} points=${`${tx},${ty} ${tx - 3.5},${ty - 6} ${tx + 3.5},${ty - 6}`}/>`;
}
