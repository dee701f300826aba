// usage: node build.js MACHINE.wasm OUT.html
//
// Builds the page: one file that needs nothing else. Its limit is 1.5 MB.

import { readFileSync, writeFileSync, mkdirSync, existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { deflateRawSync } from 'node:zlib';
import { rollup } from '@rollup/wasm-node';

const LIMIT = 1_500_000;
const here = dirname(fileURLToPath(import.meta.url));

/** Finds packages: the file that `import` of their package.json names. */
const packages = {
  name: 'packages',
  resolveId: (id) => (/^[\w@]/.test(id) ? fileURLToPath(import.meta.resolve(id)) : null),
};

/** A module and all that it imports, as one. */
export async function script(name) {
  const bundle = await rollup({ input: join(here, 'src', name), plugins: [packages], onwarn: (warning) => { throw new Error(warning.message); } });
  const { output } = await bundle.generate({ format: 'es' });
  return output[0].code.replaceAll('</script', '<\\/script');
}

/** Words of the page that not every reader knows. */
const WORDS = ['altmap', 'audit', 'backing', 'break-before-make', 'compaction', 'dedup', 'DIMM', 'DSB', 'frame', 'granule', 'head', 'HVO', 'huge page', 'invariant', 'isolate', 'leaf', 'level',
  'linear map', 'memmap', 'memory block', 'migrate', 'offline', 'on demand', 'online', 'order', 'OST', 'page', 'pfn', 'pin', 'poison', 'run', 'section', 'self-hosted', 'struct page', 'tail',
  'tenant', 'TLB maintenance', 'TLBI', 'vmemmap', 'zone'];

/** Their rows of the glossary, as JSON. */
function words() {
  const glossary = readFileSync(join(here, '../../docs/glossary.md'), 'utf8');
  return JSON.stringify(WORDS.map((term) => {
    const [, meaning] = new RegExp(`^\\| \\*\\*${term}\\*\\* \\| (.*?) \\|`, 'm').exec(glossary) ?? [];
    if (!meaning) throw new Error(`docs/glossary.md has no row for '${term}'`);
    return { term, meaning };
  }));
}

/** The page, with a machine's code, deflated. */
export async function page(machine) {
  const parts = { style: readFileSync(join(here, 'src/page.css'), 'utf8'), machine: deflateRawSync(machine, { level: 9 }).toString('base64'), words: words(), script: await script('main.js'), worker: await script('worker.js') };
  return readFileSync(join(here, 'index.html'), 'utf8').replace(/\{\{(\w+)\}\}/g, (_, name) => parts[name]);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [machine, out] = process.argv.slice(2);
  if (!machine || !out || !existsSync(machine)) {
    console.error('usage: node build.js MACHINE.wasm OUT.html');
    process.exit(2);
  }
  const text = await page(readFileSync(machine));
  if (text.length > LIMIT) throw new Error(`${out}: ${text.length} bytes, and ${LIMIT} are the limit`);
  mkdirSync(dirname(out), { recursive: true });
  writeFileSync(out, text);
  console.error(`${out}: ${text.length} bytes`);
}
