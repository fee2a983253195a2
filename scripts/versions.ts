/*
 * npm run versions -- [--tag v1.2.3]: exits 1 when the version is not the same everywhere, or is
 * not the one that the tag releases.
 */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { readArguments } from "./arguments.ts";
import { ROOT } from "./bundle.ts";
import { readVersion, versionPlaces, versionProblems } from "./version-places.ts";

const USAGE = `npm run versions -- [options]
  --tag TAG   the tag that releases the version, as v1.2.3
`;

const { tag } = readArguments(USAGE, { tag: { type: "string" } });
const version = readVersion();
const changelog = readFileSync(join(ROOT, "CHANGELOG.md"), "utf8");
const problems = versionProblems(version, versionPlaces(), { tag, changelog });
for (const problem of problems) process.stderr.write(`${problem}\n`);
if (problems.length > 0) process.exitCode = 1;
else process.stdout.write(`${version}\n`);
