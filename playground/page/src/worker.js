// The machine in a worker. First comes its module; then requests, which are answered in order, as JSON.

import { WasmSource } from './source.js';

let source = null;
let turn = Promise.resolve();

self.onmessage = ({ data }) => {
  if (data instanceof WebAssembly.Module) source = new WasmSource(data);
  else if (!source) throw new Error('the module did not arrive');
  else turn = turn.then(async () => postMessage(await source.answer(data)));
};
