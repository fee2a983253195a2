/*
 * npm run package -- [--config allowlist.yaml] [--out dist/package] [--account N] [--region R]: one
 * folder and one archive a function, with its bundle and the configuration as JSON, and what
 * deploying them needs: iam.json, serverless.json, SHA256SUMS. The same sources and configuration
 * give the same bytes. What a function does not reach with it is left out.
 */

import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { parseArgs } from "node:util";
import type { Config } from "../lib/config.ts";
import { FUNCTION_NAMES } from "../lib/roles/needs.ts";
import { type Platform, referencesOf } from "../lib/roles/references.ts";
import { type Place, rolesOf } from "../lib/roles.ts";
import { bundleEntry, ROOT } from "./bundle.ts";
import { packageConfig } from "./packaged-config.ts";
import { serverlessNotes, serverlessSettings } from "./serverless-settings.ts";
import { leaveOutUnused } from "./unused-parts.ts";
import { zip } from "./zip.ts";

const { values } = parseArgs({
  options: {
    config: { type: "string", default: "allowlist.yaml" },
    out: { type: "string", default: join(ROOT, "dist/package") },
    account: { type: "string" },
    region: { type: "string" },
  },
});
const out = resolve(values.out);
const { config, json } = readConfig(resolve(values.config));
const sums = new Map<string, string>();

mkdirSync(out, { recursive: true });
await packageFunctions(config, json);
describe(config, { region: values.region, ...accountOf(values.account) });
writeFileSync(join(out, "SHA256SUMS"), sumsText());
tell(config);

function readConfig(path: string): { readonly config: Config; readonly json: string } {
  const packaged = packageConfig(readFileSync(path, "utf8"), {
    readFile: (file) => readFileSync(resolve(dirname(path), file), "utf8"),
  });
  if (packaged.kind === "packaged") return packaged;
  for (const { path: at, message } of packaged.problems) {
    process.stderr.write(`${values.config}: ${at === "" ? "" : `${at}: `}${message}\n`);
  }
  process.exit(2);
}

async function packageFunctions(config: Config, json: string): Promise<void> {
  for (const name of FUNCTION_NAMES) {
    const folder = join(out, name);
    rmSync(folder, { recursive: true, force: true });
    mkdirSync(folder);
    await bundleEntry(name, folder, { plugins: [leaveOutUnused(config, name)] });
    writeFileSync(join(folder, "allowlist.json"), json);
    const files = [`${name}.cjs`, "allowlist.json"];
    keep(
      `${name}.zip`,
      zip(Object.fromEntries(files.map((file) => [file, readFileSync(join(folder, file))]))),
    );
    process.stdout.write(`${folder}\n`);
  }
}

/** For whoever deploys: policies, and what serverless.yml includes. */
function describe(config: Config, place: Place): void {
  keep("iam.json", jsonText(rolesOf(config, place)));
  const settings = serverlessSettings(config, place);
  if (settings === null) rmSync(join(out, "serverless.json"), { force: true });
  else keep("serverless.json", jsonText(settings));
}

function accountOf(number: string | undefined): Place {
  if (number === undefined) return {};
  if (/^[0-9]{12}$/.test(number)) return { account: number };
  if (/^[0-9]{16}$/.test(number)) return { alibabaAccount: number };
  process.stderr.write("Cannot use --account: 12 digits for AWS, 16 for Alibaba Cloud\n");
  process.exit(2);
}

function keep(file: string, content: string | Uint8Array): void {
  writeFileSync(join(out, file), content);
  sums.set(file, createHash("sha256").update(content).digest("hex"));
}

function jsonText(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}

/** As `sha256sum --check` reads it. */
function sumsText(): string {
  return [...sums.keys()]
    .toSorted()
    .map((file) => `${sums.get(file)}  ${file}\n`)
    .join("");
}

/** What each function needs where it runs, and what to look at. */
function tell(config: Config): void {
  const platform: Platform = config.store.kind === "oss" ? "alibaba" : "aws";
  const references = referencesOf(config, platform);
  for (const name of FUNCTION_NAMES) {
    const needed = references[name].map((reference) => reference.replace(/^env:/, ""));
    const text = needed.length === 0 ? "no secret" : needed.join(", ");
    process.stdout.write(`${name} needs ${text}\n`);
  }
  for (const note of [...rolesOf(config).notes, ...serverlessNotes(config)]) {
    process.stderr.write(`${note}\n`);
  }
}
