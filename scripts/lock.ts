/*
 * npm run lock: completes package-lock.json. A registry that lacks the binary of another platform
 * makes npm leave it out of the lock file without a word, and then `npm ci` refuses the file. The
 * entries written here carry no checksum, which such a registry cannot give; npm adds none later.
 */

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { readArguments } from "./arguments.ts";
import { ROOT } from "./bundle.ts";
import { completeLock } from "./lock-file.ts";

readArguments("npm run lock\n  completes package-lock.json; takes no options\n", {});
const path = join(ROOT, "package-lock.json");
const before = readFileSync(path, "utf8");
const { text, added } = completeLock(before);
if (added.length > 0) writeFileSync(path, text);
for (const name of added) process.stdout.write(`added ${name}\n`);
