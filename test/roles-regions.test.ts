import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { regionNotes } from "../lib/roles/regions.ts";
import { ROOT } from "../scripts/bundle.ts";
import { configOf, S3, SOURCES } from "./roles-config.ts";

const TABLE = "node_modules/@aws-sdk/core/dist-es/submodules/client/util-endpoints/lib/aws";

/** What is said of a store, a target and a subnet in this region. */
function notesOn(region: string): readonly string[] {
  const permission = { protocol: "all" };
  const target = { kind: "aws/security-group", id: "sg-1", permission, region };
  const from = [SOURCES.alive, { subnets: [{ aws: "subnet-0a1b2c3d", region }] }];
  const list = { from, removal: { policy: "sync" }, targets: [target] };
  return regionNotes(configOf({ web: list }, { store: { ...S3, region } }));
}

test("regionNotes() knows every region of the SDK's own table", () => {
  const table = readFileSync(join(ROOT, TABLE, "partitions.js"), "utf8");
  const regions = [...table.matchAll(/"([a-z]+(?:-[a-z]+)+-[0-9]+)": \{/g)];
  assert(regions.length > 30, `${regions.length} regions`);
  for (const [, region = ""] of regions) assert.deepEqual(notesOn(region), [], region);
});

test("regionNotes() speaks of what is misspelt: the store, a target, a subnet; each once", () => {
  const said = notesOn("eu-wst-1");
  assert.equal(said.length, 3);
  for (const [index, place] of [
    "aws/security-group",
    "aws/subnet/subnet-0",
    "the store",
  ].entries()) {
    assert(said[index]?.startsWith(`Cannot tell where ${place}`), said[index]);
    assert.match(said[index] ?? "", /AWS seems to have no region eu-wst-1; look for a typo$/);
  }
  for (const region of ["eu-west-11", "we-west-1", "us-esat-1"]) {
    assert.equal(notesOn(region).length, 3, region);
  }
});

test("regionNotes() leaves other clouds their own names", () => {
  const target = { kind: "alibaba/rds", region: "cn-hangzhou", id: "rm-2ze1", group: "k8s" };
  const list = { from: [SOURCES.alive], removal: { policy: "sync" }, targets: [target] };
  const elsewhere = { ...S3, region: "my-home-1", endpoint: "https://storage.example" };
  assert.deepEqual(regionNotes(configOf({ web: list }, { store: elsewhere })), []);
});
