// Where a machine is: in this page (wasm), or behind a server (make watch). Both answer the same requests.

/** An answer to a request that cannot be answered. */
const refusal = (error) => ({ ok: false, error: String(error?.message ?? error) });

/** The code of the machine in the page: base64 of deflated bytes, as build.js writes it. */
export async function inflate(base64) {
  const data = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  return new Response(new Blob([data]).stream().pipeThrough(new DecompressionStream('deflate-raw'))).arrayBuffer();
}

/** The emulated machine, compiled to WebAssembly. `boot` makes a new instance: a machine that trapped leaves nothing. */
export class WasmSource {
  /** `module` is a WebAssembly.Module. */
  constructor(module) {
    this.module = module;
    this.live = false;
    this.can = { act: true, step: true };
  }

  static async from(code) {
    return new WasmSource(await WebAssembly.compile(code));
  }

  /** Answers a request: an object with the field `do`. Never throws. */
  async ask(request) {
    try {
      if (request.do === 'boot' || !this.exports) this.exports = (await WebAssembly.instantiate(this.module, {})).exports;
      return this.#call(request);
    } catch (error) {
      const said = this.#panic() ?? error.message;
      this.exports = null;
      return refusal(`the machine has stopped: ${said}; go back in history, or boot`);
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
    return JSON.parse(reply);
  }
}

/** A guest under QEMU, behind the server of `make watch`. It is only looked at. */
export class HttpSource {
  constructor(base = '') {
    this.base = base;
    this.live = true;
    this.can = { act: false, step: false };
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
