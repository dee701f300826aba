// Links from anywhere: no script runs, the page says what is wrong, and stays usable.

import assert from 'node:assert/strict';
import { PAGE, visits } from './browser.js';

const { visit } = visits();

const BOOT = { do: 'boot', args: 'memmap=self', granule: '4k', memory: '1G', slots: 8 };
const link = (fields) => `${PAGE}#j=${Buffer.from(JSON.stringify({ v: 1, ...fields })).toString('base64url')}`;
const evil = '<img src=x onerror=window.evil=1>';

/** What a page is like that can be used: nothing was run but the machine, and that answers. */
async function usable(visitor) {
  assert.equal(await visitor.page.evaluate(() => window.evil), undefined);
  assert.match((await visitor.type('mem')).text, /present/);
}

const html = { do: [{ ...BOOT, args: `memmap=${evil} more=${evil}` }, `tenant new ${evil}`, '<script>window.evil=1</script>', `(qemu) plug ${evil}`, ';;', ''] };

visit('HTML in a link is text', async (visitor) => {
  const { page } = visitor;
  const printed = await page.getByRole('log').textContent();
  for (const text of [`tenant new ${evil}`, '<script>window.evil=1</script>', `(qemu) plug ${evil}`]) assert.ok(printed.includes(text), text);
  assert.equal(await page.locator('main img, main script').count(), 0);
  await usable(visitor);
}, { address: link(html) });

for (const look of ['pfn:0x3fffffffffffff', 'pfn:0xffffffffffffffff', `addr:0x${'f'.repeat(300)}`, 'pfn:-1', 'addr:', 'zz', 'pfn:1.5', evil]) {
  visit(`a link that chooses ${look.slice(0, 24)} shows no such page`, async (visitor) => {
    await usable(visitor);
    await visitor.page.locator('#lens .missing').first().waitFor();
  }, { address: link({ at: 0, look, do: [BOOT] }) });
}

visit('a machine of a link that cannot be is a notice', async (visitor) => {
  assert.match(await visitor.page.getByRole('alert').textContent(), /its machine has no such pmem: \{"a":1\}\. This is a new machine/);
  await usable(visitor);
  assert.equal(await visitor.page.locator('.notice').count(), 0, 'a request later');
}, { address: link({ do: [{ ...BOOT, pmem: { a: 1 } }] }) });

visit('a damaged link in the address of a page with a session is a notice, and the session stays', async (visitor) => {
  const { page } = visitor;
  await visitor.monitor('plug 1G');
  await page.waitForFunction(() => location.hash.startsWith('#s='));
  const before = await page.evaluate(() => location.hash);
  await page.evaluate(() => { location.hash = '#s=AAAA'; });
  await page.getByRole('alert').getByText('The link cannot be read: it is damaged').waitFor();
  assert.equal((await visitor.state()).dimms.length, 1);
  await page.waitForFunction((hash) => location.hash === hash, before);
  await usable(visitor);
});

visit('a link to another moment of the session goes there', async (visitor) => {
  const { page } = visitor;
  await visitor.monitor('plug 1G');
  await page.evaluate((hash) => { location.hash = hash; }, new URL(link({ at: 0, look: 'pfn:0x40000', do: [(await visitor.session('requests'))[0], '(qemu) plug 1G'] })).hash);
  await page.waitForFunction(() => window.hotmap.at === 0 && window.hotmap.look === 'pfn:0x40000');
});

visit('a session that is too long for a link has none', async (visitor) => {
  const { page } = visitor;
  await visitor.type(`tenant ${'x'.repeat(100_000)}`);
  await visitor.press('Copy link');
  await page.getByText('The session is too long for a link.').waitFor();
  await usable(visitor);
});
