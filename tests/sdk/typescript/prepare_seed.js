// Cuts activities.ts and workflows.ts verbatim out of the seed document and writes them, with the
// variants that spell the retry option as the official SDK does, into a folder.
//
//   node prepare_seed.js SEED_DOCUMENT OUT_FOLDER
'use strict';
const fs = require('node:fs');
const path = require('node:path');
const swc = require('@swc/core');

const [document, out] = process.argv.slice(2);
const text = fs.readFileSync(document, 'utf8');

function between(start, end) {
  const from = text.indexOf(start);
  const to = text.indexOf(end, from);
  if (from < 0 || to < 0) throw new Error(`the seed document has no part from "${start}" to "${end}"`);
  return text.slice(from + start.length, to).trim() + '\n';
}

const activities = between('Defining Activities (activities.ts)\n', 'Defining the Deterministic Workflow');
const workflows = between('Defining the Deterministic Workflow (workflows.ts)\n', 'Architectural Q&A Deep Dive');
if (!workflows.includes('retryPolicy:')) throw new Error('the seed workflow spells retryPolicy');

for (const [name, workflow] of [['verbatim', workflows], ['retry', workflows.replace('retryPolicy:', 'retry:')]]) {
  const folder = path.join(out, name);
  fs.mkdirSync(folder, { recursive: true });
  fs.writeFileSync(path.join(folder, 'activities.ts'), activities);
  fs.writeFileSync(path.join(folder, 'workflows.ts'), workflow);
  const compiled = swc.transformSync(activities, {
    filename: 'activities.ts',
    module: { type: 'commonjs' },
    jsc: { parser: { syntax: 'typescript' }, target: 'es2022' },
  });
  fs.writeFileSync(path.join(folder, 'activities.js'), compiled.code);
}
console.log('PREPARED');
