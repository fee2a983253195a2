import { createHash } from "node:crypto";
import { type Config, parseConfig } from "../lib/config.ts";
import { FUNCTION_NAMES } from "../lib/roles/needs.ts";
import { type Place, rolesOf } from "../lib/roles.ts";
import { serverlessSettings, variablesOf } from "../scripts/serverless-settings.ts";
import { zip } from "../scripts/zip.ts";

/*
 * Packages as `npm run package` writes them, with archives of a few bytes, for the tests of the
 * Terraform module of AWS, and what those of other modules are made with: one that is sound, and
 * others with one thing wrong each.
 */

/** What the modules themselves look at of a configuration. */
const CONFIGURATION = "webhook/allowlist.json";

export type Raw = Readonly<Record<string, unknown>>;
export type Files = Readonly<Record<string, Uint8Array>>;

const GROUP = {
  kind: "aws/security-group",
  region: "eu-west-1",
  id: "sg-0a1b2c3d4e5f60718",
  permission: { protocol: "tcp", port: 5432 },
};
const STORE = { kind: "s3", bucket: "acme-allowlist", region: "eu-west-1" };
const ROLE = { arn: "arn:aws:iam::210987654321:role/databases/allowlist", externalId: "word-1" };
const CONFIG = {
  version: 1,
  installation: "acme",
  store: STORE,
  status: { tokens: ["env:STATUS_TOKEN"] },
  clusters: {
    "prod-eu": {
      auth: { signature: { keys: ["env:PROD_EU_WEBHOOK_SECRET"] } },
      bounds: ["203.0.113.0/24"],
    },
  },
};
const TARGETS: readonly Raw[] = [
  GROUP,
  { ...GROUP, id: "sg-0f1e2d3c4b5a69788", role: ROLE },
  { kind: "linode/firewall", id: 4711, permission: { protocol: "tcp", port: 5432 } },
];
/** More security groups than the policy of one role has room for. */
const GROUPS_TOO_MANY = 180;
/** Of another archive than the one that was packaged. */
const CHANGED = zip({ "webhook.cjs": Buffer.from("another") });

/** The configuration with these targets, a list for each array. Throws where it is none. */
export function packagedConfig({ lists = [TARGETS], store = STORE as Raw } = {}) {
  const from = [{ cluster: "prod-eu", nodes: {}, addresses: ["ExternalIP"] }];
  const named = lists.map((targets, index) => {
    const list = { from, removal: { policy: "sync" }, targets };
    return [`list-${index}`, list] as const;
  });
  const raw = { ...CONFIG, store, lists: Object.fromEntries(named) };
  const reading = parseConfig(raw);
  if (reading.kind === "invalid") throw new Error(JSON.stringify(reading.problems));
  return { raw, config: reading.config };
}

/** By folder, then by file. The same every time. */
export function terraformPackages(): Readonly<Record<string, Files>> {
  const sound = render();
  const groups = Array.from({ length: GROUPS_TOO_MANY }, (_, index) => ({
    ...GROUP,
    id: `sg-0a1b2c3d4e5f60${String(index).padStart(3, "0")}`,
  }));
  const many = packagedConfig({ lists: [groups.slice(0, 90), groups.slice(90)] });
  return {
    package: sound,
    ...spoiled(sound),
    // As it would be if variables were forgotten.
    "without-variables": withSums(without(sound, "serverless.json")),
    "other-account": render({ place: { account: "210987654321" } }),
    "other-region": render({ store: { ...STORE, region: "eu-central-1" } }),
    "other-store": render({ store: { ...STORE, kind: "oss" } }),
    "assumed-store": render({ store: { ...STORE, role: ROLE } }),
    "other-account-assumed-store": render({
      store: { ...STORE, role: ROLE },
      place: { account: "345678901234" },
    }),
    "many-targets": withSums({
      ...sound,
      "iam.json": bytes(`${JSON.stringify(rolesOf(many.config))}\n`),
    }),
    // A right to write anywhere, which nothing renders.
    wide: withSums(replaced(sound, "iam.json", ["arn:aws:s3:::acme-allowlist/v1/*", "*"])),
  };
}

function render(options: { readonly store?: Raw; readonly place?: Place } = {}): Files {
  const { store = STORE, place = {} } = options;
  return packageOf(packagedConfig({ store }), place);
}

/** What `npm run package` makes of a configuration, its bundles apart. */
export function packageOf(
  { raw, config }: { readonly raw: Raw; readonly config: Config },
  place: Place,
): Files {
  const settings = serverlessSettings(config, place);
  const archives = FUNCTION_NAMES.map((name) => {
    const content = zip({ [`${name}.cjs`]: Buffer.from(name) });
    return [`${name}.zip`, content] as const;
  });
  return withSums({
    ...Object.fromEntries(archives),
    "iam.json": json(rolesOf(config, place)),
    ...(settings === null ? {} : { "serverless.json": json(settings) }),
    [CONFIGURATION]: json(raw),
    "variables.json": json(variablesOf(config)),
  });
}

/** The same files, changed or not vouched for in each way that no module may take. */
export function spoiled(sound: Files): Readonly<Record<string, Files>> {
  const without = (missing: string) => ({
    ...sound,
    SHA256SUMS: sums(sound, (file) => file !== missing),
  });
  return {
    changed: { ...sound, "webhook.zip": CHANGED },
    unsummed: without("resync.zip"),
    reconfigured: replaced(sound, CONFIGURATION, ["203.0.113.0/24", "198.51.100.0/24"]),
    "unsummed-configuration": without(CONFIGURATION),
    // What lib/config.ts would refuse, had it been asked.
    open: withSums(replaced(sound, CONFIGURATION, ["203.0.113.0/24", "0.0.0.0/0"])),
  };
}

/** With another text in one of them, wherever it stands. Throws where it does not. */
export function replaced(files: Files, file: string, [from, to]: readonly [string, string]): Files {
  const text = Buffer.from(files[file] ?? []).toString("utf8");
  if (!text.includes(from)) throw new Error(`Cannot find ${from} in ${file}`);
  return { ...files, [file]: bytes(text.replaceAll(from, to)) };
}

function without(files: Files, file: string): Files {
  return Object.fromEntries(Object.entries(files).filter(([name]) => name !== file));
}

/** With the sums of all of them. */
export function withSums(files: Files): Files {
  return { ...files, SHA256SUMS: sums(files, () => true) };
}

/** As `npm run package` writes them. */
function sums(files: Files, isWanted: (file: string) => boolean): Uint8Array {
  const lines = Object.keys(files)
    .filter((file) => file !== "SHA256SUMS" && isWanted(file))
    .toSorted()
    .map((file) => {
      const sum = createHash("sha256").update(files[file] ?? "");
      return `${sum.digest("hex")}  ${file}\n`;
    });
  return bytes(lines.join(""));
}

export function json(value: unknown): Uint8Array {
  return bytes(`${JSON.stringify(value, null, 2)}\n`);
}

function bytes(text: string): Uint8Array {
  return Buffer.from(text, "utf8");
}
