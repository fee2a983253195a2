/*
 * npm run manifests: writes what is made from the Helm chart's templates and values: its schema,
 * the table in its README, and infra/kustomize. With --check nothing is written, and the exit code
 * is 1 when a file is out of date. KUBE_ALLOWLIST_HELM names the program helm, 3.18 or newer;
 * without it infra/kustomize is left as it is.
 */

import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { readArguments } from "./arguments.ts";
import { ROOT } from "./bundle.ts";
import { CHART, renderChartFiles } from "./chart-files.ts";
import { renderKustomizeFiles } from "./kustomize-files.ts";

const USAGE = `npm run manifests -- [options]
  --check   write nothing; exit code 1 when a file is out of date
`;

const values = readArguments(USAGE, { check: { type: "boolean", default: false } });

function put(folder: string, files: ReadonlyMap<string, string>): void {
  for (const [name, text] of files) {
    const path = join(folder, name);
    if (existsSync(path) && readFileSync(path, "utf8") === text) continue;
    if (values.check) process.exitCode = 1;
    else writeFileSync(path, text);
    process.stdout.write(`${path} ${values.check ? "is out of date" : "written"}\n`);
  }
}

put(CHART, renderChartFiles());
// Only now: Helm itself checks values against the schema that was just written.
const helm = process.env.KUBE_ALLOWLIST_HELM;
if (helm) {
  put(join(ROOT, "infra/kustomize"), renderKustomizeFiles(helm));
} else {
  process.stderr.write(
    "Cannot render infra/kustomize: KUBE_ALLOWLIST_HELM is not set; name the program helm\n",
  );
}
