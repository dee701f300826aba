// Starts the page: with the machine in it, or, as /?watch, with the guest behind the server that served it.

import { render } from 'preact';
import { App } from './app.js';
import { html } from './draw/svg.js';
import { decode } from './link.js';
import { FIRST, Session } from './session.js';
import { HttpSource, inflate, machineOf } from './source.js';

const root = document.getElementById('page');

/** The session of the address, or a new machine; `notice` is what is wrong with the address, if something is. */
async function linked() {
  const fresh = { requests: [FIRST], at: 0, look: null };
  try {
    return { wanted: await decode(location.hash) ?? fresh, notice: '' };
  } catch (error) {
    return { wanted: fresh, notice: `The link cannot be read: ${error.message}. This is a new machine.` };
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
  return { session, notice: '' };
}

async function play() {
  const [code, script] = ['machine', 'worker'].map((id) => document.getElementById(id).textContent.trim());
  const session = new Session(await machineOf(await inflate(code), script));
  const { wanted, notice } = await linked();
  // Not awaited: the page says what runs, and can stop it.
  session.open(wanted);
  window.addEventListener('hashchange', async () => {
    const other = await decode(location.hash).catch(() => null);
    if (other && JSON.stringify(other.requests) !== JSON.stringify(session.requests)) session.open(other);
  });
  return { session, notice };
}

(new URLSearchParams(location.search).has('watch') ? watch() : play()).then(({ session, notice }) => {
  window.hotmap = session;
  root.replaceChildren();
  render(html`<${App} session=${session} notice=${notice}/>`, root);
}, (error) => { root.textContent = `The page cannot start: ${error.message}`; });
