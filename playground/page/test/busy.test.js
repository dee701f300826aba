// The page while the machine runs for long: it answers, says what runs, and stops it.

import assert from 'node:assert/strict';
import { encode } from '../src/link.js';
import { PAGE, visits } from './browser.js';

const { visit } = visits();

/** Types a line and does not wait for its answer. */
async function begin({ page }, line, prompt = 'line') {
  await page.locator(`#prompt-${prompt}`).fill(line);
  await page.keyboard.press('Enter');
}

const sign = ({ page }) => page.locator('.working');

/** The longest time between two frames, while `work` runs. */
async function longestFrame({ page }, work) {
  await page.evaluate(() => {
    const seen = { longest: 0, last: performance.now(), on: true };
    const tick = () => {
      const now = performance.now();
      seen.longest = Math.max(seen.longest, now - seen.last);
      seen.last = now;
      if (seen.on) requestAnimationFrame(tick);
    };
    requestAnimationFrame(tick);
    window.frames_seen = seen;
  });
  await work();
  return page.evaluate(() => {
    window.frames_seen.on = false;
    return window.frames_seen.longest;
  });
}

visit('the page answers while stress 200 runs, and Stop goes back to the state before', async (visitor, t) => {
  const { page } = visitor;
  await visitor.monitor('plug 1G');
  await visitor.type('tenant new 7');
  const before = await visitor.state();
  const longest = await longestFrame(visitor, async () => {
    await begin(visitor, 'stress 200');
    await sign(visitor).getByText('stress 200').waitFor();
    await page.getByLabel('Theme').selectOption('dark');
    assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), 'dark');
    await visitor.screenshot('busy');
    await page.waitForTimeout(2500);
    assert.match(await sign(visitor).textContent(), /\d s/);
  });
  t.diagnostic(`the longest frame took ${Math.round(longest)} ms`);
  assert.ok(longest < 1000, `${longest} ms`);
  await visitor.press('Stop');
  await visitor.idle();
  assert.match(await page.locator('.notice').textContent(), /Stopped: hotmap> stress 200/);
  assert.deepEqual(await visitor.state(), before);
  assert.deepEqual((await visitor.session('requests')).map((request) => request.text), [undefined, 'plug 1G', 'tenant new 7']);
  assert.equal((await visitor.type('tenant check')).status, 0);
  assert.equal(await page.locator('.notice').count(), 0);
});

visit('a machine that is stopped runs again up to where it was, and says how far it is', async (visitor) => {
  await visitor.type('stress 9');
  await begin(visitor, 'stress 200');
  await visitor.press('Stop');
  await sign(visitor).getByText(/2 of 2: hotmap> stress 9/).waitFor();
  await visitor.press('Stop');
  await visitor.idle();
  assert.equal((await visitor.session('requests')).length, 2);
  assert.match((await visitor.session('answers'))[1].text, /stress: done/);
  assert.deepEqual((await visitor.session('views')).audit.findings, []);
});

visit('plugging 64 GiB does not freeze the page', async (visitor, t) => {
  const longest = await longestFrame(visitor, () => visitor.monitor('plug 64G'));
  t.diagnostic(`the longest frame took ${Math.round(longest)} ms`);
  assert.ok(longest < 1000, `${longest} ms`);
});

visit('what is quick shows no sign', async (visitor) => {
  await visitor.page.evaluate(() => {
    Object.assign(window, { signs: 0, slow: 0 });
    let since = 0;
    new MutationObserver(() => {
      if (document.querySelector('main').getAttribute('aria-busy') === 'true') since = performance.now();
      else window.slow = Math.max(window.slow, performance.now() - since);
    }).observe(document.querySelector('main'), { attributes: true });
    new MutationObserver(() => { window.signs += document.querySelector('.working').hidden ? 0 : 1; }).observe(document.querySelector('.working'), { attributes: true, childList: true });
  });
  await visitor.request(() => visitor.press('Audit'));
  const { signs, slow } = await visitor.page.evaluate(() => ({ signs: window.signs, slow: window.slow }));
  // Beside other work even an audit may not be quick.
  assert.ok(slow > 0 && (signs === 0 || slow >= 150), `${signs} signs, ${slow} ms`);
});

visit('a link with a long request is stopped where it is', async (visitor) => {
  const { page } = visitor;
  const requests = [(await visitor.session('requests'))[0], { do: 'line', text: 'tenant new 7' }, { do: 'line', text: 'stress 200' }];
  await page.goto(`${PAGE}?again${await encode({ requests, at: 2, look: null })}`);
  await sign(visitor).getByText('stress 200').waitFor();
  await visitor.press('Stop');
  await visitor.idle();
  assert.deepEqual([await visitor.session('at'), (await visitor.state()).tenants[0].pages], [1, 7]);
});

visit('a worker that is gone without a word is stopped, and begins anew', async (visitor) => {
  await visitor.monitor('plug 1G');
  await visitor.page.evaluate(() => window.hotmap.source.worker.terminate());
  await begin(visitor, 'mem');
  await sign(visitor).getByText('hotmap> mem').waitFor();
  await visitor.press('Stop');
  await visitor.idle();
  assert.equal((await visitor.state()).dimms.length, 1);
  assert.match((await visitor.type('mem')).text, /present/);
});

visit('a worker that fails while nothing runs begins anew', async (visitor) => {
  await visitor.monitor('plug 1G');
  await visitor.page.evaluate(() => window.hotmap.source.worker.onerror(new Event('error')));
  assert.match((await visitor.type('mem')).text, /^present +524288 pages/);
  assert.equal(await visitor.page.locator('.notice').count(), 0);
});

visit('a step that is chosen while a command runs is not one of that command', async (visitor) => {
  const { page } = visitor;
  await visitor.monitor('plug 1G');
  await begin(visitor, 'mem; stress 9');
  await sign(visitor).getByText('stress 9').waitFor();
  await page.locator('#history .steps li button').first().click();
  await visitor.idle();
  assert.deepEqual([await visitor.session('at'), await visitor.session('step')], [2, null]);
  assert.match((await visitor.type('mem')).text, /present/);
});

/** What `new Worker` does where workers are not allowed. */
const REFUSALS = {
  throws: () => { window.Worker = class { constructor() { throw new Error('not here'); } }; },
  'reports an error': () => { window.Worker = class { postMessage() { setTimeout(() => this.onerror(new Event('error'))); } terminate() {} }; },
};

for (const [what, refuse] of Object.entries(REFUSALS)) {
  visit(`where a worker ${what}, the machine runs in the page`, async (visitor) => {
    const { page } = visitor;
    await page.addInitScript(refuse);
    await page.reload();
    await page.waitForSelector('main');
    await visitor.idle();
    assert.equal(await page.evaluate(() => window.hotmap.source.can.stop), false);
    assert.match((await visitor.type('mem')).text, /present/);
  });
}
