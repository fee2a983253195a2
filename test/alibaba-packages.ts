import { parseConfig } from "../lib/config.ts";
import { rolesOf } from "../lib/roles.ts";
import {
  type Files,
  json,
  packageOf,
  type Raw,
  replaced,
  spoiled,
  withSums,
} from "./terraform-packages.ts";

/*
 * Packages for the tests of the Terraform module of Alibaba Cloud.
 */

const PLACE = { alibabaAccount: "1234567890123456" };
const GROUP = {
  kind: "alibaba/security-group",
  region: "cn-beijing",
  id: "sg-2ze704f67h9example",
  permission: { protocol: "tcp", port: 443 },
};
const TARGETS: readonly Raw[] = [
  { kind: "alibaba/rds", region: "cn-beijing", id: "rm-2ze704f67h9example", group: "k8s" },
  GROUP,
];
const STORE = { kind: "oss", region: "cn-beijing", bucket: "acme-allowlist" };
/** More security groups than one policy has room for. */
const GROUPS_TOO_MANY = 80;

function configOf({ targets = TARGETS, store = STORE as Raw } = {}) {
  const raw = {
    version: 1,
    installation: "acme",
    store,
    status: { tokens: ["env:STATUS_TOKEN"] },
    clusters: {
      eu: { auth: { signature: { keys: ["env:EU_KEY"] } }, bounds: ["203.0.113.0/24"] },
    },
    lists: {
      db: {
        from: [{ cluster: "eu", nodes: {}, addresses: ["ExternalIP"] }],
        removal: { policy: "sync" },
        targets,
      },
    },
  };
  const reading = parseConfig(raw);
  if (reading.kind === "invalid") throw new Error(JSON.stringify(reading.problems));
  return { raw, config: reading.config };
}

/** By folder, then by file. The same every time. */
export function alibabaPackages(): Readonly<Record<string, Files>> {
  const sound = packageOf(configOf(), PLACE);
  const many = Array.from({ length: GROUPS_TOO_MANY }, (_, index) => ({
    ...GROUP,
    id: `sg-2ze704f67h9example${String(index).padStart(3, "0")}`,
  }));
  const { config } = configOf({ targets: many });
  const wide = (resource: string) => {
    const whole = "acs:oss:*:*:acme-allowlist/v1/*";
    return withSums(replaced(sound, "iam.json", [whole, resource]));
  };
  return {
    package: sound,
    ...spoiled(sound),
    "other-store": packageOf(
      configOf({ store: { ...STORE, kind: "s3", region: "eu-west-1" } }),
      PLACE,
    ),
    "many-targets": withSums({ ...sound, "iam.json": json(rolesOf(config, PLACE)) }),
    // Rights to write anywhere, which nothing renders.
    wide: wide("*"),
    "wide-product": wide("acs:oss:*:*:*"),
  };
}
