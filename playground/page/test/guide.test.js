// For a reader who sees the page for the first time: the guide, the words, the exercises' answers, what fields accept.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { launch, Visitor } from './browser.js';

let browser;
before(async () => { browser = await launch(); });
after(() => browser?.close());

const visit = (name, work, options) => test(name, async (t) => {
  const visitor = await Visitor.open(browser, options);
  await work(visitor, t);
  await visitor.close();
});

const texts = async (visitor) => (await visitor.session('requests')).slice(1).map((request) => request.text);

/** Boots a machine with another granule, by the form. */
async function granule(visitor, size) {
  await visitor.press('New machine');
  await visitor.page.getByLabel('Granule').selectOption(size);
  await visitor.press('Boot');
  await visitor.page.waitForFunction((bytes) => window.hotmap.state.granule === bytes, Number.parseInt(size, 10) * 1024);
  await visitor.idle();
}

/** Presses a button of the guide, and waits until its request has run and its panel is in view. */
async function guided(visitor, name, last) {
  await visitor.page.locator('#guide').getByRole('button', { name }).click();
  await visitor.page.waitForFunction((text) => window.hotmap.requests.at(-1).text === text, last);
  await visitor.idle();
  await visitor.idle();
}

/** Goes to a step of the guide. */
async function step(visitor, number) {
  for (let at = 1; at < number; at += 1) await visitor.press('Next in the guide');
}

/** Whether the whole of an element is in view, and nothing lies above its middle or its edges. */
const uncovered = (visitor, selector) => visitor.page.locator(selector).evaluate((element) => {
  const box = element.getBoundingClientRect();
  return [0.02, 0.5, 0.98].every((share) => element.contains(document.elementFromPoint(box.x + box.width / 2, box.y + box.height * share)));
});

for (const [number, name, expected] of [[3, /^Look at/, ['plug 1G']], [4, 'Unplug', ['plug 1G', 'tenant new 500', 'unplug 0']]]) {
  visit(`step ${number} of the guide says what it lacks, and does it first`, async (visitor) => {
    await step(visitor, number);
    assert.match(await visitor.page.locator('#guide [role=status]').innerText(), /first does what this step needs: plug 1G/);
    await guided(visitor, name, expected.at(-1));
    assert.deepEqual(await texts(visitor), expected);
  });
}

visit('the guide leads to the chosen page, which nothing covers, and to the frame that glows', async (visitor) => {
  await visitor.monitor('plug 1G');
  await step(visitor, 3);
  await guided(visitor, 'Look at 0x88300000', 'plug 1G');
  assert.equal(await uncovered(visitor, '#lens svg'), true);
  await step(visitor, 3);
  await guided(visitor, 'Make 4 huge pages', 'hugetlb 2M 4');
  assert.equal(await visitor.page.locator('#lens .glow').count(), 1);
  assert.equal(await uncovered(visitor, '#lens svg'), true);
  assert.match(await visitor.page.locator('#says').textContent(), /read-only/);
}, { width: 1440, height: 900 });

for (const size of ['16k', '64k']) {
  visit(`the guide's buttons succeed with a granule of ${size}`, async (visitor) => {
    await granule(visitor, size);
    await step(visitor, 4);
    await guided(visitor, 'Unplug', 'unplug 0');
    await step(visitor, 2);
    await guided(visitor, /^Make/, size === '16k' ? 'hugetlb 32M 4' : 'hugetlb 512M 1');
    assert.equal(await visitor.page.locator('#guide .bad').count(), 0);
    for (const answer of await visitor.session('answers')) assert.ok(answer.ok && !answer.status, answer.text);
  });
}

visit('the sub-steps have a way to the start and to the end', async (visitor) => {
  await visitor.monitor('plug 1G');
  const says = visitor.page.locator('.steps [role=status]');
  await visitor.press('To the start');
  await visitor.idle();
  assert.match(await says.textContent(), /before the first of 7 steps/);
  await visitor.press('To the end');
  await visitor.idle();
  assert.match(await says.textContent(), /after step 7 of 7/);
  assert.equal(await visitor.session('step'), null);
});

for (const [size, bits] of [['4k', ['bits 47:39', 'bits 38:30', 'bits 29:21']], ['16k', ['bit 47', 'bits 46:36', 'bits 35:25']], ['64k', ['bits 47:42', 'bits 41:29']]]) {
  visit(`the walk names the bits of each index, at ${size}`, async (visitor) => {
    if (size !== '4k') await granule(visitor, size);
    const { steps } = (await visitor.session('views')).walk;
    const drawn = await visitor.page.locator('#walk svg').first().textContent();
    for (const [at, name] of bits.entries()) assert.ok(drawn.includes(`${name} = ${steps[at].index}, of`), `${name}: ${drawn}`);
    for (const { index_bits: own, index } of steps) assert.match(drawn, new RegExp(`bits? ${own.replace(/^(\d+):\1$/, '$1')} = ${index}, of`));
  });
}

visit('an address of the TLB is on one line', async (visitor) => {
  await visitor.type('tenant new 3');
  const heights = await visitor.page.locator('#tlb td.mono').evaluateAll((cells) => cells.map((cell) => cell.getClientRects().length * cell.offsetHeight));
  assert.ok(heights.length > 2 && Math.max(...heights) < 30, `${heights}`);
}, { width: 1600 });

/** Types at the field of the chosen page. Returns what is said of it. */
async function look(visitor, text) {
  await visitor.page.locator('input[name=look]').fill(text);
  await visitor.press('Look');
  await visitor.idle();
  return visitor.page.locator('#lens [role=status]').innerText();
}

visit('the field of the chosen page reads numbers as the shell does, and says what it did not take', async (visitor) => {
  await visitor.monitor('plug 1G');
  const before = await visitor.session('look');
  assert.match(await look(visitor, 'zz'), /^‘zz’ is not an address\. An address like 0x80000000/);
  assert.equal(await visitor.session('look'), before);
  assert.equal(await look(visitor, '2G'), '');
  assert.equal(await visitor.session('look'), 'addr:0x80000000');
  assert.match(await look(visitor, '88300000'), /^88300000 was read as decimal: 0x54359e0\./);
  assert.match(await visitor.page.locator('#says').textContent(), /vmemmap does not reach it/);
  await visitor.press('Look at addr:0x88300000');
  await visitor.idle();
  assert.equal(await visitor.session('look'), 'addr:0x88300000');
  assert.equal(await visitor.page.locator('#lens [role=status]').innerText(), '');
  assert.match(await look(visitor, '8830f000'), /is not an address.*Look at addr:0x8830f000/s);
  assert.match(await look(visitor, '2147483648'), /was read as decimal: 0x80000000\.$/);
});

visit('a page whose DIMM has gone is no memory, and its memmap went too', async (visitor) => {
  await visitor.monitor('plug 1G');
  await look(visitor, '0x88300000');
  await visitor.monitor('unplug 0');
  assert.match(await visitor.page.locator('#says').textContent(), /no memory is there.*takes its memmap with it/);
});
