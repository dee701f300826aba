// Starts the page: with the machine in it, or, as /?watch, with the guest behind the server that served it.

import { render } from 'preact';
import { App } from './app.js';
import { html } from './draw/svg.js';
import { decode } from './link.js';
import { FIRST, Session } from './session.js';
import { HttpSource, inflate, machineOf } from './source.js';

const root = document.getElementById('page');

/** The session of the address; null when it has none. With `notice` alone: what is wrong with the address, and what `instead` is shown. */
async function linked(instead) {
  try {
    return await decode(location.hash);
  } catch (error) {
    return { notice: `The link cannot be read: ${error.message}. ${instead}` };
  }
}

async function watch() {
  const session = new Session(new HttpSource());
  session.live = [];
  session.source.listen((event) => {
    if (event.log) session.live = [...session.live, event.log].slice(-200);
    session.refresh();
  });
  await session.refresh();
  return session;
}

async function play() {
  const [code, script] = ['machine', 'worker'].map((id) => document.getElementById(id).textContent.trim());
  const session = new Session(await machineOf(await inflate(code), script));
  // Not awaited: the page says what runs, and can stop it.
  session.open({ requests: [FIRST], at: 0, look: null, ...await linked('This is a new machine.') });
  window.addEventListener('hashchange', async () => {
    const other = await linked('This is the session as it was.');
    if (other?.requests) session.open(other);
    else if (other) session.tell(other.notice);
  });
  return session;
}

(new URLSearchParams(location.search).has('watch') ? watch() : play()).then((session) => {
  window.hotmap = session;
  root.replaceChildren();
  render(html`<${App} session=${session}/>`, root);
}, (error) => { root.textContent = `The page cannot start: ${error.message}`; });
