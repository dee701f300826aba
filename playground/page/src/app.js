// The page.

import { useEffect, useReducer, useState } from 'preact/hooks';
import { plural } from './format.js';
import { html } from './draw/svg.js';
import { PRESSED, properties, RULES } from './draw/theme.js';
import { encode } from './link.js';
import { AuditPanel, CountsPanel, StructPanel, TlbPanel, WalkPanel } from './panels/details.js';
import { NewMachine } from './panels/boot.js';
import { Busy, Notice } from './panels/busy.js';
import { ConsolePanel } from './panels/console.js';
import { ExercisesPanel } from './panels/exercises.js';
import { GuidePanel } from './panels/guide.js';
import { HistoryPanel } from './panels/history.js';
import { MachinePanel } from './panels/machine.js';
import { LensPanel, MapPanel } from './panels/map.js';
import { WordsPanel } from './panels/words.js';

function Theme() {
  const choose = (event) => {
    if (event.target.value === 'system') delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = event.target.value;
  };
  return html`<label class="theme">Theme <select onChange=${choose}><option>system</option><option>light</option><option>dark</option></select></label>`;
}

/** The fragment of a session, or null when it is too long for one. */
const fragmentOf = (session) => encode(session).catch(() => null);

/** Puts the session into the address, and copies it. */
function Link({ session }) {
  const [said, setSaid] = useState('');
  const copy = async () => {
    const fragment = await fragmentOf(session);
    if (!fragment) return setSaid('The session is too long for a link.');
    const address = location.href.replace(/#.*/, '') + fragment;
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
  const key = JSON.stringify([session.requests, session.at, session.picked && session.look, session.secret, session.notice]);
  useEffect(() => {
    if (!session.source.can.act || session.at < 0) return;
    fragmentOf(session).then((fragment) => { if (fragment) history.replaceState(null, '', fragment); });
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

export function App({ session }) {
  const [, redraw] = useReducer((n) => n + 1, 0);
  useEffect(() => {
    session.changed = redraw;
    redraw();
  }, [session]);
  useFragment(session);
  const act = session.source.can.act;
  return html`<style>${properties()}${RULES}${PRESSED}</style>
    <a class="skip" href="#prompt-line" onClick=${(event) => { event.preventDefault(); document.getElementById('prompt-line')?.focus(); }}>Skip to the prompt</a>
    <a class="skip" href="#map" onClick=${(event) => { event.preventDefault(); document.querySelector('#map .focus')?.focus(); }}>Skip to memory</a>
    <header class="top"><h1>hotmap <span>${act ? 'playground' : 'watch'}</span></h1><${Summary} session=${session}/><${Verdict} session=${session}/>
      <div class="tools">${act && html`<${NewMachine} session=${session}/><${Link} session=${session}/>`}<${Theme}/></div></header>
    <${Busy} session=${session}/><${Notice} session=${session}/>
    <main aria-busy=${session.busy ? 'true' : 'false'}>
      <div class="side"><${MachinePanel} session=${session}/><${ExercisesPanel} session=${session}/><${WordsPanel}/></div>
      <div class="centre"><${GuidePanel} session=${session}/><${HistoryPanel} session=${session} secret=${session.secret}/><${MapPanel} session=${session}/><${LensPanel} session=${session}/>
        <div class="pair"><${CountsPanel} session=${session}/><${AuditPanel} session=${session}/></div><${ConsolePanel} session=${session} secret=${session.secret}/></div>
      <div class="details"><${WalkPanel} session=${session}/><${StructPanel} session=${session}/><${TlbPanel} session=${session}/></div>
    </main>`;
}
