// Writes schema.mjs: where each field of each struct lies, as Cap'n Proto's compiler says.
//
//   capnp compile -ocapnp ../../../schemas/{node,account,auth,channel,codes,group,keys,queue}.capnp |
//     node layout.mjs > schema.mjs
import { readFileSync } from 'node:fs';

const structs = {};
const methods = {};
const codes = {};
const open = []; // names of the structs, enums and interfaces that a line is inside of

const rules = [
  [/^struct (\w+) @0x\w+ \{\s*# (\d+) bytes, (\d+) ptrs/, (name, bytes, pointers) => {
    open.push(name);
    structs[name] = { data: Number(bytes) / 8, pointers: Number(pointers), fields: {} };
  }],
  [/^union \{\s*# tag bits \[(\d+), \d+\)/, (bit) => {
    structs[open.at(-1)].tag = Number(bit);
    open.push(open.at(-1));
  }],
  [/^(?:enum|interface) (\w+) .*\{/, (name) => open.push(name)],
  [/^\}/, () => open.pop()],
  [/^(\w+) @(\d+) :?(\w+) -> (\w+);/, (name, ordinal, params, results) => {
    methods[name] = [Number(ordinal), params, results];
  }],
  [/^(\w+) @(\d+);|^(\w+) @(\d+) \$/, (name, ordinal, annotated, its) => {
    if (open.at(-1) === 'Code') codes[ordinal ?? its] = name ?? annotated;
  }],
  [/^(\w+) @\d+ :(.+?)(?: = .*)?;\s*# (?:bits\[(\d+), \d+\)|ptr\[(\d+)\])(?:, union tag = (\d+))?/, (name, type, bit, pointer, tag) => {
    structs[open.at(-1)].fields[name] = [type, Number(bit ?? pointer), ...(tag === undefined ? [] : [Number(tag)])];
  }],
];
for (const line of readFileSync(0, 'utf8').split('\n')) {
  const text = line.trim().replaceAll(/import "[^"]*"\./g, '');
  for (const [pattern, take] of rules) {
    const found = pattern.exec(text);
    if (found) {
      take(...found.slice(1));
      break;
    }
  }
}
console.log('// Made by layout.mjs from schemas/*.capnp: do not edit.');
for (const [name, value] of Object.entries({ structs, methods, codes })) {
  const rows = Object.entries(value).map(([key, row]) => `  ${JSON.stringify(key)}: ${JSON.stringify(row)},\n`);
  console.log(`export const ${name} = {\n${rows.join('')}};`);
}
