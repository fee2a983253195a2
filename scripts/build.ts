/*
 * npm run build: every entry as one file in dist, and the licences of what is in them.
 */

import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { readArguments } from "./arguments.ts";
import { bundleEntry, ENTRIES, existingEntries, ROOT } from "./bundle.ts";
import { renderNotices } from "./notices.ts";

readArguments("npm run build\n  bundles everything in dist; takes no options\n", {});
const directory = join(ROOT, "dist");
const names = existingEntries();
for (const name of Object.keys(ENTRIES).filter((each) => !names.includes(each))) {
  process.stderr.write(`Cannot bundle ${name}: ${ENTRIES[name]} does not exist; left out\n`);
}
rmSync(directory, { recursive: true, force: true });
mkdirSync(directory);
for (const name of names) {
  const { bytes, inputs } = await bundleEntry(name, directory);
  // Only the command goes out to others, in the npm package.
  if (name === "cli") {
    writeFileSync(join(directory, "NOTICES.txt"), renderNotices(ROOT, inputs));
  }
  process.stdout.write(`dist/${name}.cjs ${bytes.toLocaleString("en")} bytes\n`);
}
