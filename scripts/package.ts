/*
 * npm run package -- [--config allowlist.yaml] [--out dist/package] [--account N] [--region R]: one
 * folder and one archive a function, with its bundle and the configuration as JSON, and what
 * deploying them needs: iam.json, variables.json, serverless.json, and SHA256SUMS of everything.
 * The same sources and configuration give the same bytes. What a function does not reach with it is
 * left out.
 */

import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import type { Config } from "../lib/config.ts";
import { accountNotes } from "../lib/roles/account.ts";
import { FUNCTION_NAMES } from "../lib/roles/needs.ts";
import { platformOf, referencesOf } from "../lib/roles/references.ts";
import { regionNotes } from "../lib/roles/regions.ts";
import { type Place, rolesOf } from "../lib/roles.ts";
import { failUsage, readArguments, readConfigText } from "./arguments.ts";
import { bundleEntry, ROOT } from "./bundle.ts";
import { packageConfig } from "./packaged-config.ts";
import { serverlessNotes, serverlessSettings, variablesOf } from "./serverless-settings.ts";
import { leaveOutUnused } from "./unused-parts.ts";
import { zip } from "./zip.ts";

const USAGE = `npm run package -- [options]
  --config FILE   the configuration (default: allowlist.yaml)
  --out FOLDER    where the package goes (default: dist/package)
  --account N     of the functions: 12 digits for AWS, 16 for Alibaba Cloud
  --region NAME   of the functions on AWS (default: that of the bucket)
`;

const values = readArguments(USAGE, {
  config: { type: "string", default: "allowlist.yaml" },
  out: { type: "string", default: join(ROOT, "dist/package") },
  account: { type: "string" },
  region: { type: "string" },
});
const out = resolve(values.out);
const place = { region: values.region, ...accountOf(values.account) };
const { config, json } = readConfig(resolve(values.config));
const sums = new Map<string, string>();

mkdirSync(out, { recursive: true });
await packageFunctions(config, json);
describe(config, place);
writeFileSync(join(out, "SHA256SUMS"), sumsText());
tell(config);

function readConfig(path: string): { readonly config: Config; readonly json: string } {
  const packaged = packageConfig(readConfigText(path), {
    readFile: (file) => readFileSync(resolve(dirname(path), file), "utf8"),
  });
  if (packaged.kind === "packaged") return packaged;
  const sentences = packaged.problems.map(
    ({ path: at, message }) => `${values.config}: ${at === "" ? "" : `${at}: `}${message}`,
  );
  return failUsage(...sentences);
}

async function packageFunctions(config: Config, json: string): Promise<void> {
  for (const name of FUNCTION_NAMES) {
    const folder = join(out, name);
    rmSync(folder, { recursive: true, force: true });
    mkdirSync(folder);
    await bundleEntry(name, folder, { plugins: [leaveOutUnused(config, name)] });
    writeFileSync(join(folder, "allowlist.json"), json);
    const files = [`${name}.cjs`, "allowlist.json"].map(
      (file) => [file, readFileSync(join(folder, file))] as const,
    );
    for (const [file, content] of files) keep(`${name}/${file}`, content);
    keep(`${name}.zip`, zip(Object.fromEntries(files)));
    process.stdout.write(`${folder}\n`);
  }
}

/** For whoever deploys: policies, names of variables, and what serverless.yml includes. */
function describe(config: Config, place: Place): void {
  keep("iam.json", jsonText(rolesOf(config, place)));
  keep("variables.json", jsonText(variablesOf(config)));
  const settings = serverlessSettings(config, place);
  if (settings === null) rmSync(join(out, "serverless.json"), { force: true });
  else keep("serverless.json", jsonText(settings));
}

function accountOf(number: string | undefined): Place {
  if (number === undefined) return {};
  if (/^[0-9]{12}$/.test(number)) return { account: number };
  if (/^[0-9]{16}$/.test(number)) return { alibabaAccount: number };
  return failUsage("Cannot use --account: 12 digits for AWS, 16 for Alibaba Cloud");
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
  const references = referencesOf(config, platformOf(config) ?? "aws");
  for (const name of FUNCTION_NAMES) {
    const needed = references[name].map((reference) => reference.replace(/^env:/, ""));
    const text = needed.length === 0 ? "no secret" : needed.join(", ");
    process.stdout.write(`${name} needs ${text}\n`);
  }
  const roles = rolesOf(config, place);
  const onRoles = [...roles.notes, ...accountNotes(roles), ...regionNotes(config)];
  for (const note of [...onRoles, ...serverlessNotes(config)]) process.stderr.write(`${note}\n`);
}
