// Numbers and words, as the kernel's shell prints them.

/** A physical address or a pfn as a number: below 2^53. Takes "0x..." and numbers. */
export const num = (value) => (typeof value === 'string' ? Number(value) : value ?? 0);

/** A virtual address as a BigInt: the upper half is above 2^53. */
export const big = (value) => BigInt(value ?? 0);

export const hex = (value) => `0x${BigInt(value).toString(16)}`;

const UNITS = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB'];

/** A size in the largest unit that divides it, else with one decimal. */
export function size(bytes) {
  let value = Number(bytes);
  let unit = 0;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${Number.isInteger(value) ? value : value.toFixed(1)} ${UNITS[unit]}`;
}

/** One formatter for all: `toLocaleString` makes one for each call, which took 24 ms of a picture of 64 GiB. */
const GROUPED = new Intl.NumberFormat('en-US');

/** A count in groups: 262,144. */
export const count = (value) => GROUPED.format(value);

export const plural = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;

const SHIFTS = { '': 0n, K: 10n, M: 20n, G: 30n, T: 40n };

/** A number by the rule of the kernel's shell (kernel/src/number.rs), as a BigInt below 2^64, or null. */
export function parse(text) {
  const [, digits, suffix] = /^(0x[0-9a-f_]*[0-9a-f]_*|_*[0-9][0-9_]*)([kmgt]?)(?:i?b)?$/i.exec(text) ?? [];
  if (!digits || (!suffix && /[^0-9a-fx_]/i.test(text))) return null;
  const value = BigInt(digits.replaceAll('_', '').toLowerCase()) << SHIFTS[suffix.toUpperCase()];
  return value < 2n ** 64n ? value : null;
}

/** The beginning of a text that may be of any length. */
const brief = (text) => (text.length > 40 ? `${text.slice(0, 40)}…` : text);

export const ACCEPTED = 'An address like 0x80000000 or 2G, a page number like pfn:0x80000, decimal or after 0x hexadecimal';

/**
 * What a reader typed to name a page: {of} for a view or {error}. `note` says how digits without 0x were read; `hex` is
 * the same digits after 0x.
 */
export function target(text) {
  const [, kind = 'addr', word] = /^(?:(addr|pfn):)?(.*)$/i.exec(text.trim());
  const name = kind.toLowerCase();
  const value = parse(word);
  const digits = /^[0-9a-f_]*[0-9a-f]$/i.test(word) ? `0x${word.replaceAll('_', '').toLowerCase()}` : '';
  const again = parse(digits) === null ? null : `${name}:${digits}`;
  if (value === null) return { error: `‘${brief(text.trim())}’ is not an address. ${ACCEPTED}.`, hex: again };
  const of = `${name}:${hex(value)}`;
  return again ? { of, note: `${word} was read as decimal: ${hex(value)}.`, hex: again } : { of };
}

/** Any text as one line for a title or a label. */
export const sentence = (parts) => parts.filter(Boolean).join(', ');
