// The page over a real guest: the server of `make watch`, QEMU, and the page in a browser.

import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { test } from 'node:test';
import { launch, PAGE, Visitor } from './browser.js';

const { WATCH } = process.env;

/** Starts the server with a guest of its own. */
async function watch() {
  const child = spawn(WATCH, ['--port', '0', '--page', fileURLToPath(PAGE)], { stdio: ['pipe', 'pipe', 'inherit'] });
  for await (const line of createInterface({ input: child.stdout })) {
    const address = line.match(/http:\S+/);
    if (address) return { child, address: address[0], type: (text) => child.stdin.write(`${text}\n`) };
  }
  throw new Error('the server has ended');
}

const skip = WATCH ? false : 'make test-web builds the server';

test('a DIMM that is plugged at the monitor of QEMU arrives by itself, and goes', { skip }, async () => {
  const { child, address, type } = await watch();
  const browser = await launch();
  try {
    const { page, errors } = await Visitor.open(browser, { address });
    const rows = page.locator('#map .row');
    const before = await rows.count();
    type('object_add memory-backend-ram,id=m0,size=1G');
    type('device_add pc-dimm,id=d0,memdev=m0');
    await page.waitForFunction((n) => document.querySelectorAll('#map .row').length > n, before);
    assert.match(await page.locator('#map').textContent(), /dimm0/);
    await page.waitForFunction(() => /dimm0: .* is here/.test(document.querySelector('[role=log]').textContent));
    type('device_del d0');
    await page.waitForFunction((n) => document.querySelectorAll('#map .row').length === n, before);
    assert.deepEqual(errors, []);
    type('quit');
    const [status] = await once(child, 'exit');
    assert.equal(status, 0, 'the server ends with its guest');
  } finally {
    await browser.close();
    child.kill();
  }
});

/** Whether a process is there. */
const runs = (pid) => {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
};

/** The guest that a server started. */
const guestOf = (child) => {
  try {
    return Number(execFileSync('ps', ['-o', 'pid=', '--ppid', child.pid], { encoding: 'utf8' }).trim());
  } catch {
    return 0; // none yet
  }
};

/** Sends a signal to a server: it ends, and its guest does. */
async function ends(child, guest) {
  assert.ok(guest > 0 && runs(guest), `${guest}`);
  child.kill('SIGTERM');
  const [status] = await once(child, 'exit');
  assert.equal(status, 0);
  assert.ok(!runs(guest), 'QEMU is gone');
}

test('a signal ends the server, and the guest that it started', { skip }, async () => {
  const { child } = await watch();
  await ends(child, guestOf(child));
});

test('a signal ends both while the guest boots', { skip }, async () => {
  const child = spawn(WATCH, ['--port', '0', '--page', fileURLToPath(PAGE)], { stdio: ['pipe', 'ignore', 'inherit'] });
  let guest = 0;
  while (!guest) guest = guestOf(child);
  await ends(child, guest);
});
