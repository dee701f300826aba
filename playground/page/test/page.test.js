// The page in a browser: buttons, drag, prompts, history, the link, exercises, the keyboard, widths, colours.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { test } from 'node:test';
import { PAGE, Visitor, visits } from './browser.js';

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

const { visit, shared } = visits();

const slot = (number) => `.slots > li:nth-child(${number + 1})`;

visit('a page from a file boots a machine', async (visitor, t) => {
  const state = await visitor.state();
  assert.equal(state.granule, 4096);
  assert.equal(state.blocks.length, 8);
  const ready = await visitor.page.evaluate(() => performance.getEntriesByType('navigation')[0].loadEventEnd + window.hotmap.asked);
  t.diagnostic(`loaded and drawn after ${Math.round(ready)} ms`);
  assert.ok(ready < 10_000, `${ready} ms`);
});

test('the page asks for nothing but itself', async () => {
  const page = await shared.browser.newPage();
  const asked = [];
  page.on('request', (request) => asked.push(request.url().slice(0, 200)));
  await page.goto(PAGE);
  await page.waitForSelector('main[aria-busy=false]');
  await page.close();
  assert.deepEqual(asked.filter((url) => !/^(data|blob):/.test(url)), [PAGE]);
});

visit('the button of a slot plugs the chosen DIMM, in seven steps, and unplugs it', async (visitor) => {
  await visitor.page.getByLabel('4G', { exact: true }).check();
  await visitor.request(() => visitor.press('Plug 4G into slot 2'));
  assert.deepEqual((await visitor.state()).dimms.map((dimm) => [dimm.slot, dimm.size]), [[2, 4 * 2 ** 30]]);
  const log = await visitor.page.getByRole('log').textContent();
  for (const step of ['1 claim sections', '4 populate vmemmap', '7 go online']) assert.ok(log.includes(step), step);
  await visitor.request(() => visitor.press('Unplug dimm2'));
  assert.deepEqual((await visitor.state()).dimms, []);
});

visit('the guide has a button for each of its steps', async (visitor) => {
  const acts = [[], ['Plug 1 GiB'], ['Look at 0x88300000'], ['Use 500 pages', 'Unplug'], ['Make 4 huge pages']];
  for (const names of acts) {
    for (const name of names) {
      await visitor.page.locator('#guide').getByRole('button', { name, exact: true }).click();
      await visitor.idle();
    }
    if (names !== acts.at(-1)) await visitor.press('Next in the guide');
  }
  assert.deepEqual((await visitor.session('requests')).slice(1).map((request) => request.text), ['plug 1G', 'tenant new 500', 'unplug 0', 'hugetlb 2M 4']);
  assert.equal(await visitor.session('look'), 'pfn:0x40240'); // in the first huge page
  for (const answer of await visitor.session('answers')) assert.ok(answer.ok && !answer.status, answer.text);
  await visitor.press('Back in the guide');
  assert.match(await visitor.page.locator('#guide').textContent(), /4 of 5/);
});

visit('a DIMM is dragged from the shelf into a slot, and back', async (visitor) => {
  await visitor.request(() => visitor.page.locator('.dimm', { hasText: '1G' }).first().dragTo(visitor.page.locator(slot(1))));
  assert.deepEqual((await visitor.state()).dimms.map((dimm) => dimm.slot), [1]);
  await visitor.request(() => visitor.page.locator(slot(1)).dragTo(visitor.page.locator('.shelf')));
  assert.deepEqual((await visitor.state()).dimms, []);
});

visit('each action has a button that types its command', async (visitor) => {
  await visitor.monitor('plug 1G');
  await visitor.page.locator('input[name=look]').fill('addr:0x88300000');
  await visitor.press('Look');
  await visitor.idle();
  const device = await visitor.request(() => visitor.press('Create device'));
  assert.equal(device.status, 0, device.text);
  assert.equal((await visitor.state()).devices[0].start, '0x4000000000');
  const typed = {
    'New tenant': 'tenant new 500', 'Check tenants': 'tenant check', 'Drop tenants': 'tenant drop', 'Huge pages': 'hugetlb 2M 4',
    Pin: 'pin addr:0x88300000', Unpin: 'unpin addr:0x88300000', Poison: 'poison addr:0x88300000',
    'Offline block': 'offline 0x88000000', 'Online block': 'online 0x88000000', Compact: 'compact 9', 'Fail allocation': 'inject alloc 3', Audit: 'audit',
  };
  for (const [name, line] of Object.entries(typed)) {
    const answer = await visitor.request(() => visitor.press(name));
    assert.equal((await visitor.session('requests')).at(-1).text, line);
    assert.equal(answer.ok, true, `${name}: ${answer.error}`);
    assert.equal(answer.status, 0, `${name}: ${answer.text}`);
  }
  const buttons = await visitor.page.locator('.actions button').allTextContents();
  assert.deepEqual(buttons.filter((name) => !(name in typed)), ['Create device']);
});

visit('the prompt runs a line, shows what failed, and has a history', async (visitor) => {
  assert.match((await visitor.type('tenant new 5')).text, /tenant 1 holds 5 pages/);
  const answer = await visitor.type('offline 0x1000');
  assert.equal(answer.status, 1);
  assert.match(await visitor.page.locator('.log .bad').last().textContent(), /error: offline/);
  const prompt = visitor.page.locator('#prompt-line');
  await prompt.press('ArrowUp');
  await prompt.press('ArrowUp');
  assert.equal(await prompt.inputValue(), 'tenant new 5');
  await prompt.press('ArrowDown');
  assert.equal(await prompt.inputValue(), 'offline 0x1000');
});

visit('the prompt offers the words that the shell knows', async (visitor) => {
  await visitor.page.locator('#prompt-line').fill('mem; tenant ');
  const offers = visitor.page.locator('#offers-line option');
  await offers.first().waitFor({ state: 'attached' });
  assert.deepEqual(await offers.evaluateAll((all) => all.map((one) => one.value).sort()), ['mem; tenant check', 'mem; tenant drop', 'mem; tenant new']);
});

visit('the heads of the free lists stand above their numbers', async (visitor) => {
  const align = (of) => visitor.page.locator(`.orders ${of}`).evaluateAll((cells) => cells.map((cell) => getComputedStyle(cell).textAlign));
  assert.deepEqual((await align('thead tr:first-child > th')).slice(0, 3), (await align('tbody tr:first-child > td')).slice(0, 3));
});

visit('the slider and its buttons go back and forward in history', async (visitor) => {
  await visitor.monitor('plug 1G');
  await visitor.type('tenant new 500');
  const last = await visitor.state();
  await visitor.press('Back in history');
  await visitor.idle();
  assert.deepEqual((await visitor.state()).tenants, []);
  await visitor.page.getByLabel('Moment of the session').fill('0');
  await visitor.idle();
  assert.deepEqual((await visitor.state()).dimms, []);
  await visitor.page.getByLabel('Moment of the session').fill('2');
  await visitor.idle();
  assert.deepEqual(await visitor.state(), last);
  await visitor.press('Back in history');
  await visitor.idle();
  await visitor.press('Forward in history');
  await visitor.idle();
  assert.deepEqual(await visitor.state(), last);
});

visit('a link carries the whole session', async (visitor) => {
  await visitor.monitor('plug 1G');
  await visitor.type('tenant new 500');
  await visitor.page.locator('input[name=look]').fill('addr:0x88300000');
  await visitor.press('Look');
  await visitor.idle();
  await visitor.press('Copy link');
  await visitor.page.waitForFunction(() => location.hash.startsWith('#s='));
  const address = visitor.page.url();
  assert.ok(address.length - PAGE.length < 400, `${address.length}`);
  const other = await Visitor.open(shared.browser, { address });
  assert.deepEqual(await other.state(), await visitor.state());
  assert.equal(await other.session('look'), 'addr:0x88300000');
  await other.close();
});

visit('a link that cannot be read is a message and a new machine', async (visitor) => {
  assert.match(await visitor.page.getByRole('alert').textContent(), /The link cannot be read/);
  assert.equal((await visitor.session('requests')).length, 1);
}, { address: `${PAGE}#s=AAAA` });

visit('a new machine has the granule, the RAM and the arguments that were chosen', async (visitor) => {
  await visitor.press('New machine');
  await visitor.page.getByLabel('Granule').selectOption('64k');
  await visitor.page.getByLabel('Boot RAM').selectOption('2G');
  await visitor.page.getByLabel('memmap= of added memory').selectOption('demand');
  await visitor.press('Boot');
  await visitor.page.waitForFunction(() => window.hotmap.state.granule === 65536);
  await visitor.idle();
  const state = await visitor.state();
  assert.equal(state.args.memmap, 'demand');
  assert.equal(state.pages.present, 2 * 2 ** 30 / 65536);
});

visit('a virtio memory device is resized by its slider', async (visitor) => {
  await visitor.press('New machine');
  await visitor.page.getByLabel('virtio-mem region').selectOption('4G');
  await visitor.press('Boot');
  await visitor.page.waitForFunction(() => window.hotmap.state.virtio_mem.length === 1);
  await visitor.idle();
  for (const size of [2 ** 30, 0]) {
    await visitor.request(() => visitor.page.getByLabel(/^virtio-mem0/).fill(String(size)));
    const [device] = (await visitor.state()).virtio_mem;
    assert.deepEqual([device.requested_size, device.plugged_size], [size, size]);
  }
});

visit('the form for a new machine begins with the machine that is there, and says what each choice means', async (visitor) => {
  const { page } = visitor;
  const form = page.getByRole('dialog');
  await visitor.press('New machine');
  await form.getByLabel('Granule').selectOption('16k');
  await form.getByLabel('memmap= of added memory').selectOption('self-range');
  assert.match(await form.locator('#about-memmap').textContent(), /Each added range holds/);
  await form.getByLabel('bug=').selectOption('no-bbm');
  await form.getByLabel('Other boot arguments').fill('strict=off');
  assert.equal(await form.getByLabel('virtio-mem region').locator('option').first().textContent(), 'none');
  await visitor.press('Boot');
  await page.waitForFunction(() => window.hotmap.state.granule === 16384);
  await visitor.idle();
  const { args } = (await visitor.session('requests'))[0];
  assert.equal(args, 'memmap=self-range bug=no-bbm strict=off');
  await visitor.press('New machine');
  assert.deepEqual(await form.locator('select').evaluateAll((all) => all.map((one) => one.value)), ['16k', '1G', 'self-range', 'ram', '', '1G', 'no-bbm']);
  await visitor.press('Boot');
  await visitor.idle();
  assert.equal((await visitor.session('requests'))[0].args, args);
});

visit('the form offers the bugs that the kernel has', async (visitor) => {
  const { text } = await visitor.type('help bugs');
  await visitor.press('New machine');
  const offered = await visitor.page.getByRole('dialog').getByLabel('bug=').locator('option').allTextContents();
  const known = text.split('\n').map((line) => /^ *(?:bug=)?([a-z-]+-[a-z-]+)\b/.exec(line)?.[1]).filter(Boolean);
  assert.deepEqual(offered.filter((name) => name !== 'none').sort(), known.sort());
});

for (const [line, why] of [['crash', /accessed an address that is not mapped/], ['poweroff', /the run ends with status 0/]]) {
  visit(`a machine that has stopped (${line}) is one notice, with the way back`, async (visitor) => {
    const { page } = visitor;
    await visitor.type('tenant new 7');
    await visitor.type(line);
    assert.match(await page.getByRole('alert').textContent(), why);
    assert.doesNotMatch(await page.locator('body').innerText(), /there is no machine|exit\.rs/);
    assert.equal(await page.locator('.missing').count(), 0);
    await visitor.screenshot(`stopped-${line}`);
    await page.mouse.wheel(0, 9999);
    assert.ok(await page.getByRole('alert').evaluate((notice) => {
      const { left, top, width, height } = notice.getBoundingClientRect();
      return [0.05, 0.5, 0.95].every((share) => notice.contains(document.elementFromPoint(left + share * width, top + height / 2)));
    }), 'the whole notice is in sight');
    await visitor.type('mem');
    assert.match(await page.getByRole('alert').textContent(), why);
    await visitor.press('Go back');
    await visitor.idle();
    assert.equal(await page.getByRole('alert').count(), 0);
    assert.equal((await visitor.state()).tenants[0].pages, 7);
    assert.match((await visitor.type('mem')).text, /present/);
  }, { width: 1024, height: 768 });
}

visit('a machine that cannot boot is a notice, and the first machine is a button away', async (visitor) => {
  await visitor.page.evaluate(() => window.hotmap.start({ memory: '1X' }));
  await visitor.idle();
  assert.match(await visitor.page.getByRole('alert').textContent(), /1X: expected a size/);
  await visitor.press('Boot the first machine');
  await visitor.idle();
  assert.equal((await visitor.state()).blocks.length, 8);
});

const exercise = (visitor, title) => visitor.page.locator('.exercise', { hasText: title }).first();

/** Opens an exercise and boots its machine. */
async function begin(visitor, title) {
  const place = exercise(visitor, title);
  await place.locator('summary').first().click();
  await place.getByRole('button', { name: 'Begin' }).click();
  await visitor.page.waitForFunction(() => window.hotmap.requests.length === 1);
  await visitor.idle();
  return place;
}

/** Checks an exercise. Returns what the page says. */
async function check(place) {
  await place.getByRole('button', { name: 'Check' }).click();
  await place.locator('p[role=status]', { hasText: /./ }).waitFor();
  await place.page().waitForTimeout(200);
  return place.locator('p[role=status]').textContent();
}

visit('exercise: the DIMM holds its own memmap', async (visitor) => {
  const place = await begin(visitor, 'Make the DIMM hold its own memmap');
  await visitor.monitor('plug 1G');
  assert.match(await check(place), /Not yet/);
  await visitor.press('New machine');
  await visitor.page.getByLabel('memmap= of added memory').selectOption('self');
  await visitor.press('Boot');
  await visitor.page.waitForFunction(() => window.hotmap.state.args.memmap === 'self');
  await visitor.idle();
  await visitor.monitor('plug 1G');
  assert.match(await check(place), /Done/);
});

visit('exercise: 4095 pages are saved', async (visitor) => {
  const place = await begin(visitor, 'Save 4095 pages');
  await visitor.monitor('plug 4G');
  await visitor.type('hugetlb 1G 1');
  await visitor.idle();
  assert.match(await check(place), /Not yet/);
  await visitor.type('hugetlb 2M 1');
  assert.ok((await visitor.state()).dedup.saved_pages >= 4095);
  assert.match(await check(place), /Done/);
});

visit('exercise: a DIMM in use leaves', async (visitor) => {
  const place = await begin(visitor, 'Take a DIMM away that is in use');
  await visitor.monitor('plug 1G');
  await visitor.type('tenant new 500');
  assert.match(await check(place), /Not yet/);
  await visitor.monitor('unplug 0');
  assert.match(await check(place), /Done/);
});

visit('all can be done by keyboard', async (visitor) => {
  const { page } = visitor;
  await page.keyboard.press('Tab');
  await page.keyboard.press('Enter');
  assert.equal(await page.evaluate(() => document.activeElement.id), 'prompt-line');
  await page.keyboard.type('tenant new 7');
  await visitor.request(() => page.keyboard.press('Enter'));
  assert.deepEqual((await visitor.state()).tenants.map((tenant) => tenant.pages), [7]);
  const names = new Set();
  for (let at = 0; at < 80; at += 1) {
    await page.keyboard.press('Tab');
    names.add(await page.evaluate(() => document.activeElement.getAttribute('aria-label') ?? document.activeElement.textContent));
  }
  for (const name of ['New machine', 'Copy link', 'Plug 1G into slot 0', 'Back in history', 'Audit', 'Look']) assert.ok([...names].some((one) => one.startsWith(name)), `${name} cannot be reached`);
});

for (const [width, scheme] of [[1024, 'light'], [1024, 'dark'], [1920, 'light'], [1920, 'dark']]) {
  visit(`at ${width} px, ${scheme}: nothing is wider than the page, and axe finds nothing`, async (visitor) => {
    await visitor.monitor('plug 1G');
    await visitor.type('tenant new 500; hugetlb 2M 4');
    const { page } = visitor;
    assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), width);
    await visitor.screenshot(`${width}-${scheme}`);
    await page.evaluate(axe);
    const { violations } = await page.evaluate(() => window.axe.run());
    assert.deepEqual(violations.map((one) => `${one.id}: ${one.nodes.map((node) => node.target).slice(0, 4)}: ${one.help}`), []);
  }, { width, height: width === 1024 ? 768 : 1080, scheme });
}

visit('the switch chooses dark or light', async (visitor) => {
  const paper = () => visitor.page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const light = await paper();
  await visitor.page.getByLabel('Theme').selectOption('dark');
  assert.notEqual(await paper(), light);
  await visitor.page.getByLabel('Theme').selectOption('system');
  assert.equal(await paper(), light);
});
