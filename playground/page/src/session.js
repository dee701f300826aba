// A session: the requests so far, the one that is shown, and what the machine answers. No drawing.

import { num } from './format.js';

/** Views that every picture needs, and those that only a machine in the page has. The audit is the same after each sub-step. */
const ALWAYS = ['memory', 'vmemmap', 'tables'];
const OWN = ['tlb'];
/** Parts of what was shown that are kept: three for each moment. */
const KEPT = 192;
/** What a request that was stopped throws. */
const STOPPED = new Error('stopped');

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
    Object.assign(this, { source, changed, requests: [], answers: [], at: -1, look: null, picked: false, step: null, views: {}, state: null, trace: null, busy: false, failure: null, secret: false });
    /** What runs: {request, at, of, since}, the `at`th of `of` requests since a moment; null when nothing does. */
    this.running = null;
    /** The request that was stopped, until the next one. */
    this.stopped = null;
    /** What is wrong with the link that was opened, until the next request. */
    this.notice = '';
    /** How many requests were run, for tests. */
    this.ran = 0;
    /** The requests that the machine has answered since it booted. */
    this.done = [];
    /** Whether the machine has stopped while it was looked at. */
    this.lost = false;
    this.moments = new Map();
    source.lost = () => this.#lose();
  }

  /** The answers up to the one that is shown. */
  get shown() {
    return this.answers.slice(0, this.at + 1);
  }

  /** Whether a request can be run: there is a machine, and nothing else runs. */
  get ready() {
    return !this.busy && !this.failure;
  }

  get boot() {
    return this.requests[0];
  }

  /** The physical address that is chosen, or -1: an address of the upper half has none here. */
  get address() {
    const [kind, value] = (this.look ?? '').split(':');
    if (!value) return -1;
    const number = num(value) * (kind === 'pfn' ? this.state?.granule ?? 4096 : 1);
    return number >= 0 && number < 2 ** 52 ? number : -1;
  }

  /** Runs `work` while `busy`; one at a time, in order. When it is stopped, the session is as it was before. */
  #alone(work) {
    const turn = (this.turn ?? Promise.resolve()).then(async () => {
      const { requests, answers, at, look, picked, step, secret } = this;
      const before = { requests, answers: [...answers], at, look, picked, step, secret };
      this.busy = true;
      this.changed();
      try {
        return await work();
      } catch (error) {
        if (error !== STOPPED) throw error;
        if (this.requests !== before.requests) this.stopped ??= this.requests[this.at];
        return await this.#restore(before);
      } finally {
        this.busy = false;
        this.changed();
      }
    });
    this.turn = turn.catch(() => {});
    return turn;
  }

  /** Stops what runs, if the source can. */
  stop() {
    if (!this.busy) return;
    this.stopped = this.running?.request ?? null;
    this.source.stop?.();
  }

  /** The session before what was stopped: it is shown again, and the machine runs again up to there. */
  async #restore(before) {
    const begun = before.at < 0 ? { at: this.done.length - 1, step: null } : before;
    // Stopped again, the machine runs when it is needed; if nothing of it was shown, the first machine is.
    if (begun.at < 0 || !await this.#back(begun) && !this.state) await this.#back({ requests: [FIRST], answers: [], at: 0, step: null });
    return { ok: false, error: STOPPED.message };
  }

  /** Shows the session `begun`, and runs its machine up to there; false if that is stopped too. */
  async #back(begun) {
    Object.assign(this, begun, { done: [] });
    try {
      await this.#show();
      await this.#reach();
      return true;
    } catch (error) {
      if (error !== STOPPED) throw error;
      return false;
    }
  }

  /** Boots another machine: the session begins anew. `secret`: its boot arguments are not shown. */
  start(request, secret = false) {
    return this.open({ requests: [{ ...FIRST, ...request, do: 'boot' }], at: 0, look: null, secret });
  }

  /** Takes over a session, from a link. */
  open({ requests, at, look, secret = false, notice = '' }) {
    return this.#alone(async () => {
      Object.assign(this, { requests, answers: [], at, look, picked: Boolean(look), step: null, done: [], secret, stopped: null, notice });
      await this.#show();
    });
  }

  /** Shows a notice until the next request. */
  tell(notice) {
    return this.#alone(() => { this.notice = notice; });
  }

  /** Runs a request behind the one that is shown. What came after it is dropped. Returns its answer. */
  run(request) {
    return this.#alone(async () => {
      Object.assign(this, { stopped: null, notice: '' });
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
    this.wanted = at;
    return this.#alone(async () => {
      // What ran before it may have dropped requests.
      const to = Math.min(Math.max(at, 0), this.requests.length - 1);
      if (this.wanted !== at || to === this.at) return;
      Object.assign(this, { at: to, step: null, stopped: null });
      await this.#show();
    });
  }

  /** Shows the machine after sub-step `step` of the request that is shown; null: after all of them. */
  goStep(step) {
    const { trace } = this;
    return this.#alone(async () => {
      // The steps of another request have other numbers.
      if (trace !== this.trace) return;
      this.step = step;
      await this.#show();
    });
  }

  /** Chooses a page or an address: "pfn:..." or "addr:...". */
  choose(look) {
    return this.#alone(() => {
      Object.assign(this, { look, picked: true });
      return this.#show();
    });
  }

  /** The number of the last request that is shown after which there is a machine; -1: there was none. */
  get #alive() {
    return this.shown.findLastIndex((answer) => answer.ok);
  }

  /** Shows the last machine that has not stopped; when there was none, the machine of a page without a link. */
  recover() {
    if (this.#alive < 0) return this.start(FIRST);
    return this.#alive === this.at ? this.refresh() : this.goto(this.#alive);
  }

  /** Asks again for what is shown: a live guest has changed. */
  refresh() {
    return this.#alone(() => this.#show());
  }

  /** Asks the machine that is shown. */
  ask(request) {
    return this.#alone(async () => {
      await this.#reach();
      return this.#answer(request);
    });
  }

  /** The words that can complete a command, whatever runs. */
  async complete(text) {
    const answer = await this.source.ask({ do: 'complete', text });
    if (answer.gone) this.#lose();
    return answer.words ?? [];
  }

  /** The machine is gone: its requests run again before the next one. */
  #lose() {
    Object.assign(this, { done: [], lost: true });
    this.moments.clear();
  }

  /** Asks the source. Throws STOPPED. */
  async #answer(request) {
    const answer = await this.source.ask(request);
    if (answer.stopped) throw STOPPED;
    // A request that ends the machine would end it again: it keeps its answer.
    if (answer.gone && request !== this.running?.request) this.#lose();
    return answer;
  }

  /** Makes the machine the one after request `at`: runs what is missing, or boots again and runs all. */
  async #reach() {
    if (this.source.live) return;
    const wanted = this.requests.slice(0, this.at + 1);
    const begun = this.done.length <= wanted.length && this.done.every((request, at) => request === wanted[at]);
    if (!begun) this.done = [];
    const [first, since] = [this.done.length, performance.now()];
    for (let next = first; next < wanted.length; next += 1) {
      this.running = { request: wanted[next], at: next - first + 1, of: wanted.length - first, since };
      this.answers[next] = await this.#answer(wanted[next]).finally(() => { this.running = null; });
      this.done.push(wanted[next]);
    }
  }

  /** A view, or {error}. A view that the source does not know is a message, not a failure. */
  async #view(name, of) {
    const request = { do: 'view', name, ...(of && { of }), ...(this.step !== null && { at: this.step }) };
    const answer = await this.#answer(request);
    if (answer.ok && name === 'audit') return audited(answer.view);
    return answer.ok ? answer.view : { error: answer.error ?? 'no answer' };
  }

  /** Views by name, of `of`. The machine in the page computes one while the page reads the one before. */
  async #views(names, of) {
    const found = {};
    const read = async (name) => { found[name] = await this.#view(name, of); };
    if (this.source.live) for (const name of names) await read(name);
    else await Promise.all(names.map(read));
    return found;
  }

  /** Parts of what is shown, each a list [key, read]; of a machine in the page each is read once for a moment. */
  async #parts(...parts) {
    if (this.source.live) {
      const all = [];
      for (const [, read] of parts) all.push(await read());
      return all;
    }
    const moment = this.requests.slice(0, this.at + 1);
    const keys = parts.map(([key]) => JSON.stringify([key, moment]));
    if (!keys.every((key) => this.moments.has(key))) await this.#reach();
    return Promise.all(parts.map(async ([, read], at) => {
      const part = this.moments.get(keys[at]) ?? await read();
      if (!this.lost) this.moments.set(keys[at], part);
      if (this.moments.size > KEPT) this.moments.delete(this.moments.keys().next().value);
      return part;
    }));
  }

  /** Shows what is chosen; once more if the machine has stopped while it was looked at. */
  async #show() {
    for (let left = 2; left > 0; left -= 1) {
      this.lost = false;
      await this.#look();
      if (!this.lost) break;
    }
  }

  async #look() {
    const began = performance.now();
    if (this.answers.length <= this.at) await this.#reach();
    const [request] = await this.#parts(['request', () => this.#request()]);
    const { audit, ...rest } = request;
    Object.assign(this, rest);
    if (!this.picked && this.state) this.look = this.#first();
    if (this.failure) {
      if (!this.source.live) this.views = {};
      return;
    }
    const { step, look } = this;
    const [views, chosen] = await this.#parts([['all', step], () => this.#views(this.source.live ? ALWAYS : [...ALWAYS, ...OWN])],
      [['chosen', look, step], () => this.#views(['walk', 'page'], look)]);
    this.views = { ...views, ...chosen, ...(audit && { audit }) };
    this.asked = performance.now() - began;
  }

  /** What is the same after each sub-step of a request, and whatever is chosen. */
  async #request() {
    const { live, can } = this.source;
    const state = await this.#answer({ do: 'state' });
    // A guest that does not answer is shown as it was last.
    if (!state.ok) return { state: live ? this.state : null, failure: this.#reason(state), trace: null };
    const [trace, audit] = await Promise.all([can.step ? this.#answer({ do: 'trace' }) : {}, live ? null : this.#view('audit')]);
    return { state: state.state, failure: null, trace: trace.ok && trace.steps?.length ? trace : null, audit };
  }

  /** Why there is no machine, and the request that it did not survive, if it was one. */
  #reason({ error }) {
    const at = this.#alive + 1;
    return { error: this.shown[at]?.error ?? error, request: this.shown[at] && this.requests[at] };
  }

  /** What is looked at until something is chosen: a page of the newest memory. */
  #first() {
    const blocks = this.state?.blocks ?? [];
    const newest = blocks.findLast((one) => one.source !== 'boot')?.source;
    const block = blocks.find((one) => one.source === newest) ?? blocks.at(-1);
    return block ? `addr:${block.usable_start ?? block.start}` : 'pfn:0';
  }
}
