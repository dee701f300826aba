// A session: the requests so far, the one that is shown, and what the machine answers. No drawing.

import { num } from './format.js';

/** Views that every picture needs, and those that only a machine in the page has. */
const ALWAYS = ['memory', 'vmemmap', 'tables'];
const OWN = ['tlb', 'audit'];
/** Moments whose views are kept. */
const KEPT = 64;

/** The machine of a page that is opened without a link. */
export const FIRST = { do: 'boot', args: 'memmap=self', granule: '4k', memory: '1G', slots: 8, pmem: ['1G'] };

/** The view `audit` as {clean, counted, findings: [{invariant, text}]}. */
function audited({ summary, findings = [], ...rest }) {
  const split = (line) => (typeof line === 'string' ? { invariant: /^(I\d)?/.exec(line)[0], text: line.replace(/^I\d: /, '') } : line);
  return { clean: findings.length === 0, counted: summary?.replace(/^clean: /, ''), ...rest, findings: findings.map(split) };
}

export class Session {
  /** `source` answers requests; `changed()` is called when there is something new to draw. */
  constructor(source, changed = () => {}) {
    Object.assign(this, { source, changed, requests: [], answers: [], at: -1, look: null, picked: false, step: null, views: {}, state: null, trace: null, busy: false, failure: null });
    /** How many requests were run, for tests. */
    this.ran = 0;
    /** The requests that the machine has answered since it booted. */
    this.done = [];
    this.moments = new Map();
  }

  /** The answers up to the one that is shown. */
  get shown() {
    return this.answers.slice(0, this.at + 1);
  }

  get boot() {
    return this.requests[0];
  }

  /** The physical address that is chosen, or -1: an address of the upper half has none here. */
  get address() {
    const [kind, value] = (this.look ?? '').split(':');
    if (!value) return -1;
    const number = num(value);
    if (kind === 'pfn') return number * (this.state?.granule ?? 4096);
    return number < 2 ** 52 ? number : -1;
  }

  /** Runs `work` while `busy`; one at a time, in order. */
  #alone(work) {
    const turn = (this.turn ?? Promise.resolve()).then(async () => {
      this.busy = true;
      this.changed();
      try {
        return await work();
      } finally {
        this.busy = false;
        this.changed();
      }
    });
    this.turn = turn.catch(() => {});
    return turn;
  }

  /** Boots another machine: the session begins anew. */
  start(request) {
    return this.open({ requests: [{ ...FIRST, ...request, do: 'boot' }], at: 0, look: null });
  }

  /** Takes over a session, from a link. */
  open({ requests, at, look }) {
    return this.#alone(async () => {
      Object.assign(this, { requests, answers: [], at, look, picked: Boolean(look), step: null, done: [] });
      await this.#show();
    });
  }

  /** Runs a request behind the one that is shown. What came after it is dropped. Returns its answer. */
  run(request) {
    return this.#alone(async () => {
      await this.#reach();
      this.requests = [...this.requests.slice(0, this.at + 1), request];
      this.answers.length = this.at + 1;
      this.at += 1;
      this.step = null;
      await this.#show();
      this.ran += 1;
      return this.answers[this.at];
    });
  }

  /** Shows the machine after request `at`. Of several wishes that wait, the last counts. */
  goto(at) {
    const to = Math.min(Math.max(at, 0), this.requests.length - 1);
    this.wanted = to;
    return this.#alone(async () => {
      if (this.wanted !== to || to === this.at) return;
      this.at = to;
      this.step = null;
      await this.#show();
    });
  }

  /** Shows the machine after sub-step `step` of the request that is shown; null: after all of them. */
  goStep(step) {
    return this.#alone(() => {
      this.step = step;
      return this.#show();
    });
  }

  /** Chooses a page or an address: "pfn:..." or "addr:...". */
  choose(look) {
    return this.#alone(() => {
      Object.assign(this, { look, picked: true });
      return this.#show();
    });
  }

  /** Asks again for what is shown: a live guest has changed. */
  refresh() {
    return this.#alone(() => this.#show());
  }

  /** Asks the machine that is shown. */
  ask(request) {
    return this.#alone(async () => {
      await this.#reach();
      return this.source.ask(request);
    });
  }

  /** Makes the machine the one after request `at`: runs what is missing, or boots again and runs all. */
  async #reach() {
    if (this.source.live) return;
    const wanted = this.requests.slice(0, this.at + 1);
    const begun = this.done.length <= wanted.length && this.done.every((request, at) => request === wanted[at]);
    if (!begun) this.done = [];
    for (let next = this.done.length; next < wanted.length; next += 1) {
      this.answers[next] = await this.source.ask(wanted[next]);
      this.done.push(wanted[next]);
    }
  }

  /** A view, or {error}. A view that the source does not know is a message, not a failure. */
  async #view(name, of) {
    const request = { do: 'view', name, ...(of && { of }), ...(this.step !== null && { at: this.step }) };
    const answer = await this.source.ask(request);
    if (answer.ok && name === 'audit') return audited(answer.view);
    return answer.ok ? answer.view : { error: answer.error ?? 'no answer' };
  }

  /** A part of what is shown, by `read`; of a machine in the page it is read once for each moment. */
  async #moment(key, read) {
    if (this.source.live) return read();
    const name = JSON.stringify([key, this.step, this.requests.slice(0, this.at + 1)]);
    if (!this.moments.has(name)) {
      await this.#reach();
      this.moments.set(name, await read());
      if (this.moments.size > KEPT) this.moments.delete(this.moments.keys().next().value);
    }
    return this.moments.get(name);
  }

  async #show() {
    const began = performance.now();
    if (this.answers.length <= this.at) await this.#reach();
    const all = await this.#moment('all', () => this.#all());
    Object.assign(this, all);
    if (!this.picked) this.look = this.#first();
    const chosen = await this.#moment(this.look, async () => ({ walk: await this.#view('walk', this.look), page: await this.#view('page', this.look) }));
    this.views = { ...all.views, ...chosen };
    this.asked = performance.now() - began;
  }

  /** What is shown whatever is chosen. */
  async #all() {
    const state = await this.source.ask({ do: 'state' });
    const trace = this.source.can.step ? await this.source.ask({ do: 'trace' }) : {};
    const views = {};
    for (const name of this.source.live ? ALWAYS : [...ALWAYS, ...OWN]) views[name] = await this.#view(name);
    return { state: state.ok ? state.state : this.state, failure: state.ok ? null : state.error, trace: trace.ok && trace.steps?.length ? trace : null, views };
  }

  /** What is looked at until something is chosen: a page of the newest memory. */
  #first() {
    const blocks = this.state?.blocks ?? [];
    const newest = blocks.findLast((one) => one.source !== 'boot')?.source;
    const block = blocks.find((one) => one.source === newest) ?? blocks.at(-1);
    return block ? `addr:${block.usable_start ?? block.start}` : 'pfn:0';
  }
}
