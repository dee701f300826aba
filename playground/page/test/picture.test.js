// Pictures without a browser.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { picture } from '../picture.js';
import * as sample from './sample.js';

const views = () => ({ memory: sample.memory(1), vmemmap: sample.shared(sample.vmemmap(1), 0x41800, 0x41806000), walk: sample.walk(), tables: sample.tables(), page: sample.page() });

/** What makes text no XML: an attribute without a value, a tag that is not closed. */
function assertWellFormed(text) {
  const open = [];
  for (const [tag, close, name, rest] of text.matchAll(/<(\/?)([a-z]\w*)((?:"[^"]*"|[^">])*)>/gi)) {
    if (close) assert.equal(open.pop(), name, tag);
    else if (!rest.endsWith('/')) open.push(name);
    assert.match(rest, /^(\s+[\w:-]+="[^"<]*")*\s*\/?$/, tag);
  }
  assert.deepEqual(open, []);
}

for (const name of ['map', 'lens', 'walk', 'tables', 'struct']) {
  test(`the picture ${name} is a well-formed file with its own style`, () => {
    const text = picture(name, views(), { chosen: 0x88300000 });
    assert.match(text, /^<svg xmlns="http:\/\/www.w3.org\/2000\/svg"[^>]*><style>/);
    assertWellFormed(text);
  });
}

test('a picture is the same each time', () => {
  assert.equal(picture('map', views()), picture('map', views()));
});

test('a view that is missing is an error that names it', () => {
  assert.throws(() => picture('lens', { memory: sample.memory(1) }), /'vmemmap' is missing/);
  assert.throws(() => picture('map', { memory: { error: 'no' } }), /'memory' is missing/);
});
