// Where a machine is: in this page (wasm), or behind a server (make watch). Both answer the same requests.

/** An answer to a request that cannot be answered. */
const refusal = (error) => ({ ok: false, error: String(error?.message ?? error) });

/** The answer of a machine that is gone with this request. */
const gone = (why) => ({ ...refusal(`the machine has stopped: ${why}`), gone: true });

/** The code of the machine in the page: base64 of deflated bytes, as build.js writes it. */
export async function inflate(base64) {
  const data = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  return new Response(new Blob([data]).stream().pipeThrough(new DecompressionStream('deflate-raw'))).arrayBuffer();
}

/** What a trap says: an engine's words for a wild access are not the kernel's. */
function why(error, panic) {
  if (panic) return panic.replace(/^panicked at \S*exit\.rs:\S+\s/, '');
  return error instanceof WebAssembly.RuntimeError && /bounds/.test(error.message) ? 'it accessed an address that is not mapped' : error.message;
}

/** The emulated machine, compiled to WebAssembly. `boot` makes a new instance: a machine that trapped leaves nothing. */
export class WasmSource {
  /** `module` is a WebAssembly.Module. */
  constructor(module) {
    this.module = module;
    this.live = false;
    this.can = { act: true, step: true, stop: false };
  }

  static async from(code) {
    return new WasmSource(await WebAssembly.compile(code));
  }

  /** Answers a request: an object with the field `do`. Never throws. */
  async ask(request) {
    return JSON.parse(await this.answer(request));
  }

  /** The same as JSON. */
  async answer(request) {
    try {
      if (request.do === 'boot' || !this.exports) this.exports = (await WebAssembly.instantiate(this.module, {})).exports;
      return this.#call(request);
    } catch (error) {
      const said = why(error, this.#panic());
      this.exports = null;
      return JSON.stringify(gone(said));
    }
  }

  /** What a panic said before the trap, or null. */
  #panic() {
    try {
      const at = this.exports?.panicked?.();
      return at ? this.#text(at) : null;
    } catch {
      return null;
    }
  }

  /** The text at `at`: its length, then its bytes. */
  #text(pointer) {
    const at = pointer >>> 0; // above 2 GiB it comes as a negative number
    const { buffer } = this.exports.memory;
    return new TextDecoder().decode(new Uint8Array(buffer, at + 4, new DataView(buffer).getUint32(at, true)));
  }

  #call(request) {
    const text = new TextEncoder().encode(JSON.stringify(request));
    const { memory, alloc, free, call, release } = this.exports;
    const at = alloc(text.length) >>> 0;
    new Uint8Array(memory.buffer, at, text.length).set(text);
    const answer = call(at, text.length);
    free(at, text.length);
    const reply = this.#text(answer);
    release(answer);
    return reply;
  }
}

/** The same machine in a worker: the page answers while it runs, and can stop it. */
export class WorkerSource {
  /** `start` returns a new worker (worker.js), `module` is its WebAssembly.Module. */
  constructor(start, module) {
    Object.assign(this, { start, module, live: false, can: { act: true, step: true, stop: true }, worker: null, waiting: [] });
    /** Called when the machine is gone while nothing waits for it. */
    this.lost = () => {};
  }

  /** `script` is the text of worker.js with what it imports. Throws when the browser allows no such worker. */
  static async from(script, module) {
    const address = URL.createObjectURL(new Blob([script], { type: 'text/javascript' }));
    const source = new WorkerSource(() => new Worker(address), module);
    await source.ask({ do: 'trace' });
    if (!source.worker) throw new Error('no worker');
    return source;
  }

  #begin() {
    this.worker = this.start();
    this.worker.onmessage = ({ data }) => this.waiting.shift()(data);
    this.worker.onerror = (event) => {
      event.preventDefault();
      if (!this.waiting.length) this.lost();
      if (this.worker) this.#end(gone(event.message || 'its worker ended'));
    };
    this.worker.postMessage(this.module);
  }

  /** Ends the worker. What waits for it is answered `answer`. */
  #end(answer) {
    this.worker.terminate();
    this.worker = null;
    for (const resolve of this.waiting.splice(0)) resolve(JSON.stringify(answer));
  }

  /** Answers a request. Never throws once the worker has begun. */
  async ask(request) {
    if (!this.worker) this.#begin();
    const text = await new Promise((resolve) => {
      this.waiting.push(resolve);
      this.worker.postMessage(request);
    });
    return JSON.parse(text);
  }

  /** Ends what runs: it and what waits behind it are answered `stopped`. The next request finds no machine. */
  stop() {
    if (this.worker) this.#end({ ...refusal('stopped'), stopped: true });
  }
}

/** The machine of a page: in a worker, or where the browser allows none, in the page itself. */
export async function machineOf(code, script) {
  const module = await WebAssembly.compile(code);
  return WorkerSource.from(script, module).catch(() => new WasmSource(module));
}

/** A guest under QEMU, behind the server of `make watch`. It is only looked at. */
export class HttpSource {
  constructor(base = '') {
    this.base = base;
    this.live = true;
    this.can = { act: false, step: false, stop: false };
  }

  async ask(request) {
    try {
      const reply = await fetch(`${this.base}/call`, { method: 'POST', body: JSON.stringify(request), headers: { 'content-type': 'application/json' } });
      return await reply.json();
    } catch (error) {
      return refusal(`the server does not answer: ${error.message}`);
    }
  }

  /** Calls `changed(event)` whenever the guest's state has changed. */
  listen(changed) {
    const events = new EventSource(`${this.base}/events`);
    events.onmessage = ({ data }) => changed(JSON.parse(data));
    return () => events.close();
  }
}
