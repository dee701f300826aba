// The page as `/?watch`: a guest behind a server, which is only looked at.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { launch, PAGE, Visitor } from './browser.js';
import { SampleSource } from './sample.js';

/** A server with a machine that changes when the test says so. */
function serve() {
  const machine = new SampleSource();
  const asked = [];
  const listeners = new Set();
  const server = createServer(async (request, response) => {
    if (request.url === '/events') {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      listeners.add(response);
    } else if (request.url === '/call') {
      let text = '';
      for await (const part of request) text += part;
      asked.push(JSON.parse(text));
      response.end(JSON.stringify(await machine.ask(asked.at(-1))));
    } else {
      response.end(readFileSync(fileURLToPath(PAGE)));
    }
  });
  const change = (event) => listeners.forEach((one) => one.write(`data: ${JSON.stringify(event)}\n\n`));
  return { machine, asked, change, server, listen: () => new Promise((done) => { server.listen(0, '127.0.0.1', () => done(`http://127.0.0.1:${server.address().port}/?watch`)); }) };
}

let browser;
before(async () => { browser = await launch(); });
after(() => browser?.close());

test('a guest behind a server is shown, and shown anew when it changes', async () => {
  const { machine, asked, change, server, listen } = serve();
  const visitor = await Visitor.open(browser, { address: await listen() });
  const { page } = visitor;
  assert.equal(await page.locator('#map .focus').count(), 2);
  machine.dimms = 1;
  change({ changed: 1, log: 'dimm0: 0x80000000..0xc0000000 (1 GiB) is here' });
  await page.waitForFunction(() => document.querySelectorAll('#map .focus').length === 3);
  assert.match(await page.getByRole('log').textContent(), /dimm0: .* is here/);
  assert.equal(await page.locator('#prompt-line, .actions button, .slot, #history').count(), 0);
  assert.ok(asked.every((request) => ['state', 'view'].includes(request.do)), 'the guest is only looked at');
  await visitor.close();
  server.closeAllConnections();
  server.close();
});
