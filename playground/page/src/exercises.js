// Exercises: what to do, and how the model says what is missing. `lacks` reads `state`, the views, the audit and what was
// typed, and returns a sentence, or null when all is done.

import { runOf } from './draw/lens.js';
import { USES } from './draw/theme.js';
import { count, hex, num, target } from './format.js';

const dimms = (state) => state.blocks.filter((block) => block.source.startsWith('dimm'));

/** Bugs whose first finding at an audit names this invariant (docs/evidence/bugs.md). */
export const BUGS = [
  { bug: 'stale-section', invariant: 'I1' },
  { bug: 'altmap-leak', invariant: 'I2' },
  { bug: 'empty-table', invariant: 'I4' },
  { bug: 'skip-tlbi', invariant: 'I5' },
  { bug: 'lost-page', invariant: 'I6' },
];

/** The invariants in short (docs/reference/invariants.md). */
export const INVARIANTS = [
  ['I1', 'A struct page can be read exactly when its page is present.'],
  ['I2', 'An altmap counts its pages in use, and gives none out twice.'],
  ['I3', 'No frame has two uses: free, memmap, table or tenant.'],
  ['I4', 'No translation table is empty, except where its region keeps it.'],
  ['I5', 'A live entry changes by break-before-make, and no stale translation is used.'],
  ['I6', 'Pages are conserved: the counts of all uses add up to what is present.'],
  ['I7', 'Memmap is mapped where present memory needs it, and nowhere else.'],
  ['I8', 'The linear map covers memory and nothing else; nothing is writable and executable.'],
];

const PAGE = 0x88300000;

/** What an answer to the second exercise is, if it is not the frame. */
function elsewhere(answer, { frame, memory, state }) {
  const { of, error } = target(answer ?? '');
  if (!answer?.trim()) return 'Type an address.';
  if (error) return error;
  const [kind, value] = of.split(':');
  const address = num(value) * (kind === 'pfn' ? state.granule : 1);
  const page = (at) => Math.floor(at / state.granule);
  if (page(address) === page(num(frame))) return null;
  if (address >= 2 ** 52) return 'That is a virtual address. Which frame is mapped there?';
  if (page(address) === page(PAGE)) return `${hex(PAGE)} is the page itself; its struct page lies elsewhere.`;
  const there = runOf(memory, page(address));
  if (!there) return `No memory is at ${hex(address)}.`;
  if (there.run?.use === 'memmap') return 'That frame holds struct pages, but those of other pages.';
  return `That frame holds no struct page: it is ${USES[there.run?.use]?.[0] ?? 'something else'}.`;
}

/** The first sentence of those whose condition holds, or null. */
const first = (...pairs) => pairs.find(([lacking]) => lacking)?.[1] ?? null;

const SAVED = 4095;

/** Whether an unplug of a DIMM succeeded. */
const unplugged = (requests, answers) => requests.some((request, at) => request.do === 'monitor' && /^(unplug|device_del)/.test(request.text) && answers[at]?.status === 0);

export const EXERCISES = [
  {
    id: 'self',
    title: 'Make the DIMM hold its own memmap',
    machine: { args: 'memmap=ram' },
    task: 'This machine puts the struct pages of a new DIMM into boot RAM (memmap=ram). Plug a DIMM and see where the arrows go. Then boot a machine on which the DIMM holds its own.',
    hint: 'New machine, memmap: self. Then drag a DIMM into a slot.',
    lacks: ({ state }) => first(
      [dimms(state).length === 0, 'This machine has no DIMM: plug one.'],
      [dimms(state).some((block) => block.memmap !== 'self'), `The DIMM's memmap is not in itself: this machine has memmap=${state.args?.memmap}. Boot another one.`],
      [dimms(state).some((block) => block.state !== 'online'), 'A block of the DIMM is not online.'],
    ),
  },
  {
    id: 'where',
    title: 'Find the frame that holds a struct page',
    machine: { args: 'memmap=self' },
    task: 'Plug a DIMM of 1 GiB. In which frame does the struct page of 0x88300000 lie? Type the physical address of the frame.',
    hint: 'Choose 0x88300000 and follow the lit arrow, or type: walk addr:0x88300000',
    question: 'Frame of the struct page of 0x88300000',
    lacks: ({ answer, facts, state, views }) => (facts.frame ? elsewhere(answer, { frame: facts.frame, memory: views.memory, state }) : `No memory is at ${hex(PAGE)} yet: plug a DIMM of 1 GiB.`),
    facts: async (ask) => ({ frame: (await ask({ do: 'view', name: 'page', of: `addr:${hex(PAGE)}` })).view?.frame }),
  },
  {
    id: 'save',
    title: 'Save 4095 pages',
    machine: { args: 'memmap=ram' },
    task: 'The struct pages of a huge page are almost all alike, so pages of vmemmap can share one frame. Make pools of huge pages until at least 4095 pages are saved. The panel “Counts, zones and free lists” counts them: saved by sharing memmap.',
    hint: 'Plug a DIMM of 4 GiB. hugetlb 1G 1 makes a huge page of 1 GiB, which saves 4094 pages: something small does the rest.',
    lacks: ({ state }) => first([state.dedup.saved_pages < SAVED, `${count(state.dedup.saved_pages)} of ${count(SAVED)} pages are saved.`]),
  },
  {
    id: 'leave',
    title: 'Take a DIMM away that is in use',
    machine: { args: 'memmap=self' },
    task: 'Plug a DIMM, let a tenant use 500 pages of it, and unplug it. The tenant keeps its pages.',
    hint: 'plug 1G at the monitor, tenant new 500 at hotmap>, unplug 0 at the monitor, tenant check.',
    lacks: ({ state, requests, answers }) => first(
      [state.dimms.length === 0 && !unplugged(requests, answers), 'There is no DIMM yet: plug one.'],
      [!state.tenants.some((tenant) => tenant.pages >= 500), 'No tenant has 500 pages.'],
      [state.dimms.length > 0, 'The tenant has its pages. The DIMM is still there: unplug it.'],
    ),
  },
  {
    id: 'bug',
    title: 'Find the bug that audit names',
    secret: true,
    task: 'This machine has a fault in its memory model. Use it (plug, tenant new 500, tenant drop, offline, unplug) until the audit finds something. Which invariant does not hold?',
    hint: 'Plug a DIMM, make a tenant, drop it, look at the audit; unplug the DIMM, look again.',
    question: 'The invariant (I1 to I8)',
    invariants: true,
    machine: () => ({ args: `memmap=self bug=${BUGS[Math.floor(Math.random() * BUGS.length)].bug}` }),
    lacks: ({ answer, boot, audit }) => first(
      [!BUGS.some(({ bug }) => boot.args.includes(`bug=${bug}`)), 'This machine has none of the faults: press Begin.'],
      [audit?.clean !== false, 'The audit finds nothing yet: use the machine more.'],
      [!/^I[1-8]$/i.test((answer ?? '').trim()), 'Type the name of an invariant: I1 to I8.'],
      [!BUGS.some((one) => boot.args.includes(`bug=${one.bug}`) && one.invariant === answer.trim().toUpperCase()), `The audit finds something, but the fault breaks another invariant than ${(answer ?? '').trim()}.`],
    ),
  },
];

/** The boot arguments as they are shown: the bug of an exercise is not. */
export const shownArgs = (boot, secret) => (secret ? boot.args.replace(/bug=\S+/, 'bug=?') : boot.args);
