// usage: node picture.js NAME [FILE] [OPTION=VALUE...] >PICTURE.svg
//
// Draws a picture without a browser, by the functions that the page uses. FILE (or standard input) is JSON: an object of
// views by name, {"memory": {...}, "vmemmap": {...}, ...}, as the playground and `make watch` give them.
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
import { drawMap } from './src/draw/map.js';
import { drawStruct } from './src/draw/struct.js';
import { pictureStyle } from './src/draw/theme.js';
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
  const { children } = svg.props;
  return `${render(h(svg.type, { ...svg.props, children: [h('style', { dangerouslySetInnerHTML: { __html: pictureStyle() } }), children] }))}\n`;
}

function main([name, ...rest]) {
  const file = rest.find((word) => !word.includes('='));
  const options = Object.fromEntries(rest.filter((word) => word.includes('=')).map((word) => word.split('=')).map(([key, value]) => [key, key === 'open' ? value : Number(value)]));
  process.stdout.write(picture(name, JSON.parse(readFileSync(file ?? 0, 'utf8')), options));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  try {
    main(process.argv.slice(2));
  } catch (error) {
    console.error(`error: ${error.message}`);
    process.exit(2);
  }
}
