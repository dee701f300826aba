// usage: scripts/picture NAME [FILE] [OPTION=VALUE...] >PICTURE.svg
//
// Draws a picture without a browser, by the functions that the page uses. FILE (or standard input) is a transcript of the
// console, with what the pictures need: map and lens `state` and `ptdump vmemmap`, walk `state` and `walk addr:ADDR`. Or it
// is JSON, an object of views by name, {"memory": {...}, "vmemmap": {...}, ...}, as the playground and `make watch` give
// them.
//
//   map      memory and vmemmap      chosen=ADDR open=ADDR,ADDR (rows not folded)
//   lens     memory and vmemmap      pfn=PFN
//   walk     walk                    pageSize=BYTES
//   tables   tables (and walk, whose tables are lit)
//   struct   page
//
// width=PIXELS fits all. Exit status: 0, or 2 for wrong usage or a view that is missing.

import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { render } from 'preact-render-to-string';
import { h } from 'preact';
import { drawLens } from './src/draw/lens.js';
import { drawLegend } from './src/draw/legend.js';
import { drawMap, usesOf } from './src/draw/map.js';
import { drawStruct } from './src/draw/struct.js';
import { pictureStyle } from './src/draw/theme.js';
import { views } from './src/transcript.js';
import { drawTree, drawWalk, tablesOf } from './src/draw/walk.js';

const PICTURES = {
  map: { needs: ['memory'], draw: ({ memory, vmemmap }, { open, ...options }) => drawMap({ memory, vmemmap }, { ...options, open: new Set(`${open ?? ''}`.split(',').filter(Boolean).map(Number)) }) },
  lens: { needs: ['memory', 'vmemmap'], draw: (views, options) => drawLens(views, { pfn: views.page?.pfn, ...options }) },
  walk: { needs: ['walk'], draw: ({ walk, memory }, options) => drawWalk(walk, { pageSize: memory?.page_size, ...options }) },
  tables: { needs: ['tables'], draw: ({ tables, walk }, options) => drawTree(tables, { ...options, lit: tablesOf(walk) }) },
  struct: { needs: ['page'], draw: ({ page }, options) => drawStruct(page, options) },
};

/** The picture `name` of `views`, as the text of an SVG file with its own style. Throws if a view is missing. */
export function picture(name, views, options = {}) {
  const { needs, draw } = PICTURES[name] ?? {};
  if (!draw) throw new Error(`there is no picture '${name}'; there are ${Object.keys(PICTURES).join(', ')}`);
  const missing = needs.find((view) => !views[view] || views[view].error);
  if (missing) throw new Error(`${name}: the view '${missing}' is missing`);
  const svg = draw(views, options);
  const note = views.memory?.blocks.some(({ exact }) => exact === false) ? 'A bar shows how many pages each use has, not where they lie.' : null;
  const legend = name === 'map' ? drawLegend(usesOf(views.memory), views.vmemmap, { y: svg.props.height + 8, width: svg.props.width, note }) : null;
  const height = svg.props.height + (legend ? legend.height + 12 : 0);
  const children = [svg.props.children, legend?.children];
  return `${render(h(svg.type, { ...svg.props, height, viewBox: `0 0 ${svg.props.width} ${height}`, children: [h('style', { dangerouslySetInnerHTML: { __html: pictureStyle() } }), children] }))}\n`;
}

/** The views in a text, which is JSON of them or a transcript. */
function viewsIn(text) {
  let json;
  try {
    json = JSON.parse(text);
  } catch {
    return views(text);
  }
  return 'blocks' in json ? views(JSON.stringify(json)) : json;
}

const OPTIONS = ['width', 'chosen', 'open', 'pfn', 'pageSize'];

/** OPTION=VALUE as [OPTION, VALUE]. */
function option(word) {
  const [key, value] = word.split('=');
  if (!OPTIONS.includes(key)) throw new Error(`there is no option '${key}'; there are ${OPTIONS.join(', ')}`);
  const numbers = value.split(',').map(Number);
  if (value === '' || numbers.some((one) => !(one >= 0)) || (key !== 'open' && numbers.length > 1)) throw new Error(`${key} is a number, not '${value}'`);
  return [key, key === 'open' ? value : numbers[0]];
}

function main([name, ...rest]) {
  const [file, second] = rest.filter((word) => !word.includes('='));
  if (second !== undefined) throw new Error(`one FILE at most, and '${second}' is the second`);
  const options = Object.fromEntries(rest.filter((word) => word.includes('=')).map(option));
  process.stdout.write(picture(name, viewsIn(readFileSync(file ?? 0, 'utf8')), options));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  try {
    main(process.argv.slice(2));
  } catch (error) {
    console.error(`error: ${error.code === 'ENOENT' ? `cannot read ${error.path}: there is no such file` : error.message}`);
    process.exit(2);
  }
}
