// The history of the session, and the sub-steps of the operation that is shown.

import { html } from '../draw/svg.js';
import { big, count, hex, size } from '../format.js';
import { shownArgs } from '../exercises.js';
import { Panel } from './common.js';

/** A request as it is typed. */
export const nameOf = (request, secret) => (request.do === 'boot' ? `boot ${shownArgs(request, secret)}` : `${request.do === 'monitor' ? '(qemu)' : 'hotmap>'} ${request.text}`);

/** One event of a sub-step, in words. The break-before-make rule is in parentheses. */
export function eventText(event) {
  switch (event.kind) {
    case 'write': return `entry of level ${event.level} for ${event.va}: ${event.old} → ${event.new}${event.times ? `, reached ${event.times} times` : ''}${event.rule ? ` (${event.rule})` : ''}`;
    case 'build': return `entry at ${event.pa}, to which no table leads: ${event.old} → ${event.new}`;
    case 'tlbi': return `tlbi: the TLBs forget ${event.all ? 'all' : `${event.va}${event.bytes ? `, ${size(event.bytes)}` : ''}`}`;
    case 'dsb': return 'dsb: from here on each CPU sees it';
    case 'open': return `readers of ${event.va}, ${size(event.bytes)}, wait from here on`;
    case 'close': return 'readers go on';
    case 'stale': return `a TLB may still lead ${event.va}${event.bytes ? `, ${size(event.bytes)},` : ''} to ${event.pa ?? 'what was there'}: stale`;
    case 'ask': return `fails: ${event.what}`;
    case 'ram': return `memory ${event.pa}, ${size(event.bytes)}: ${event.there ? 'is there' : 'is gone'}`;
    case 'violation': return `breaks ${event.rule}: ${event.va} → ${event.pa}`;
    default: return `${event.kind}${event.va ? ` ${event.va}` : ''}`;
  }
}

/** Whether an event is what must not happen. A stale entry must only not be used. */
const isBad = (event) => event.kind === 'violation' || event.legal === false || event.failed === true;

const EVENTS = 8;

/** What to look at to see an event: the page whose struct page is there, or the address itself. */
function placeOf({ va }, { vmemmap } = {}) {
  const [at, start] = [big(va), big(vmemmap?.start)];
  return at >= start && start > 0n ? `pfn:${hex(vmemmap.first_pfn + Number((at - start) / BigInt(vmemmap.page_bytes)))}` : `addr:${va}`;
}

function Event({ event, session }) {
  const look = () => session.choose(placeOf(event, session.state));
  const text = eventText(event);
  return html`<li class=${isBad(event) ? 'bad' : event.kind === 'stale' ? 'warn' : null}>${event.va ? html`<button type="button" class="plain mono" title="look there" onClick=${look}>${text}</button>` : text}</li>`;
}

function Events({ step, session }) {
  // What was asked for and given says nothing here.
  const events = (step?.events ?? []).filter((event) => event.kind !== 'ask' || event.failed);
  if (!events.length) return null;
  const rest = events.length + (step.more ?? 0) - EVENTS;
  return html`<ul class="events mono">${events.slice(0, EVENTS).map((event) => html`<${Event} event=${event} session=${session}/>`)}
    ${rest > 0 && html`<li>${count(rest)} more</li>`}</ul>`;
}

/** Steps that are listed: those around the one that is shown. */
const LISTED = 10;

function Steps({ session }) {
  const { trace } = session;
  if (!trace) return null;
  const last = trace.steps.length - 1;
  const at = session.step ?? last;
  const go = (step) => session.goStep(step >= last ? null : Math.max(step, -1));
  const first = Math.max(0, Math.min(at - LISTED / 2, last + 1 - LISTED));
  const listed = trace.steps.slice(first, first + LISTED);
  return html`<div class="steps" role="group" aria-label="Sub-steps"><div class="turns">
    <button type="button" onClick=${() => go(-1)} disabled=${at < 0 || session.busy}>To the start</button>
    <button type="button" onClick=${() => go(at - 1)} disabled=${at < 0 || session.busy}>Step back</button>
    <button type="button" onClick=${() => go(at + 1)} disabled=${at >= last || session.busy}>Step forward</button>
    <button type="button" onClick=${() => go(last)} disabled=${at >= last || session.busy}>To the end</button>
    <span role="status">${at < 0 ? `before the first of ${last + 1} steps` : `after step ${at + 1} of ${last + 1}: ${trace.steps[at].step}`}</span></div>
    <ol start=${first + 1}>${first > 0 && html`<li class="quiet" aria-hidden="true">…</li>`}${listed.map(({ step }, n) => html`<li class=${first + n > at ? 'later' : step.startsWith('undo') ? 'undo' : null} aria-current=${first + n === at ? 'step' : undefined}>
      <button type="button" class="plain" onClick=${() => go(first + n)}>${step}</button></li>`)}${first + LISTED <= last && html`<li class="quiet" aria-hidden="true">…</li>`}</ol>
    ${trace.undone && html`<p class="bad">The operation failed, and its steps were undone: their inverses follow them.</p>`}
    <${Events} step=${trace.steps[at]} session=${session}/></div>`;
}

export function HistoryPanel({ session, secret }) {
  const { requests, at } = session;
  if (!session.source.can.act) return null;
  const name = requests[at] ? nameOf(requests[at], secret) : '';
  const slider = html`<div class="slider"><button type="button" aria-label="Back in history" disabled=${at <= 0 || session.busy} onClick=${() => session.goto(at - 1)}>◀</button>
    <input type="range" min="0" max=${Math.max(requests.length - 1, 0)} value=${at} aria-label="Moment of the session" aria-valuetext=${`${at + 1} of ${requests.length}: ${name}`}
      onInput=${(event) => session.goto(Number(event.target.value))}/>
    <button type="button" aria-label="Forward in history" disabled=${at >= requests.length - 1 || session.busy} onClick=${() => session.goto(at + 1)}>▶</button>
    <output>${at + 1} of ${requests.length}: <code>${name}</code></output></div>`;
  return html`<${Panel} name="history" title="History" tools=${slider}><${Steps} session=${session}/><//>`;
}
