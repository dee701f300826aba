// The page.

import { useEffect, useReducer, useRef, useState } from 'preact/hooks';
import { plural } from './format.js';
import { html } from './draw/svg.js';
import { PRESSED, properties, RULES } from './draw/theme.js';
import { encode } from './link.js';
import { AuditPanel, CountsPanel, StructPanel, TlbPanel, WalkPanel } from './panels/details.js';
import { ConsolePanel } from './panels/console.js';
import { ExercisesPanel } from './panels/exercises.js';
import { GuidePanel } from './panels/guide.js';
import { HistoryPanel } from './panels/history.js';
import { MachinePanel } from './panels/machine.js';
import { LensPanel, MapPanel } from './panels/map.js';

const MEMMAPS = ['self', 'self-range', 'ram', 'demand'];
const BUGS = ['none', 'stale-section', 'free-neighbour', 'altmap-leak', 'altmap-as-ram', 'free-memmap', 'head-on-image', 'lend-twice', 'image-dirty',
  'empty-table', 'skip-tlbi', 'skip-populate-tlbi', 'no-bbm', 'lost-page', 'share-early', 'veto-range', 'keep-memmap', 'keep-private', 'shared-block', 'keep-linear'];

function Choice({ name, label, values, value }) {
  return html`<label>${label} <select name=${name} defaultValue=${value}>${values.map((one) => html`<option value=${one} selected=${one === value}>${one}</option>`)}</select></label>`;
}

/** The form for another machine. */
function NewMachine({ session, setSecret }) {
  const dialog = useRef(null);
  const boot = (event) => {
    const form = Object.fromEntries(new FormData(event.target));
    const args = [`memmap=${form.memmap}`, form.boot_memmap !== 'ram' && `boot_memmap=${form.boot_memmap}`, form.bug !== 'none' && `bug=${form.bug}`, form.more].filter(Boolean).join(' ');
    setSecret(false);
    session.start({ args, granule: form.granule, memory: form.memory, ...(form.virtio && { virtio_mem: [form.virtio] }), pmem: form.pmem ? [form.pmem] : [] });
  };
  return html`<button type="button" onClick=${() => dialog.current.showModal()}>New machine</button>
    <dialog ref=${dialog} aria-labelledby="new-title"><form method="dialog" onSubmit=${boot}><h2 id="new-title">New machine</h2>
      <${Choice} name="granule" label="Granule" values=${['4k', '16k', '64k']} value="4k"/>
      <${Choice} name="memory" label="Boot RAM" values=${['512M', '1G', '2G', '4G', '16G', '64G']} value="1G"/>
      <${Choice} name="memmap" label="memmap= of added memory" values=${MEMMAPS} value="self"/>
      <${Choice} name="boot_memmap" label="boot_memmap=" values=${['ram', 'self', 'demand']} value="ram"/>
      <${Choice} name="virtio" label="virtio-mem region" values=${['', '1G', '4G', '16G']} value=""/>
      <${Choice} name="pmem" label="Persistent memory at 256 GiB" values=${['', '1G', '4G']} value="1G"/>
      <${Choice} name="bug" label="bug=" values=${BUGS} value="none"/>
      <label>Other boot arguments <input name="more" class="mono"/></label>
      <div class="row"><button type="submit" value="boot">Boot</button><button type="button" onClick=${() => dialog.current.close()}>Cancel</button></div></form></dialog>`;
}

function Theme() {
  const choose = (event) => {
    if (event.target.value === 'system') delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = event.target.value;
  };
  return html`<label class="theme">Theme <select onChange=${choose}><option>system</option><option>light</option><option>dark</option></select></label>`;
}

/** Puts the session into the address, and copies it. */
function Link({ session }) {
  const [said, setSaid] = useState('');
  const copy = async () => {
    const address = location.href.replace(/#.*/, '') + await encode(session);
    try {
      await navigator.clipboard.writeText(address);
      setSaid('Copied.');
    } catch {
      setSaid('The address bar has it.');
    }
  };
  return html`<button type="button" onClick=${copy}>Copy link</button><span role="status" class="said">${said}</span>`;
}

/** Keeps the fragment of the address up to date. */
function useFragment(session) {
  const key = JSON.stringify([session.requests, session.at, session.picked && session.look]);
  useEffect(() => {
    if (!session.source.can.act || session.at < 0) return;
    encode(session).then((fragment) => history.replaceState(null, '', fragment));
  }, [key]);
}

function Summary({ session: { state } }) {
  if (!state) return null;
  return html`<p class="summary">${state.granule / 1024}K pages, ${state.va_bits} VA bits, memmap=${state.args?.memmap ?? '?'}</p>`;
}

/** The audit in two words. */
function Verdict({ session: { views: { audit } } }) {
  if (!audit || audit.error) return null;
  return html`<a class=${`chip ${audit.clean ? 'good' : 'bad'}`} href="#audit" onClick=${(event) => { event.preventDefault(); document.getElementById('audit').scrollIntoView(); }}>audit: ${audit.clean ? 'clean' : plural(audit.findings.length, 'finding')}</a>`;
}

export function App({ session, notice }) {
  const [, redraw] = useReducer((n) => n + 1, 0);
  const [secret, setSecret] = useState(false);
  useEffect(() => {
    session.changed = redraw;
    redraw();
  }, [session]);
  useFragment(session);
  const act = session.source.can.act;
  return html`<style>${properties()}${RULES}${PRESSED}</style>
    <a class="skip" href="#prompt-line" onClick=${(event) => { event.preventDefault(); document.getElementById('prompt-line')?.focus(); }}>Skip to the prompt</a>
    <header class="top"><h1>hotmap <span>${act ? 'playground' : 'watch'}</span></h1><${Summary} session=${session}/><${Verdict} session=${session}/>
      <div class="tools">${act && html`<${NewMachine} session=${session} setSecret=${setSecret}/><${Link} session=${session}/>`}<${Theme}/></div></header>
    ${(notice || session.failure) && html`<p class="notice bad" role="alert">${notice || session.failure}</p>`}
    <main aria-busy=${session.busy ? 'true' : 'false'}>
      <div class="side"><${MachinePanel} session=${session}/><${ExercisesPanel} session=${session} setSecret=${setSecret}/></div>
      <div class="centre"><${GuidePanel} session=${session}/><${HistoryPanel} session=${session} secret=${secret}/><${MapPanel} session=${session}/><${LensPanel} session=${session}/>
        <div class="pair"><${CountsPanel} session=${session}/><${AuditPanel} session=${session}/></div><${ConsolePanel} session=${session} secret=${secret}/></div>
      <div class="details"><${WalkPanel} session=${session}/><${StructPanel} session=${session}/><${TlbPanel} session=${session}/></div>
    </main>`;
}
