import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import fc from "fast-check";
import { parse } from "yaml";
import { type Config, parseConfig } from "../lib/config.ts";
import { kinds } from "../lib/targets/registry.ts";

/*
 * Configurations with targets of every kind, for tests of what functions may do.
 */

const FOLDER = new URL("../docs/targets/", import.meta.url);

type Raw = Readonly<Record<string, unknown>>;

/** One target of every kind, as the documentation shows it; with those of the product's own. */
export const EXAMPLES: readonly Raw[] = [
  ...readdirSync(FOLDER)
    .filter((page) => page.endsWith(".md"))
    .toSorted()
    .flatMap((page) => {
      const text = readFileSync(new URL(page, FOLDER), "utf8");
      return [...text.matchAll(/^```yaml\n(- kind: [\s\S]*?)^```$/gm)].flatMap(([, body = ""]) =>
        parse(body),
      );
    }),
  { kind: "feed", tokens: ["env:FEED_TOKEN"] },
  { kind: "memory", id: "memory" },
];

assert.deepEqual(EXAMPLES.map(({ kind }) => kind).toSorted(), Object.keys(kinds).toSorted());

const CLUSTERS = {
  alive: {
    auth: { signature: { keys: ["env:ALIVE_KEY"] } },
    bounds: ["203.0.113.0/24", "2001:db8::/32"],
  },
  gone: { retired: true, bounds: ["203.0.113.0/24", "2001:db8::/32"] },
};

const NODES = { nodes: {}, addresses: ["ExternalIP"] };

/** What lists may draw from. */
export const SOURCES = {
  alive: { cluster: "alive", ...NODES },
  gone: { cluster: "gone", ...NODES },
  static: { static: ["198.51.100.7/32"] },
} as const;

export const S3 = { kind: "s3", bucket: "acme-allowlist", region: "eu-west-1", prefix: "a/" };

/** The configuration with these lists; throws with its problems. */
export function configOf(lists: Raw, rest: Raw = {}): Config {
  const frame = { version: 1, installation: "acme", store: S3, clusters: CLUSTERS };
  const reading = parseConfig({ ...frame, lists, ...rest });
  assert(reading.kind === "parsed", JSON.stringify(reading));
  return reading.config;
}

const AWS_ROLES = [
  "arn:aws:iam::210987654321:role/allowlist",
  { arn: "arn:aws:iam::210987654321:role/other", externalId: "word-1" },
];
const RAM_ROLES = ["acs:ram::1234567890123456:role/allowlist"];
const KEYS = { accessKeyId: "env:OTHER_ID", accessKeySecret: "env:OTHER_SECRET" };

/** Ways to reach a target that its vendor knows. */
function waysOf(kind: string): fc.Arbitrary<Raw> {
  const own = fc.constant({});
  if (kind.startsWith("aws/")) {
    return fc.oneof(
      own,
      fc.constantFrom(...AWS_ROLES).map((role) => ({ role })),
    );
  }
  if (!kind.startsWith("alibaba/")) return own;
  const role = fc.constantFrom(...RAM_ROLES).map((arn) => ({ role: arn }));
  const keys = fc.constant({ credentials: KEYS });
  return fc.oneof(
    own,
    role,
    keys,
    fc.tuple(role, keys).map(([a, b]) => ({ ...a, ...b })),
  );
}

const LISTS_MAX = 3;

const target = fc.constantFrom(...EXAMPLES).chain((example) =>
  fc.record({
    list: fc.nat({ max: LISTS_MAX - 1 }),
    target: waysOf(String(example.kind)).map((way) => ({ ...example, ...way })),
  }),
);

const subnet = fc
  .constantFrom<Raw>(
    { aws: "subnet-0a1b", region: "eu-west-1" },
    { aws: "subnet-0a1c", region: "eu-west-1", role: AWS_ROLES[0] },
    { alibaba: "vsw-1", region: "cn-beijing" },
  )
  .map((one) => ({ subnets: [one] }));

const list = fc.record({
  from: fc.uniqueArray(fc.oneof(fc.constantFrom<Raw>(...Object.values(SOURCES)), subnet), {
    minLength: 1,
    maxLength: 3,
    selector: (source) => JSON.stringify(source),
  }),
  policy: fc.constantFrom("sync", "add-only"),
});

const store = fc.constantFrom<Raw>(
  S3,
  { ...S3, role: AWS_ROLES[0] },
  { kind: "oss", bucket: "acme", region: "cn-beijing" },
  { kind: "file", path: "x" },
);

/** Any configuration: up to three lists, each kind at most once, by any way, for any list. */
export const configs: fc.Arbitrary<Config> = fc
  .record({
    targets: fc.uniqueArray(target, { maxLength: 12, selector: ({ target }) => target.kind }),
    lists: fc.array(list, { minLength: LISTS_MAX, maxLength: LISTS_MAX }),
    store,
  })
  .map(({ targets, lists, store }) => {
    const made = lists.flatMap(({ from, policy }, index) => {
      const own = targets.filter((one) => one.list === index).map((one) => one.target);
      const entry = { from, removal: { policy }, targets: own };
      return own.length === 0 ? [] : [[`list-${index}`, entry] as const];
    });
    return configOf(Object.fromEntries(made), { store });
  });
