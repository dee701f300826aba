// Two prompts: the kernel's shell, and the monitor, where the VMM plugs and unplugs. What they printed, above.

import { useEffect, useRef, useState } from 'preact/hooks';
import { html } from '../draw/svg.js';
import { shownArgs } from '../exercises.js';
import { Panel } from './common.js';
import { Word } from './words.js';

const PROMPTS = { line: 'hotmap>', monitor: '(qemu)' };

/** Rules of the architecture that the emulated machine saw broken: the first of them. */
const broken = (violations) => [...violations.slice(0, 4).map((one) => `the machine: ${one}`), violations.length > 4 && `the machine: ${violations.length - 4} more like these`];

/** The text of one answer: what was printed, and what the kernel logged. */
const printed = (answer) => [answer.log, answer.text, ...broken(answer.violations ?? []), answer.ok ? '' : `error: ${answer.error}`]
  .filter(Boolean).map((part) => part.trimEnd()).join('\n');

function Entry({ request, answer, secret }) {
  const typed = request.do === 'boot' ? `boot: ${request.granule} pages, ${request.memory}, ${shownArgs(request, secret)}` : `${PROMPTS[request.do]} ${request.text}`;
  const bad = !answer.ok || answer.status > 0;
  const text = secret ? printed(answer).replace(/^bug=.*$/m, 'bug=?: breaks an invariant on purpose') : printed(answer);
  return html`<div class="entry"><div class="typed mono">${typed}</div><pre class=${bad ? 'bad' : ''}>${text}</pre></div>`;
}

/** Words that are offered. */
const OFFERS = 20;

function Prompt({ kind, session, history }) {
  const [text, setText] = useState('');
  const [back, setBack] = useState(0);
  const [offers, setOffers] = useState([]);
  const older = (step) => {
    const next = Math.min(Math.max(back + step, 0), history.length);
    setBack(next);
    setText(next ? history[history.length - next] : '');
  };
  const submit = (event) => {
    event.preventDefault();
    if (!text.trim()) return;
    session.run({ do: kind, text: text.trim() });
    setText('');
    setBack(0);
  };
  const onKeyDown = (event) => {
    if (event.key !== 'ArrowUp' && event.key !== 'ArrowDown') return;
    event.preventDefault();
    older(event.key === 'ArrowUp' ? 1 : -1);
  };
  // What the shell's Tab key offers, as the browser offers words: Tab itself leads to the next field.
  const onInput = async ({ target }) => {
    setText(target.value);
    if (kind !== 'line') return;
    const command = /[^;]*$/.exec(target.value)[0].trimStart();
    const [begun] = /\S*$/.exec(command);
    const before = target.value.slice(0, target.value.length - begun.length);
    const words = command ? await session.complete(command) : [];
    setOffers(words.filter((word) => word.startsWith(begun)).slice(0, OFFERS).map((word) => before + word));
  };
  const label = kind === 'line' ? 'Command for the kernel\'s shell' : 'Command for the monitor (the VMM)';
  return html`<form class="prompt" onSubmit=${submit}><label class="mono" for=${`prompt-${kind}`}>${PROMPTS[kind]}</label>
    <input id=${`prompt-${kind}`} class="mono" aria-label=${label} value=${text} onInput=${onInput} list=${`offers-${kind}`} onKeyDown=${onKeyDown}
      autocomplete="off" autocapitalize="off" spellcheck="false" placeholder=${kind === 'line' ? 'help, tenant new 500, walk addr:0x80000000, …' : 'plug 1G, unplug 0, virtio-mem 0 2G'}/>
    <datalist id=${`offers-${kind}`}>${offers.map((line) => html`<option value=${line}/>`)}</datalist>
    <button type="submit">Run</button></form>`;
}

const NOTE = html`<code>hotmap></code> is the kernel, <code>(qemu)</code> the monitor, which plugs memory. ACPI_DEVICE_OST is the kernel's <${Word} of="OST"/>; “pending”: it reports again.`;

export function ConsolePanel({ session, secret }) {
  const log = useRef(null);
  const { shown, requests } = session;
  useEffect(() => { log.current.scrollTop = log.current.scrollHeight; }, [shown.length, session.at]);
  const typed = (kind) => requests.filter((request) => request.do === kind).map((request) => request.text);
  return html`<${Panel} name="console" title="Console" note=${NOTE}>
    <div class="log" ref=${log} role="log" aria-live="polite" aria-label="What the machine printed" tabindex="0">
      ${shown.map((answer, at) => html`<${Entry} key=${at} request=${requests[at]} answer=${answer} secret=${secret}/>`)}${session.live?.map((line) => html`<pre>${line}</pre>`)}</div>
    ${session.source.can.act && html`<div class="prompts"><${Prompt} kind="line" session=${session} history=${typed('line')}/><${Prompt} kind="monitor" session=${session} history=${typed('monitor')}/></div>`}<//>`;
}
