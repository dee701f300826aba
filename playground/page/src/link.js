// A session as the fragment of an address: `#s=` and the requests, as JSON, deflated, base64url. `#j=` is not deflated.

/** A link has at most this many requests, and this many characters of JSON: it may come from anywhere. */
const MOST = { requests: 500, characters: 100_000 };

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
      throw new Error('it is too long');
    }
    parts.push(...value);
  }
  return Uint8Array.from(parts);
}

/** Short forms: a line is text, a monitor's line begins with "(qemu) ", boot stays an object. */
const short = (request) => (request.do === 'line' ? request.text : request.do === 'monitor' ? `(qemu) ${request.text}` : request);

function long(entry, at) {
  if (typeof entry === 'string' && at > 0) {
    return entry.startsWith('(qemu) ') ? { do: 'monitor', text: entry.slice(7) } : { do: 'line', text: entry };
  }
  if (at === 0 && entry?.do === 'boot') return entry;
  throw new Error(`entry ${at} is not a request`);
}

/** The fragment of a session: {requests, at, look, secret}. `secret`: the boot arguments are not to be shown. */
export async function encode({ requests, at, look, secret, picked = true }) {
  const data = new TextEncoder().encode(JSON.stringify({ v: 1, at, look: picked ? look : null, ...(secret && { secret }), do: requests.map(short) }));
  if (typeof CompressionStream === 'undefined') return `#j=${toBase64url(data)}`;
  return `#s=${toBase64url(await through(data, new CompressionStream('deflate-raw')))}`;
}

/** The session of a fragment, or null if it has none. Throws if it has a broken one. */
export async function decode(fragment) {
  const match = /^#([sj])=([\w-]+)$/.exec(fragment);
  if (!match) return null;
  let data = fromBase64url(match[2]);
  if (match[1] === 's') data = await through(data, new DecompressionStream('deflate-raw'), MOST.characters);
  if (data.length > MOST.characters) throw new Error('it is too long');
  const { v, at, look, secret, do: entries } = JSON.parse(new TextDecoder().decode(data));
  if (v !== 1 || !Array.isArray(entries) || !entries.length || entries.length > MOST.requests) throw new Error('it has no session');
  const requests = entries.map(long);
  return { requests, at: Number.isInteger(at) ? Math.min(Math.max(at, 0), requests.length - 1) : requests.length - 1, look: typeof look === 'string' ? look : null, secret: secret === true };
}
