// For a reader who sees this for the first time: five steps, each with the button that does it.

import { useEffect, useState } from 'preact/hooks';
import { html } from '../draw/svg.js';
import { hex, num } from '../format.js';
import { showPanel, To } from './common.js';

const monitor = (text) => ({ do: 'monitor', text });
const line = (text) => ({ do: 'line', text });

/** What a step needs: whether it is there, and the request that makes it. */
const DIMM = { there: ({ dimms }) => dimms.length > 0, request: monitor('plug 1G') };
const TENANT = { there: ({ tenants }) => tenants.length > 0, request: line('tenant new 500') };

/** The start of the page of a DIMM that step 3 looks at: in its second block, if it has two. */
function pageOf({ dimms: [dimm], blocks }) {
  if (!dimm) return 0x88300000;
  const block = blocks.find((one) => one.source === `dimm${dimm.slot}`);
  const size = block ? block.size / (block.count ?? 1) : dimm.size;
  return num(dimm.start) + (dimm.size > size ? size : 0) + 0x300000;
}

/** The smallest huge pages whose memmap can be shared, by granule, and how many fit in 1 GiB. */
const HUGE = { 4096: '2M 4', 16384: '32M 4', 65536: '512M 1' };

/** A page whose struct page lies in the frame that the first huge page shares: its second page of vmemmap leads there. */
function sharedBy({ views: { memory }, state }) {
  const run = memory.blocks.flatMap((block) => block.runs).find(({ use }) => use === 'huge');
  return run && `pfn:${hex(run.first_pfn + state.granule / 64)}`;
}

const STEPS = [
  {
    text: html`Memory is managed by pages. For each page the kernel keeps a record of 64 bytes, its struct page. All records are one array, vmemmap: the right part of the picture <${To} panel="map">Memory<//>. The records lie in memory too: an arrow leads to the frames that hold them.`,
    acts: [],
  },
  {
    text: 'Memory that is added needs records before it can be used. Plug a DIMM, and follow its arrow: its records lie at the start of each of its own blocks. So they cost no memory that was there before, and they go when the DIMM goes.',
    acts: [{ name: () => 'Plug 1 GiB', needs: [], request: () => monitor('plug 1G'), panel: 'map' }],
  },
  {
    text: html`Choose a page of the DIMM. The lit arrow leads from its record to the frame that holds it, and <${To} panel="lens">The chosen page<//> shows it page by page. <${To} panel="walk">The walk<//> is the way by which the CPU finds that frame, and <${To} panel="struct">The struct page<//> has the 64 bytes.`,
    acts: [{ name: (state) => `Look at ${hex(pageOf(state))}`, needs: [DIMM], look: ({ state }) => `addr:${hex(pageOf(state))}`, panel: 'lens' }],
  },
  {
    text: html`Let a tenant use pages of the DIMM, then unplug it: the pages move first. The DIMM takes its memmap with it, so a page of it that was chosen has no struct page any more. Go back in <${To} panel="history">History<//> to see it again, step by step.`,
    acts: [
      { name: () => 'Use 500 pages', needs: [DIMM], request: () => TENANT.request, panel: 'map' },
      { name: () => 'Unplug', needs: [DIMM, TENANT], request: (state) => monitor(`unplug ${state.dimms[0].slot}`), panel: 'history' },
    ],
  },
  {
    text: html`The records of a huge page are almost all alike, so most pages of its vmemmap lead to one frame. In <${To} panel="lens">The chosen page<//> it is the frame with the bright rim: several pages share it, and it is read-only. The <${To} panel="exercises">Exercises<//> go on from here.`,
    acts: [{ name: (state) => `Make ${HUGE[state.granule].split(' ')[1]} huge pages`, needs: [], request: (state) => line(`hugetlb ${HUGE[state.granule]}`), look: sharedBy, panel: 'lens' }],
  },
];

const absent = (act, state) => act.needs.filter(({ there }) => !there(state)).map(({ request }) => request);

/** Does what is missing, then the act itself. Returns why it failed, or an empty text. */
async function perform(act, session) {
  for (const request of [...absent(act, session.state), () => act.request?.(session.state)]) {
    const asked = typeof request === 'function' ? request() : request;
    const answer = asked ? await session.run(asked) : { ok: true };
    if (!answer.ok || answer.status > 0) return `${asked.text} failed: ${answer.error ?? answer.text}`;
  }
  const of = act.look?.(session);
  if (of) await session.choose(of);
  return '';
}

function Act({ act, session, say }) {
  const [done, setDone] = useState(0);
  // Scrolls after the page has drawn what the act changed.
  useEffect(() => { if (done) showPanel(act.panel); }, [done]);
  const press = async () => {
    say(await perform(act, session));
    setDone((n) => n + 1);
  };
  return html`<button type="button" disabled=${session.busy} onClick=${press}>${act.name(session.state)}</button>`;
}

/** What the buttons of a step do first: one line for those that do the same. */
function First({ step, state }) {
  const names = new Map();
  for (const act of step.acts) {
    const first = absent(act, state).map(({ text }) => text).join('; ');
    if (first) names.set(first, [...names.get(first) ?? [], `“${act.name(state)}”`]);
  }
  return [...names].map(([first, acts]) => html`<p class="note">${acts.join(' and ')} first ${acts.length > 1 ? 'do' : 'does'} what this step needs: <code>${first}</code>.</p>`);
}

export function GuidePanel({ session }) {
  const [at, setAt] = useState(0);
  const [failed, setFailed] = useState('');
  if (!session.source.can.act || !session.state) return null;
  const step = STEPS[at];
  const turn = (to) => {
    setAt(to);
    setFailed('');
  };
  return html`<details class="panel guide" id="guide" open><summary><h2>Start here</h2> <span class="quiet">${at + 1} of ${STEPS.length}</span></summary>
    <div role="status"><p>${step.text}</p><${First} step=${step} state=${session.state}/>${failed && html`<p class="bad">${failed}</p>`}</div>
    <div class="acts">${step.acts.map((act) => html`<${Act} key=${`${at} ${act.panel} ${act.needs.length}`} act=${act} session=${session} say=${setFailed}/>`)}<span class="turn">
      <button type="button" aria-label="Back in the guide" disabled=${at === 0} onClick=${() => turn(at - 1)}>Back</button>
      <button type="button" aria-label="Next in the guide" disabled=${at === STEPS.length - 1} onClick=${() => turn(at + 1)}>Next</button></span></div></details>`;
}
