// Runs the module: node run.mjs MODULE. Its console is standard input and output; a trap ends with exit code 101.
import { readFileSync, writeSync } from "node:fs";

const input = readFileSync(0);
let at = 0;
let memory;
const console_ = {
    read: () => (at < input.length ? input[at++] : -1),
    write: (text, length) => writeSync(1, new Uint8Array(memory.buffer, text, length)),
};
const { instance } = await WebAssembly.instantiate(readFileSync(process.argv[2]), { console: console_ });
memory = instance.exports.memory;
let code;
try {
    code = instance.exports.run();
} catch (error) {
    writeSync(2, `${error}\n`);
    code = 101;
}
process.exit(code);
