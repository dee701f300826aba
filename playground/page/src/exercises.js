// Exercises: what to do, and how the model says that it is done. `done` reads `state`, the audit and what was typed.

const dimms = (state) => state.blocks.filter((block) => block.source.startsWith('dimm'));

/** Bugs whose first finding at an audit names this invariant (docs/evidence/bugs.md). */
export const BUGS = [
  { bug: 'stale-section', invariant: 'I1' },
  { bug: 'altmap-leak', invariant: 'I2' },
  { bug: 'empty-table', invariant: 'I4' },
  { bug: 'skip-tlbi', invariant: 'I5' },
  { bug: 'lost-page', invariant: 'I6' },
];

export const EXERCISES = [
  {
    id: 'self',
    title: 'Make the DIMM hold its own memmap',
    machine: { args: 'memmap=ram' },
    task: 'This machine puts the struct pages of a new DIMM into boot RAM (memmap=ram). Plug a DIMM and see where the arrows go. Then boot a machine on which the DIMM holds its own.',
    hint: 'New machine, memmap: self. Then drag a DIMM into a slot.',
    done: ({ state }) => dimms(state).length > 0 && dimms(state).every((block) => block.memmap === 'self' && block.state === 'online'),
  },
  {
    id: 'where',
    title: 'Find the frame that holds a struct page',
    machine: { args: 'memmap=self' },
    task: 'Plug a DIMM of 1 GiB. In which frame does the struct page of 0x88300000 lie? Type the physical address of the frame.',
    hint: 'Choose 0x88300000 and follow the lit arrow, or type: walk addr:0x88300000',
    question: 'Frame of the struct page of 0x88300000',
    done: ({ answer, facts, state }) => Boolean(facts.frame) && Number(answer) - (Number(answer) % state.granule) === Number(facts.frame) - (Number(facts.frame) % state.granule),
    facts: async (ask) => ({ frame: (await ask({ do: 'view', name: 'page', of: 'addr:0x88300000' })).view?.frame }),
  },
  {
    id: 'save',
    title: 'Save 4095 pages',
    machine: { args: 'memmap=ram' },
    task: 'The struct pages of a huge page are almost all alike, so pages of vmemmap can share one frame. Make pools of huge pages until at least 4095 pages are saved.',
    hint: 'Plug a DIMM of 4 GiB. hugetlb 1G 1 makes a huge page of 1 GiB, which saves 4094 pages: something small does the rest.',
    done: ({ state }) => state.dedup.saved_pages >= 4095,
  },
  {
    id: 'leave',
    title: 'Take a DIMM away that is in use',
    machine: { args: 'memmap=self' },
    task: 'Plug a DIMM, let a tenant use 500 pages of it, and unplug it. The tenant keeps its pages.',
    hint: 'plug 1G at the monitor, tenant new 500 at hotmap>, unplug 0 at the monitor, tenant check.',
    done: ({ state, requests, answers }) => state.dimms.length === 0 && state.tenants.some((tenant) => tenant.pages >= 500)
      && requests.some((request, at) => request.do === 'monitor' && /^(unplug|device_del)/.test(request.text) && answers[at]?.status === 0),
  },
  {
    id: 'bug',
    title: 'Find the bug that audit names',
    secret: true,
    task: 'This machine has a fault in its memory model. Use it (plug, tenant new 500, tenant drop, offline, unplug) until the audit finds something. Which invariant does not hold?',
    hint: 'Plug a DIMM, make a tenant, drop it, look at the audit; unplug the DIMM, look again.',
    question: 'The invariant (I1 to I8)',
    machine: () => ({ args: `memmap=self bug=${BUGS[Math.floor(Math.random() * BUGS.length)].bug}` }),
    done: ({ answer, boot, audit }) => audit?.clean === false && BUGS.some((one) => boot.args.includes(`bug=${one.bug}`) && one.invariant === (answer ?? '').trim().toUpperCase()),
  },
];

/** The boot arguments as they are shown: the bug of an exercise is not. */
export const shownArgs = (boot, secret) => (secret ? boot.args.replace(/bug=\S+/, 'bug=?') : boot.args);
