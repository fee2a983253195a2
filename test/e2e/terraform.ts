import assert from "node:assert/strict";
import { cpSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { temporaryFolder } from "./child.ts";

/** In which file one text becomes another one. */
export type Change = readonly [file: string, from: string, to: string];

/** A copy of a module with the tests of one file, which holds the run, and one change. */
export function changedModule(module: string, run: string, [file, from, to]: Change): string {
  const copy = join(temporaryFolder("terraform"), "changed");
  cpSync(module, copy, { recursive: true });
  const tests = readdirSync(join(copy, "tests")).filter((one) => one.endsWith(".tftest.hcl"));
  for (const path of tests.map((one) => join(copy, "tests", one))) {
    if (!readFileSync(path, "utf8").includes(`run "${run}"`)) rmSync(path);
  }
  const text = readFileSync(join(copy, file), "utf8");
  assert(text.includes(from), `${file} holds ${from}`);
  writeFileSync(join(copy, file), text.replace(from, to));
  return copy;
}
