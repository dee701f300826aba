// A session: the requests so far, the one that is shown, and what the machine answers. No drawing.

import { num } from './format.js';

/** Views that every picture needs; the others are asked for when something is chosen. */
const ALWAYS = ['memory', 'vmemmap', 'tables', 'tlb', 'audit'];

/** The machine of a page that is opened without a link. */
export const FIRST = { do: 'boot', args: 'memmap=self', granule: '4k', memory: '1G', slots: 8 };

export class Session {
  /** `source` answers requests; `changed()` is called when there is something new to draw. */
  constructor(source, changed = () => {}) {
    Object.assign(this, { source, changed, requests: [], answers: [], at: -1, look: null, step: null, views: {}, state: null, trace: null, busy: false, failure: null });
  }

  /** The answers up to the one that is shown. */
  get shown() {
    return this.answers.slice(0, this.at + 1);
  }

  get boot() {
    return this.requests[0];
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
    return this.#alone(() => this.#replay([{ ...FIRST, ...request, do: 'boot' }], 0));
  }

  /** Takes over a session, from a link. */
  open({ requests, at, look }) {
    this.look = look;
    return this.#alone(() => this.#replay(requests, at));
  }

  /** Runs a request behind the one that is shown. What came after it is dropped. Returns its answer. */
  run(request) {
    return this.#alone(async () => {
      this.requests.length = this.at + 1;
      this.answers.length = this.at + 1;
      const answer = await this.source.ask(request);
      this.requests.push(request);
      this.answers.push(answer);
      this.at += 1;
      this.step = null;
      await this.#look();
      return answer;
    });
  }

  /** Shows the machine after request `at`. Going back boots again and runs the requests up to there. */
  goto(at) {
    const to = Math.min(Math.max(at, 0), this.requests.length - 1);
    return this.#alone(() => (to === this.at ? null : this.#replay(this.requests, to)));
  }

  /** Shows the machine after sub-step `step` of the request that is shown; null: after all of them. */
  goStep(step) {
    this.step = step;
    return this.#alone(() => this.#look());
  }

  /** Chooses a page or an address: "pfn:..." or "addr:...". */
  choose(look) {
    this.look = look;
    return this.#alone(() => this.#chosen());
  }

  /** Asks again for what is shown: a live guest has changed. */
  refresh() {
    return this.#alone(() => this.#look());
  }

  async #replay(requests, to) {
    const forward = requests === this.requests && to > this.at && this.at >= 0;
    const answers = forward ? this.answers.slice(0, this.at + 1) : [];
    for (let next = answers.length; next <= to; next += 1) answers.push(await this.source.ask(requests[next]));
    Object.assign(this, { requests, answers: [...answers, ...(requests === this.requests ? this.answers.slice(to + 1) : [])], at: to, step: null });
    await this.#look();
  }

  /** A view, or {error}. A view that the source does not know is a message, not a failure. */
  async #view(name, of) {
    const request = { do: 'view', name, ...(of && { of }), ...(this.step !== null && { at: this.step }) };
    const answer = await this.source.ask(request);
    return answer.ok ? answer.view : { error: answer.error ?? 'no answer' };
  }

  async #look() {
    const began = performance.now();
    const state = await this.source.ask({ do: 'state' });
    this.failure = state.ok ? null : state.error;
    if (state.ok) this.state = state.state;
    if (this.source.can.step) {
      const trace = await this.source.ask({ do: 'trace' });
      this.trace = trace.ok && trace.steps?.length ? trace : null;
    }
    const views = {};
    for (const name of ALWAYS) views[name] = await this.#view(name);
    this.views = { ...this.views, ...views };
    this.look ??= this.#first();
    await this.#chosen();
    this.asked = performance.now() - began;
  }

  /** What is chosen at first: a page of the newest block, in whose memmap there is most to see. */
  #first() {
    const block = this.state?.blocks?.at(-1);
    return block ? `addr:${block.usable_start ?? block.start}` : null;
  }

  async #chosen() {
    if (!this.look) return;
    const [walk, page] = [await this.#view('walk', this.look), await this.#view('page', this.look)];
    this.views = { ...this.views, walk, page };
  }

  /** The physical address that is chosen, or -1: an address of the upper half has none here. */
  get address() {
    const [kind, value] = (this.look ?? '').split(':');
    if (!value) return -1;
    const number = num(value);
    if (kind === 'pfn') return number * (this.state?.granule ?? 4096);
    return number < 2 ** 52 ? number : -1;
  }
}
