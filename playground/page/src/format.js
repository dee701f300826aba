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

/** A count with thin groups: 262,144. */
export const count = (value) => Number(value).toLocaleString('en-US');

export const plural = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;

/** "page addr:0x80000000", "0x80000", "pfn:0x80000": what `of` of a view takes, or null. */
export function target(text) {
  const word = text.trim().toLowerCase();
  const match = /^(?:(addr|pfn):)?(0x[0-9a-f_]+|[0-9]+)$/.exec(word);
  return match ? `${match[1] ?? 'addr'}:${match[2]}` : null;
}

/** Any text as one line for a title or a label. */
export const sentence = (parts) => parts.filter(Boolean).join(', ');
