// A browser for the tests: Chromium, headless, and the page that `make page` built.

import assert from 'node:assert/strict';
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { chromium } from 'playwright-core';

const target = fileURLToPath(new URL('../../../target/playground/', import.meta.url));
export const PAGE = pathToFileURL(join(target, 'index.html')).href;
/** Milliseconds: only to end what hangs. Other work may run on this CPU. */
const HANG = 60_000;

const BROWSERS = [process.env.CHROMIUM, '/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];

/** Starts the browser. */
export function launch() {
  const executablePath = BROWSERS.find((path) => path && existsSync(path));
  assert.ok(executablePath, 'no Chromium: scripts/setup --web');
  assert.ok(existsSync(join(target, 'index.html')), 'no page: make page');
  return chromium.launch({ executablePath, args: ['--no-sandbox'] });
}

/** A page of the playground, driven by a test. */
export class Visitor {
  constructor(page, errors) {
    Object.assign(this, { page, errors });
  }

  /** Opens the page and waits until the machine has booted. */
  static async open(browser, { width = 1920, height = 1080, scheme = 'light', address = PAGE } = {}) {
    const page = await browser.newPage({ viewport: { width, height }, colorScheme: scheme });
    page.setDefaultTimeout(HANG);
    const errors = [];
    page.on('console', (message) => ['error', 'warning'].includes(message.type()) && errors.push(message.text()));
    page.on('pageerror', (error) => errors.push(error.stack));
    await page.goto(address);
    const visitor = new Visitor(page, errors);
    await page.waitForSelector('main');
    await visitor.idle();
    return visitor;
  }

  /** Waits until nothing runs and all is drawn. */
  async idle() {
    await this.page.waitForFunction(() => !window.hotmap.busy && document.querySelector('main')?.getAttribute('aria-busy') === 'false');
    await this.page.evaluate(() => new Promise((done) => { requestAnimationFrame(() => requestAnimationFrame(done)); }));
  }

  /** Does something by `act`, and waits until the machine has answered: until one request more has run. */
  async request(act) {
    const before = await this.page.evaluate(() => window.hotmap.ran);
    await act();
    await this.page.waitForFunction((n) => window.hotmap.ran > n, before);
    await this.idle();
    return this.answer();
  }

  /** Types a line at a prompt. */
  type(line, prompt = 'line') {
    return this.request(async () => {
      await this.page.locator(`#prompt-${prompt}`).fill(line);
      await this.page.keyboard.press('Enter');
    });
  }

  monitor(line) {
    return this.type(line, 'monitor');
  }

  /** Presses a button by its name. */
  press(name, options = {}) {
    return this.page.getByRole('button', { name, exact: true, ...options }).click();
  }

  /** What the machine answered last. */
  answer() {
    return this.page.evaluate(() => window.hotmap.answers[window.hotmap.at]);
  }

  state() {
    return this.page.evaluate(() => window.hotmap.state);
  }

  /** What the session has under a name. */
  session(name) {
    return this.page.evaluate((key) => window.hotmap[key], name);
  }

  async screenshot(name) {
    mkdirSync(join(target, 'screenshots'), { recursive: true });
    await this.page.screenshot({ path: join(target, 'screenshots', `${name}.png`), fullPage: true });
  }

  /** Closes the page. There must have been no error in its console. */
  async close() {
    await this.page.close();
    assert.deepEqual(this.errors, []);
  }
}

/** `visit(name, work, options)` is a test with a page of its own, which must not report an error: work(visitor, t). */
export function visits() {
  const shared = {};
  before(async () => { shared.browser = await launch(); });
  after(() => shared.browser?.close());
  const visit = (name, work, options) => test(name, async (t) => {
    const visitor = await Visitor.open(shared.browser, options);
    await work(visitor, t);
    await visitor.close();
  });
  return { visit, shared };
}
