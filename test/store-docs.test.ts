import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { parse } from "yaml";
import { parseConfig } from "../lib/config.ts";
import { s3BucketPolicy, storePermissions } from "../lib/stores/permissions.ts";
import type { Grant } from "../lib/targets/kind.ts";

/*
 * docs/stores.md against the code: what people paste must be what the product reads and needs.
 */

const PAGE = readFileSync(new URL("../docs/stores.md", import.meta.url), "utf8");
const VERSIONS = { iam: "2012-10-17", ram: "1", none: "" } as const;
const ROLES = ["webhook", "resync", "read"] as const;
const RESYNC = "arn:aws:iam::123456789012:role/kube-allowlist-acme-resync";

function sectionOf(kind: string): string {
  const section = PAGE.split(/^## /m).find((text) => text.startsWith(`\`${kind}\``));
  assert(section !== undefined, `docs/stores.md has a section about ${kind}`);
  return section;
}

function fences(text: string, language: string): readonly string[] {
  const fence = new RegExp(`^\`\`\`${language}\\n([\\s\\S]*?)^\`\`\`$`, "gm");
  return [...text.matchAll(fence)].map(([, body = ""]) => body);
}

/** The store of a section's example, as the configuration takes it. */
function storeOf(kind: "s3" | "oss") {
  const [example = "", ...others] = fences(sectionOf(kind), "yaml");
  assert.equal(others.length, 0);
  const { store } = parse(example);
  const frame = { version: 1, installation: "acme", clusters: {}, lists: {} };
  const reading = parseConfig({ ...frame, store });
  assert(reading.kind === "parsed", JSON.stringify(reading));
  assert(reading.config.store.kind === kind);
  return reading.config.store;
}

function policy(grants: readonly Grant[], dialect: keyof typeof VERSIONS) {
  const statements = grants.map(({ actions, resources, condition }) => ({
    Effect: "Allow",
    Action: actions,
    Resource: resources,
    ...(condition === undefined ? {} : { Condition: condition }),
  }));
  return { Version: VERSIONS[dialect], Statement: statements };
}

for (const kind of ["s3", "oss"] as const) {
  test(`docs/stores.md describes ${kind} with an example and the exact policies`, () => {
    const store = storeOf(kind);
    const needed = ROLES.map((role) => storePermissions(store, role));
    const policies: unknown[] = needed.map(({ grants, dialect }) => policy(grants, dialect));
    if (store.kind === "s3") policies.push(s3BucketPolicy(store, { resyncRoleArn: RESYNC }));
    const shown = fences(sectionOf(kind), "json").map((text): unknown => JSON.parse(text));
    assert.deepEqual(shown, policies);
  });

  test(`storePermissions() of ${kind} lets only the resync delete, and nobody write elsewhere`, () => {
    const store = storeOf(kind);
    for (const role of ROLES) {
      const { grants } = storePermissions(store, role);
      const text = JSON.stringify(grants);
      assert.equal(/Delete/.test(text), role === "resync");
      assert.equal(/Put/.test(text), role !== "read");
      for (const { resources } of grants) {
        for (const resource of resources)
          assert.match(resource, /:acme-allowlist(\/production\/v1\/\*)?$/);
      }
    }
  });
}

test("storePermissions() writes ARNs of the region's own partition, and nothing for a folder", () => {
  const china = { kind: "s3", bucket: "acme", prefix: undefined, region: "cn-north-1" } as const;
  const arnOf = (text: unknown) => /"arn:[^"]*"/.exec(JSON.stringify(text))?.[0];
  assert.equal(arnOf(storePermissions(china, "read")), '"arn:aws-cn:s3:::acme"');
  const open = { kind: "s3", bucket: "acme" } as const;
  const given = storePermissions({ ...open, prefix: undefined }, "read", {
    region: "us-gov-east-1",
  });
  assert.equal(arnOf(given), '"arn:aws-us-gov:s3:::acme"');
  assert.deepEqual(storePermissions({ kind: "file" }, "resync"), { dialect: "none", grants: [] });
});
