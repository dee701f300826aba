// For a reader who sees this for the first time: five steps, each with the button that does it.

import { useState } from 'preact/hooks';
import { html } from '../draw/svg.js';

const STEPS = [
  {
    text: 'Memory is managed by pages. For each page the kernel keeps a record of 64 bytes, its struct page. All records are one array, vmemmap: the strips at the right. The records lie in memory too: an arrow leads to the frames that hold them.',
  },
  {
    text: 'Memory that is added needs records before it can be used. Plug a DIMM, and follow its arrow: its records lie at the start of each of its own blocks.',
    name: 'Plug 1 GiB', request: { do: 'monitor', text: 'plug 1G' },
  },
  {
    text: 'Choose a page of the DIMM. The lit arrow leads from its record to the frame that holds it; below, page by page; at the right, the walk by which the CPU finds that frame, and the 64 bytes.',
    name: 'Look at 0x88300000', look: 'addr:0x88300000',
  },
  {
    text: 'Let a tenant use pages of the DIMM, then unplug it: the pages move first, and nothing is left of the DIMM. Go back in history to see it again, step by step.',
    name: 'Use 500 pages', request: { do: 'line', text: 'tenant new 500' }, then: { name: 'Unplug', request: { do: 'monitor', text: 'unplug 0' } },
  },
  {
    text: 'The records of a huge page are almost all alike, so they share one frame, which glows and is read-only.',
    name: 'Make 4 huge pages', request: { do: 'line', text: 'hugetlb 2M 4' },
  },
];

function Act({ step, session }) {
  if (!step?.name) return null;
  const act = () => (step.look ? session.choose(step.look) : session.run(step.request));
  return html`<button type="button" disabled=${session.busy} onClick=${act}>${step.name}</button>`;
}

export function GuidePanel({ session }) {
  const [at, setAt] = useState(0);
  if (!session.source.can.act) return null;
  const step = STEPS[at];
  return html`<details class="panel guide" id="guide" open><summary><h2>Start here</h2> <span class="quiet">${at + 1} of ${STEPS.length}</span></summary>
    <p role="status">${step.text}</p>
    <div class="acts"><${Act} step=${step} session=${session}/><${Act} step=${step.then} session=${session}/><span class="turn">
      <button type="button" aria-label="Back in the guide" disabled=${at === 0} onClick=${() => setAt(at - 1)}>Back</button>
      <button type="button" aria-label="Next in the guide" disabled=${at === STEPS.length - 1} onClick=${() => setAt(at + 1)}>Next</button></span></div></details>`;
}
