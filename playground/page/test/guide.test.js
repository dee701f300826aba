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
    assert.match(await visitor.page.locator('#guide [role=status]').innerText(), /first do(es)? what this step needs: plug 1G/);
    await guided(visitor, name, expected.at(-1));
    assert.deepEqual(await texts(visitor), expected);
  });
}

visit('buttons of a step that first do the same share a line', async (visitor) => {
  await step(visitor, 4);
  await guided(visitor, 'Unplug', 'unplug 0');
  const lines = await visitor.page.locator('#guide .note').allInnerTexts();
  assert.equal(new Set(lines.map((line) => line.replace(/.*this step needs/, ''))).size, lines.length, lines.join(' | '));
});

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

visit('the shelf has DIMMs of at least one block, and a slot in use says so', async (visitor) => {
  const shelf = () => visitor.page.locator('.dimm').allInnerTexts();
  assert.deepEqual(await shelf(), ['128M', '1G', '4G', '16G', '64G']);
  await visitor.request(() => visitor.press('Plug 1G into slot 0'));
  await visitor.page.locator('.dimm', { hasText: '4G' }).first().dragTo(visitor.page.locator('.slots > li').first());
  assert.match(await visitor.page.locator('#machine [role=status]').innerText(), /Slot 0 has a DIMM: unplug it/);
  assert.deepEqual(await texts(visitor), ['plug 1G slot=0']);
  await visitor.page.getByLabel('128M', { exact: true }).check();
  await granule(visitor, '64k');
  assert.deepEqual(await shelf(), ['512M', '1G', '4G', '16G', '64G']);
  await visitor.page.getByLabel('512M', { exact: true }).check();
  const answer = await visitor.request(() => visitor.press('Plug 512M into slot 0'));
  assert.equal(answer.status, 0, answer.text);
});

/** Opens an exercise. Returns its parts: the place, and how to check an answer. */
async function exercise(visitor, title) {
  const place = visitor.page.locator('.exercise', { hasText: title }).first();
  await place.locator('summary').first().click();
  const check = async (answer) => {
    if (answer !== undefined) await place.getByRole('textbox').fill(answer);
    await place.getByRole('button', { name: 'Check' }).click();
    await place.locator('p[role=status]', { hasText: /./ }).waitFor();
    return place.locator('p[role=status]').innerText();
  };
  return { place, check };
}

visit('an exercise says what a wrong answer is, and a verdict ends when the answer changes', async (visitor) => {
  const { place, check } = await exercise(visitor, 'Find the frame that holds a struct page');
  assert.match(await check('0x8800c000'), /No memory is at 0x88300000 yet: plug/);
  await visitor.monitor('plug 1G');
  const wrong = { '': /Type an address/, zz: /‘zz’ is not an address/, '0x88300000': /is the page itself/, '0x88001000': /those of other pages/, '0x40000000': /holds no struct page/, '0x1000': /No memory is at 0x1000/, '0xfffffdffc120c000': /virtual address/ };
  for (const [answer, says] of Object.entries(wrong)) assert.match(await check(answer), says);
  assert.match(await check('0x8800c000'), /Done/);
  await place.getByRole('textbox').fill('0x1');
  assert.equal(await place.locator('p[role=status]').innerText(), '');
});

visit('an exercise says how far it is', async (visitor) => {
  const save = await exercise(visitor, 'Save 4095 pages');
  assert.match(await save.check(), /Not yet\. 0 of 4,095 pages are saved/);
  const leave = await exercise(visitor, 'Take a DIMM away that is in use');
  assert.match(await leave.check(), /no DIMM yet/);
  await visitor.monitor('plug 1G');
  assert.match(await leave.check(), /No tenant has 500 pages/);
  await visitor.type('tenant new 500');
  assert.match(await leave.check(), /still there: unplug it/);
  const bug = await exercise(visitor, 'Find the bug that audit names');
  assert.match(await bug.check('I1'), /press Begin/);
  await bug.place.getByText('The invariants I1 to I8').click();
  assert.equal(await bug.place.locator('dt').count(), 8);
});

visit('a word leads to its meaning, by the keyboard, and each word of the page has one', async (visitor) => {
  const { page } = visitor;
  await page.locator('#says .word').first().focus();
  await page.keyboard.press('Enter');
  assert.equal(await page.evaluate(() => document.activeElement.textContent), 'pfn');
  assert.match(await page.locator('#word-pfn + dd').innerText(), /^Page frame number: a physical address divided by the granule\.$/);
  const terms = await page.locator('#glossary dt').allInnerTexts();
  for (const term of ['pfn', 'zone', 'altmap', 'memmap', 'vmemmap', 'OST', 'tenant', 'HVO', 'TLBI', 'DSB']) assert.ok(terms.includes(term), term);
  for (const word of await page.locator('a.word').all()) assert.match(await word.getAttribute('title'), /\.$/);
});

visit('the second link of the page leads to memory', async (visitor) => {
  await visitor.page.keyboard.press('Tab');
  await visitor.page.keyboard.press('Tab');
  await visitor.page.keyboard.press('Enter');
  assert.match(await visitor.page.evaluate(() => document.activeElement.getAttribute('aria-label')), /^0x40000000/);
});
