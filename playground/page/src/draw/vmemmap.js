// Which frame holds the struct page of a page, by the view `vmemmap`.

import { big, num } from '../format.js';

const STRUCT = 64;

/** Struct pages in one page of vmemmap. */
export const perPage = (pageSize) => pageSize / STRUCT;

/** The range that has the struct page of `pfn`. */
export const rangeOf = (vmemmap, per, pfn) => vmemmap.ranges.find((one) => pfn >= one.struct_of && pfn < one.struct_of + one.pages * per);

/** Whether frames of the range are behind other pages of vmemmap too. */
export const isShared = (range) => Boolean(range.shared || range.same_as) || (range.stride === 0 && range.pages > 1);

/** The pfn whose struct page is at the virtual address `va`. */
const pfnAt = (vmemmap, va) => (vmemmap.first_pfn ?? 0) + Number((va - big(vmemmap.base)) / BigInt(STRUCT));

/**
 * The page of vmemmap with the struct page of `pfn`: {range, frame}, or null if it is not mapped. `frame` is null in a
 * range that stands for several. A range whose table is that of another leads where that one does.
 */
export function mapping(vmemmap, pageSize, pfn) {
  const per = perPage(pageSize);
  const range = rangeOf(vmemmap, per, pfn);
  if (!range) return null;
  const index = Math.floor((pfn - range.struct_of) / per);
  if (range.same_as) {
    const bytes = range.each ? (index * pageSize) % range.each : index * pageSize;
    const there = mapping({ ...vmemmap, ranges: vmemmap.ranges.filter((one) => !one.same_as) }, pageSize, pfnAt(vmemmap, big(range.same_as) + BigInt(bytes)));
    return { range, frame: there?.frame ?? null };
  }
  return { range, frame: range.frame === null ? null : num(range.frame) + index * num(range.stride) };
}

/** What the frames of a range are, in words. */
export const BACKING = {
  ram: 'in system RAM',
  self: 'in the memory that they describe',
  altmap: 'in what the device sets aside',
  image: 'the image of a free block, for all blocks on demand',
  lent: 'in a page that their block lends',
  'shared-tail': 'a page of tails, shared',
  mixed: 'several of these',
};
