// usage: node machine.js MACHINE.wasm <REQUESTS >ANSWERS
//
// Answers requests, one line of JSON each, by the machine of the playground.

import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { WasmSource } from '../src/source.js';

const source = await WasmSource.from(readFileSync(process.argv[2]));
for await (const line of createInterface({ input: process.stdin })) {
  if (line.trim()) console.log(JSON.stringify(await source.ask(JSON.parse(line))));
}
