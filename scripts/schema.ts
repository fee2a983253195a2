/*
 * npm run schema: writes schema/allowlist.schema.json, which editors read. A test fails when it is
 * out of date.
 */

import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { readArguments } from "./arguments.ts";
import { ROOT } from "./bundle.ts";
import { renderConfigSchema } from "./config-schema.ts";

readArguments("npm run schema\n  writes schema/allowlist.schema.json; takes no options\n", {});
const path = join(ROOT, "schema/allowlist.schema.json");
mkdirSync(dirname(path), { recursive: true });
writeFileSync(path, renderConfigSchema());
