// What runs, while it runs: a sign with a button that stops it.

import { useEffect, useReducer } from 'preact/hooks';
import { html } from '../draw/svg.js';
import { nameOf } from './history.js';

/** Milliseconds: what takes less shows no sign; what takes longer shows how far it is. */
const SHOWN = 150;
const LONG = 2000;

/** What is said of {request, at, of, since}. */
function words({ request, at, of, since }, secret) {
  const took = performance.now() - since;
  const part = of > 1 && took > LONG ? `${at} of ${of}: ` : '';
  return html`Running ${part}<code>${nameOf(request, secret)}</code>${took > LONG && html` <span class="quiet">${Math.round(took / 1000)} s</span>`}`;
}

export function Busy({ session }) {
  const [ticks, tick] = useReducer((n, reset) => (reset ? 0 : n + 1), 0);
  useEffect(() => {
    if (!session.busy) return undefined;
    tick(true);
    const timer = setInterval(() => tick(false), SHOWN);
    return () => clearInterval(timer);
  }, [session.busy]);
  const shown = session.busy && ticks > 0;
  const { running } = session;
  return html`<div class="working" role="status" hidden=${!shown}>${shown && html`<span>${running ? words(running, session.secret) : 'Looking at the machine'}</span>
    ${session.source.can.stop && html`<button type="button" onClick=${() => session.stop()}>Stop</button>`}`}</div>`;
}

/** What went wrong, once for the whole page, with the way back. */
export function Notice({ session }) {
  const { failure, notice, stopped, secret } = session;
  if (failure?.request) {
    const back = failure.request.do === 'boot' ? 'Boot the first machine' : 'Go back';
    return html`<div class="notice bad" role="alert"><p><code>${nameOf(failure.request, secret)}</code>: ${failure.error}.</p>
      <button type="button" disabled=${session.busy} onClick=${() => session.recover()}>${back}</button></div>`;
  }
  if (notice || failure) {
    return html`<div class="notice bad" role="alert"><p>${notice || failure.error}</p>
      ${failure && session.source.can.act && html`<button type="button" disabled=${session.busy} onClick=${() => session.recover()}>Run it again</button>`}</div>`;
  }
  if (stopped) return html`<div class="notice" role="status"><p>Stopped: <code>${nameOf(stopped, secret)}</code>. The machine is as it was before.</p></div>`;
  return null;
}
