// Runs a simulated I2P network in WebAssembly, and prints what happened as one line of JSON.
//
//     cargo build -p ramson-wasm --lib --target wasm32-unknown-unknown
//     node tests/wasm/run.mjs [SEED] [FILE.wasm]
//
// Nothing but this file stands between Node.js and the module: no bindings are generated, and the module
// imports nothing. Exits with 1 when the visitor of the network did not get what it asked for, or when two runs of one
// seed differ, or runs of two seeds do not.

import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const TARGET =
  process.env.CARGO_TARGET_DIR ?? fileURLToPath(new URL("../../target", import.meta.url));
const FILE = `${TARGET}/wasm32-unknown-unknown/debug/ramson_wasm.wasm`;
// Virtual time: how long the script looks away, and when it gives up.
const STEP_MS = 1_000;
const LIMIT_MS = 300_000;

const [seed = "7", file = FILE] = process.argv.slice(2);
const module = new WebAssembly.Module(readFileSync(file));
const imports = WebAssembly.Module.imports(module);
if (imports.length > 0) fail(`the module asks for ${JSON.stringify(imports)}`);

function fail(why) {
  console.error(why);
  process.exit(1);
}

/** One network from its start to the end of the visit. */
function run(seed) {
  const { exports: world } = new WebAssembly.Instance(module, {});
  const text = () => {
    const bytes = new Uint8Array(world.memory.buffer, world.world_text(), world.world_text_len());
    return new TextDecoder().decode(bytes);
  };
  try {
    world.world_start(BigInt(seed));
    for (let ms = 0; ms < LIMIT_MS && !world.world_run(STEP_MS); ms += STEP_MS);
    world.world_report();
    return JSON.parse(text());
  } catch (trap) {
    fail(`${trap}: ${text()}`);
  }
}

const start = performance.now();
const report = run(seed);
const seconds = (performance.now() - start) / 1000;
const again = run(seed);
const other = run(BigInt(seed) + 1n);
report.repeatable = JSON.stringify(report) === JSON.stringify(again);
report.seconds = Number(seconds.toFixed(2));
console.log(JSON.stringify(report));
if (!report.fetched_ok) fail(report.problem);
if (!report.repeatable) fail(`the second run differs: ${JSON.stringify(again)}`);
if (other.digest === report.digest) fail("another seed has the same digest");
