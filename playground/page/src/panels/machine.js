// The machine: DIMMs on a shelf and in slots, and buttons for what one does most.

import { useState } from 'preact/hooks';
import { html } from '../draw/svg.js';
import { num, size } from '../format.js';
import { Panel } from './common.js';
import { Word } from './words.js';

/** DIMMs on the shelf. */
const SHELF = ['1G', '4G', '16G', '64G'];

/** The shelf of a machine: its smallest DIMM is one block, which the granule decides. */
const shelfOf = ({ memory }) => (memory?.block_size ? [`${memory.block_size / 2 ** 20}M`, ...SHELF] : SHELF);

const KEY = 'text/plain';

/** Buttons: name, what is typed where. `n` is asked for in the field beside. */
const ACTIONS = [
  { name: 'New tenant', line: (n) => `tenant new ${n}`, field: '500', label: 'pages of the tenant' },
  { name: 'Check tenants', line: () => 'tenant check' },
  { name: 'Drop tenants', line: () => 'tenant drop' },
  { name: 'Huge pages', line: (n) => `hugetlb ${n}`, field: '2M 4', label: 'size and number of huge pages' },
  { name: 'Pin', line: (n) => `pin ${n}`, of: true }, { name: 'Unpin', line: (n) => `unpin ${n}`, of: true },
  { name: 'Poison', line: (n) => `poison ${n}`, of: true },
  { name: 'Offline block', line: (n) => `offline ${n}`, block: true }, { name: 'Online block', line: (n) => `online ${n}`, block: true },
  { name: 'Compact', line: (n) => `compact ${n}`, field: '9', label: 'order to make free' },
  { name: 'Fail allocation', line: (n) => `inject alloc ${n}`, field: '3', label: 'which allocation of the next operation fails' },
  { name: 'Create device', line: (n) => `dax create ${n}`, field: '0x4000000000,256M --map=dev', label: 'range of the device, and options' },
  { name: 'Audit', line: () => 'audit' },
];

function Action({ action, session }) {
  const [value, setValue] = useState(action.field ?? '');
  const chosen = session.look ?? '';
  const block = session.state?.blocks?.find((one) => session.address >= num(one.start) && session.address < num(one.start) + one.size);
  const argument = action.of ? chosen : action.block ? block?.start ?? '' : value;
  const lacks = (action.of || action.block) && !argument;
  const title = action.line(argument);
  const run = () => session.run({ do: 'line', text: title });
  return html`<li><button type="button" disabled=${!session.ready || lacks} title=${title} onClick=${run}>${action.name}</button>
    ${action.field && html`<input class="mono" aria-label=${action.label} value=${value} onInput=${(event) => setValue(event.target.value)} onKeyDown=${(event) => event.key === 'Enter' && run()}/>`}</li>`;
}

/** The second click of a double click would press the button that stands where the first one stood. */
const once = (act) => (event) => event.detail > 1 || act();

/** A slot: empty, it takes what is dropped; full, it says so, and its DIMM can be dragged back. */
function Slot({ number, dimm, session, size: chosen, say }) {
  const [over, setOver] = useState(false);
  const plug = (what) => {
    say('');
    session.run({ do: 'monitor', text: `plug ${what} slot=${number}` });
  };
  const drop = (event) => {
    event.preventDefault();
    setOver(false);
    const what = event.dataTransfer.getData(KEY);
    if (!shelfOf(session.views).includes(what)) return;
    if (dimm) say(`Slot ${number} has a DIMM: unplug it, or take another slot.`);
    else plug(what);
  };
  if (dimm) {
    return html`<li class="slot full" draggable="true" onDragOver=${(event) => event.preventDefault()} onDrop=${drop} onDragStart=${(event) => event.dataTransfer.setData(KEY, `slot ${number}`)}>
      <span><b>dimm${number}</b> ${size(dimm.size)}, ${dimm.state}</span>
      <button type="button" disabled=${!session.ready} onClick=${once(() => session.run({ do: 'monitor', text: `unplug ${number}` }))} aria-label=${`Unplug dimm${number}`}>Unplug</button></li>`;
  }
  return html`<li class=${`slot ${over ? 'over' : ''}`} onDragOver=${(event) => { event.preventDefault(); setOver(true); }} onDragLeave=${() => setOver(false)} onDrop=${drop}>
    <span class="quiet">slot ${number}: empty</span>
    <button type="button" disabled=${!session.ready} onClick=${once(() => plug(chosen))} aria-label=${`Plug ${chosen} into slot ${number}`}>Plug ${chosen}</button></li>`;
}

/** The shelf: a DIMM is dragged from here, or chosen; what is dragged back here is unplugged. */
function Shelf({ chosen, setChosen, session }) {
  const drop = (event) => {
    event.preventDefault();
    const match = /^slot (\d+)$/.exec(event.dataTransfer.getData(KEY));
    if (match) session.run({ do: 'monitor', text: `unplug ${match[1]}` });
  };
  return html`<fieldset class="shelf" onDragOver=${(event) => event.preventDefault()} onDrop=${drop}><legend>DIMMs on the shelf: drag one into a slot</legend>
    ${shelfOf(session.views).map((what) => html`<label class="dimm" draggable="true" onDragStart=${(event) => event.dataTransfer.setData(KEY, what)}>
      <input type="radio" name="shelf" value=${what} checked=${what === chosen} onChange=${() => setChosen(what)}/>${what}</label>`)}</fieldset>`;
}

/** A virtio memory device: the size that it requests. */
function VirtioMem({ device, number, session }) {
  const step = Math.max(device.block_size, 2 ** 27);
  const ask = (event) => session.run({ do: 'monitor', text: `virtio-mem ${number} ${Number(event.target.value) / 2 ** 20}M` });
  return html`<li class="vmem"><label>${device.device}: ${size(device.plugged_size)} of ${size(device.region_size)}
    <input type="range" min="0" max=${device.region_size} step=${step} value=${device.requested_size} disabled=${!session.ready} onChange=${ask}/></label></li>`;
}

export function MachinePanel({ session }) {
  const [chosen, setChosen] = useState('1G');
  const [said, say] = useState('');
  const { state } = session;
  const fits = shelfOf(session.views).includes(chosen) ? chosen : '1G'; // of a machine with larger blocks
  if (!session.source.can.act) return html`<${Panel} name="machine" title="Machine"><p>A guest under QEMU. Plug and unplug at its monitor, type at its console; this page shows what changes.</p><//>`;
  const slots = Array.from({ length: Math.min(state?.slots ?? 0, 8) }, (_, number) => number);
  return html`<${Panel} name="machine" title="Machine"><${Shelf} chosen=${fits} setChosen=${setChosen} session=${session}/>
    <ul class="slots" aria-label="Slots">${slots.map((number) => html`<${Slot} key=${number} number=${number} dimm=${state.dimms.find((dimm) => dimm.slot === number)} session=${session} size=${fits} say=${say}/>`)}
      ${state?.virtio_mem?.map((device, number) => html`<${VirtioMem} device=${device} number=${number} session=${session}/>`)}</ul>
    <p role="status" class="warn">${said}</p>
    <h3>Actions</h3><p class="note">For <${Word} of="tenant">tenants<//>, <${Word} of="huge page">huge pages<//> (which share their <${Word} of="memmap"/>: <${Word} of="HVO"/>), and to <${Word} of="pin"/> or <${Word} of="poison"/> the chosen page.</p><ul class="actions">${ACTIONS.map((action) => html`<${Action} key=${action.name} action=${action} session=${session}/>`)}</ul><//>`;
}
