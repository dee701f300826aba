// The form for another machine, which begins with the values of the one that is there.

import { useRef, useState } from 'preact/hooks';
import { html } from '../draw/svg.js';

/** Values with what each means; "" is "none". */
const MEMMAP = {
  self: 'Each added memory block holds its struct pages at its start.',
  'self-range': 'Each added range holds the struct pages of all of its blocks at its start.',
  ram: 'The struct pages of added memory lie in system RAM.',
  demand: 'A block lends a page for struct pages when they are used; until then they share one page, the image.',
};
const BOOT_MEMMAP = {
  ram: 'The struct pages of boot RAM lie side by side in boot RAM.',
  self: 'Each block that boot leaves unused holds its struct pages at its start.',
  demand: 'Blocks that boot leaves unused are on demand, as with memmap=demand.',
};
const BUGS = {
  none: 'No fault.',
  'stale-section': 'Removed memory stays valid: breaks I1.',
  'free-neighbour': 'A page of memmap is freed that a neighbour uses: breaks I1 at 16K and 64K.',
  'altmap-leak': 'An altmap is charged for a page without a user: breaks I2.',
  'altmap-as-ram': 'A page of an altmap is freed as system RAM: breaks I2.',
  'free-memmap': 'The pages that hold a memmap become free pages: breaks I3.',
  'head-on-image': 'A run begins in a page of memmap that is still the image: breaks I3.',
  'lend-twice': 'One frame becomes two pages of memmap: breaks I3.',
  'image-dirty': 'The image of a free block says something else: breaks I3.',
  'empty-table': 'Unmapping keeps empty tables: breaks I4.',
  'skip-tlbi': 'A translation ends and is not invalidated: breaks I5.',
  'skip-populate-tlbi': 'A page of memmap gets its own frame, and the old translation stays: breaks I5.',
  'no-bbm': 'A live entry changes its address without break-before-make: breaks I5.',
  'lost-page': 'A freed page reaches no free list: breaks I6.',
  'share-early': 'A page of memmap is given back in which a run begins: breaks I6.',
  'veto-range': 'Notifiers are asked about a shifted range: a veto is missed.',
  'keep-memmap': 'The memmap of removed memory stays mapped: breaks I7.',
  'keep-private': 'A page of memmap that is unused keeps its frame: breaks I7.',
  'shared-block': 'One block leaf maps the memmap of two halves of a section: breaks I7.',
  'keep-linear': 'Removed memory stays in the linear map: breaks I8.',
};
const SIZES = ['512M', '1G', '2G', '4G', '16G', '64G'];

/** Boot arguments as {memmap, boot_memmap, bug, more}. */
function argumentsOf(text) {
  const found = { memmap: 'self', boot_memmap: 'ram', bug: 'none', more: [] };
  for (const word of text.split(/\s+/).filter(Boolean)) {
    const [key, value] = word.split('=');
    if (key !== 'more' && key in found && value) found[key] = value;
    else found.more.push(word);
  }
  return { ...found, more: found.more.join(' ') };
}

/** The fields for a machine, from its boot request. A bug that is secret is not shown. */
export function formOf({ args = '', granule, memory, virtio_mem = [], pmem = [] }, secret) {
  const { bug, ...rest } = argumentsOf(args);
  return { ...rest, bug: secret ? 'none' : bug, granule, memory, virtio: virtio_mem[0] ?? '', pmem: pmem[0] ?? '' };
}

/** The boot request of a form. */
export function requestOf(form) {
  const args = [`memmap=${form.memmap}`, form.boot_memmap !== 'ram' && `boot_memmap=${form.boot_memmap}`, form.bug !== 'none' && `bug=${form.bug}`, form.more.trim()];
  return { args: args.filter(Boolean).join(' '), granule: form.granule, memory: form.memory, virtio_mem: form.virtio ? [form.virtio] : [], pmem: form.pmem ? [form.pmem] : [] };
}

/** One choice. `values` is a list, or an object with what each value means. A value that is not among them is added. */
function Choice({ name, label, values, value, says }) {
  const [chosen, choose] = useState(value);
  const names = Array.isArray(values) ? values : Object.keys(values);
  const text = says ?? values[chosen];
  return html`<div class="choice"><label>${label} <select name=${name} defaultValue=${value} onChange=${(event) => choose(event.target.value)} aria-describedby=${text && `about-${name}`}>
    ${[...names, ...(names.includes(value) ? [] : [value])].map((one) => html`<option value=${one} selected=${one === value}>${one || 'none'}</option>`)}</select></label>
    ${text && html`<p class="note" id=${`about-${name}`}>${text}</p>`}</div>`;
}

function Fields({ form }) {
  return html`<${Choice} name="granule" label="Granule" values=${['4k', '16k', '64k']} value=${form.granule} says="The size of a page."/>
    <${Choice} name="memory" label="Boot RAM" values=${SIZES} value=${form.memory}/>
    <${Choice} name="memmap" label="memmap= of added memory" values=${MEMMAP} value=${form.memmap}/>
    <${Choice} name="boot_memmap" label="boot_memmap=" values=${BOOT_MEMMAP} value=${form.boot_memmap}/>
    <${Choice} name="virtio" label="virtio-mem region" values=${['', '1G', '4G', '16G']} value=${form.virtio} says="A device whose memory is plugged by its slider."/>
    <${Choice} name="pmem" label="Persistent memory at 256 GiB" values=${['', '1G', '4G']} value=${form.pmem} says="For devices (dax create)."/>
    <${Choice} name="bug" label="bug=" values=${BUGS} value=${form.bug}/>
    <label>Other boot arguments <input name="more" class="mono" defaultValue=${form.more} placeholder="none"/></label>`;
}

export function NewMachine({ session }) {
  const dialog = useRef(null);
  const [opened, setOpened] = useState(0);
  const open = () => {
    setOpened(opened + 1); // the fields are made anew
    dialog.current.showModal();
  };
  const boot = (event) => session.start(requestOf(Object.fromEntries(new FormData(event.target))));
  return html`<button type="button" onClick=${open}>New machine</button>
    <dialog ref=${dialog} aria-labelledby="new-title"><form method="dialog" onSubmit=${boot}><h2 id="new-title">New machine</h2>
      ${session.boot && html`<${Fields} key=${opened} form=${formOf(session.boot, session.secret)}/>`}
      <div class="row"><button type="submit" value="boot">Boot</button><button type="button" onClick=${() => dialog.current.close()}>Cancel</button></div></form></dialog>`;
}
