// A session as the fragment of an address: `#s=` and the requests, as JSON, deflated, base64url. `#j=` is not deflated.

/** A link has at most this many requests, and this many bytes of JSON: it may come from anywhere. */
const MOST = { requests: 500, bytes: 100_000 };

/** What a reader is told of a link that is refused. */
class Refusal extends Error {}

const TOO_LONG = 'it is too long';
const DAMAGED = 'it is damaged, or a part of it is missing';

const toBase64url = (data) => btoa(String.fromCharCode(...data)).replaceAll('+', '-').replaceAll('/', '_').replace(/=+$/, '');

const fromBase64url = (text) => Uint8Array.from(atob(text.replaceAll('-', '+').replaceAll('_', '/')), (c) => c.charCodeAt(0));

/** Passes bytes through a stream; fails above `most` bytes. */
async function through(data, stream, most = Infinity) {
  const reader = new Blob([data]).stream().pipeThrough(stream).getReader();
  const parts = [];
  let total = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    total += value.length;
    if (total > most) {
      await reader.cancel();
      throw new Refusal(TOO_LONG);
    }
    parts.push(...value);
  }
  return Uint8Array.from(parts);
}

/** Short forms: a line is text, a monitor's line begins with "(qemu) ", boot stays an object. */
const short = (request) => (request.do === 'line' ? request.text : request.do === 'monitor' ? `(qemu) ${request.text}` : request);

const isText = (value) => typeof value === 'string';
const isTexts = (value) => Array.isArray(value) && value.every(isText);

/** The fields of a boot request (playground/src/request.rs), by name: what they may be, and what they are when they are missing. */
const FIELDS = {
  args: [isText, ''],
  granule: [isText, '4k'],
  memory: [isText, '1G'],
  nodes: [isTexts],
  slots: [(value) => Number.isInteger(value) && value >= 0 && value < 2 ** 32],
  virtio_mem: [isTexts],
  pmem: [isTexts],
  pmem_behind_ram: [(value) => typeof value === 'boolean'],
};

/** A boot request of a link with the fields that are known, of their types. */
function bootOf(entry) {
  const found = { do: 'boot' };
  for (const [name, [is, missing]] of Object.entries(FIELDS)) {
    const value = entry[name] ?? missing;
    if (value === undefined) continue;
    if (!is(value)) throw new Refusal(`its machine has no such ${name}: ${JSON.stringify(value).slice(0, 40)}`);
    found[name] = value;
  }
  return found;
}

function long(entry, at) {
  if (isText(entry) && at > 0) {
    return entry.startsWith('(qemu) ') ? { do: 'monitor', text: entry.slice(7) } : { do: 'line', text: entry };
  }
  if (at === 0 && entry?.do === 'boot') return bootOf(entry);
  throw new Refusal(`its entry ${at} is not a request`);
}

/** The fragment of a session: {requests, at, look, secret}. `secret`: the boot arguments are not to be shown. Throws if it is too long. */
export async function encode({ requests, at, look, secret, picked = true }) {
  const data = new TextEncoder().encode(JSON.stringify({ v: 1, at, look: picked ? look : null, ...(secret && { secret }), do: requests.map(short) }));
  if (requests.length > MOST.requests || data.length > MOST.bytes) throw new Refusal(TOO_LONG);
  if (typeof CompressionStream === 'undefined') return `#j=${toBase64url(data)}`;
  return `#s=${toBase64url(await through(data, new CompressionStream('deflate-raw')))}`;
}

/** The JSON of a fragment. */
async function jsonOf(kind, text) {
  const data = fromBase64url(text);
  const plain = kind === 's' ? await through(data, new DecompressionStream('deflate-raw'), MOST.bytes) : data;
  if (plain.length > MOST.bytes) throw new Refusal(TOO_LONG);
  return JSON.parse(new TextDecoder().decode(plain));
}

/** The session of a fragment, or null if it has none. Throws if it has a broken one; the error's message is for the reader. */
export async function decode(fragment) {
  const [, kind, text] = /^#([sj])=(.*)$/s.exec(fragment) ?? [];
  if (!kind) return null;
  const found = await jsonOf(kind, text).catch((error) => { throw error instanceof Refusal ? error : new Refusal(DAMAGED); });
  const { v, at, look, secret, do: entries } = found ?? {};
  if (v !== 1 || !Array.isArray(entries) || !entries.length) throw new Refusal('it has no session');
  if (entries.length > MOST.requests) throw new Refusal(TOO_LONG);
  const requests = entries.map(long);
  const last = requests.length - 1;
  return { requests, at: Number.isInteger(at) ? Math.min(Math.max(at, 0), last) : last, look: isText(look) ? look : null, secret: secret === true };
}
