// usage: node report.js DEMO.json OUT.html
//
// Makes one page of a run of the demo (`make report`): what was told, pictures of the memory in between, and the figures.
// DEMO.json is what `demo --record` writes (tests/src/demo/record.rs). The page needs nothing else.

import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { render } from 'preact-render-to-string';
import { picture } from './picture.js';
import { html } from './src/draw/svg.js';
import { properties } from './src/draw/theme.js';
import { views } from './src/transcript.js';

const STYLE = `${properties()}
body{font:15px/1.5 system-ui,"DejaVu Sans",sans-serif;max-width:64rem;margin:2rem auto;padding:0 1rem;color:var(--ink);background:var(--paper)}
pre{font:13px/1.45 ui-monospace,"DejaVu Sans Mono",monospace;background:var(--panel);border:1px solid var(--line);border-radius:4px;padding:.5rem .75rem;overflow-x:auto;margin:.4rem 0}
.command{font-weight:600} .monitor{color:var(--quiet)} .checked{color:var(--good)}
figure{margin:1rem 0;overflow-x:auto} figcaption{font-weight:600;margin-bottom:.4rem}
table{border-collapse:collapse} td,th{padding:.2rem .8rem;border-bottom:1px solid var(--line);text-align:left} td.number{text-align:right;font-variant-numeric:tabular-nums}
.bar{background:var(--use-memmap);height:.8rem;min-width:1px}`;

/** A figure's bar is as long as its share of the largest, by logarithm: Linux's would leave no other to be seen. */
const share = (value, most) => (100 * Math.log10(value)) / Math.log10(most);

function Figures({ machine, rows }) {
  const most = Math.max(...rows.map(({ instructions }) => instructions));
  return html`<section><h2>The figures</h2>
    <p>Guest instructions for the same life, counted on ${machine}. The bars are logarithmic.</p>
    <table><thead><tr><th>operation</th><th>instructions</th><th>system RAM</th><th></th></tr></thead><tbody>
    ${rows.map(({ name, instructions, ram }) => html`<tr><td>${name}</td><td class="number">${instructions.toLocaleString('en-US')}</td>
      <td>${ram ?? ''}</td><td style="width:18rem"><div class="bar" style=${`width:${share(instructions, most).toFixed(1)}%`}></div></td></tr>`)}
    </tbody></table></section>`;
}

const TOLD = {
  chapter: ({ number, title }) => html`<h2>${number}. ${title}</h2>`,
  say: ({ text }) => html`<p>${text}</p>`,
  checked: ({ text }) => html`<p class="checked">✓ checked: ${text}</p>`,
  monitor: ({ text }) => html`<pre class="monitor">QEMU monitor: ${text}</pre>`,
  command: ({ text }) => html`<pre class="command">${text}</pre>`,
  guest: ({ text }) => (text ? html`<pre>${text}</pre>` : null),
  picture: ({ title, transcript }) => html`<figure><figcaption>${title}</figcaption>
    <div dangerouslySetInnerHTML=${{ __html: picture('map', views(transcript), { width: 980 }) }}></div></figure>`,
  figures: (event) => html`<${Figures} ...${event}/>`,
};

/** The page of a run. Throws for an event that it does not know. */
export function report(events) {
  const told = events.map((event) => {
    if (!TOLD[event.kind]) throw new Error(`the record has an event '${event.kind}', which this page does not know`);
    return TOLD[event.kind](event);
  });
  const page = html`<html lang="en"><head><meta charset="utf-8"/><meta name="viewport" content="width=device-width"/>
    <title>hotmap: the life of a hot-plugged DIMM</title><style dangerouslySetInnerHTML=${{ __html: STYLE }}></style></head>
    <body><main><h1>hotmap: the life of a hot-plugged DIMM</h1>
    <p>One run of <code>make demo</code>, as it was told. Each check failed the run if it did not hold.</p>${told}</main></body></html>`;
  return `<!doctype html>\n${render(page)}\n`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [record, out] = process.argv.slice(2);
  if (!record || !out) {
    console.error('usage: node report.js DEMO.json OUT.html');
    process.exit(2);
  }
  try {
    const text = report(JSON.parse(readFileSync(record, 'utf8')));
    writeFileSync(out, text);
    console.error(`${out}: the report, ${text.length} bytes`);
  } catch (error) {
    console.error(`error: ${error.message}`);
    process.exit(1);
  }
}
