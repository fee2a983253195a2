import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { referencesOf } from "../lib/roles/references.ts";
import { configOf, configs, EXAMPLES, S3, SOURCES } from "./roles-config.ts";
import { makeTarget } from "./targets/making.ts";

const REMOVAL = { removal: { policy: "sync" } };

/** What a function in which nothing is set says that it lacks, when it makes the target. */
async function missing(kind: string, settings: Readonly<Record<string, unknown>>) {
  try {
    await makeTarget(kind, settings, { env: {} });
    return null;
  } catch (error) {
    return /Cannot resolve (env:\w+)/.exec((error as Error).message)?.[1] ?? null;
  }
}

for (const { kind, ...settings } of EXAMPLES) {
  if (typeof kind !== "string" || kind === "feed") continue;
  test(`referencesOf() names what ${kind} asks for where nothing is set`, async () => {
    const targets = [{ kind, ...settings }];
    const config = configOf({ web: { from: [SOURCES.alive], ...REMOVAL, targets } });
    const asked = await missing(kind, settings);
    const onAws = referencesOf(config, "aws").webhook;
    if (asked !== null) assert(onAws.includes(asked), `${asked} of ${onAws.join()}`);
    // A platform's own role needs no keys; where others ask for them, they have to be there.
    const keysOf = (references: readonly string[]) =>
      references.filter((one) => /^env:(AWS|ALIBABA)_/.test(one)).length;
    assert.equal(keysOf(onAws), kind.startsWith("alibaba/") ? 2 : 0);
    // The store is in S3, and its keys are what targets on AWS are reached with, too.
    assert.equal(keysOf(referencesOf(config, "alibaba").webhook), 2);
  });
}

test("referencesOf() gives each function its own secrets and nobody else's", () => {
  const targets = EXAMPLES.filter(({ kind }) => kind === "feed" || kind === "linode/firewall");
  const config = configOf(
    { web: { from: [SOURCES.alive], ...REMOVAL, targets } },
    { status: { tokens: ["env:STATUS_TOKEN"] } },
  );
  assert.deepEqual(referencesOf(config, "aws"), {
    webhook: ["env:ALIVE_KEY", "env:LINODE_TOKEN"],
    resync: ["env:LINODE_TOKEN"],
    read: ["env:FEED_TOKEN", "env:STATUS_TOKEN"],
  });
});

test("referencesOf() never gives the read function a key that deliveries are signed with", () => {
  fc.assert(
    fc.property(configs, (config) => {
      const { read, resync } = referencesOf(config, "aws");
      assert(![...read, ...resync].includes("env:ALIVE_KEY"));
    }),
    { numRuns: 100 },
  );
});

test("referencesOf() names endpoints and pinned keys that are kept elsewhere", () => {
  const targets = [{ ...EXAMPLES.find(({ kind }) => kind === "aws/security-group") }];
  const accounts = {
    issuer: "https://a.example",
    audience: "b",
    subject: "system:serviceaccount:c:d",
  };
  const clusters = {
    alive: {
      auth: { serviceAccount: { ...accounts, jwks: "env:JWKS" } },
      bounds: ["203.0.113.0/24"],
    },
  };
  const store = { ...S3, endpoint: "env:STORE_URL" };
  const lists = {
    web: {
      from: [SOURCES.alive],
      ...REMOVAL,
      targets: targets.map((target) => ({ ...target, endpoint: "env:EC2_URL" })),
    },
  };
  const config = configOf(lists, { clusters, store });
  assert.deepEqual(referencesOf(config, "aws"), {
    webhook: ["env:EC2_URL", "env:JWKS", "env:STORE_URL"],
    resync: ["env:EC2_URL", "env:STORE_URL"],
    read: ["env:STORE_URL"],
  });
});
