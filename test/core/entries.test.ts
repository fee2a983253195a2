import assert from "node:assert/strict";
import test from "node:test";
import { addressSet } from "../../lib/core/aggregate.ts";
import { desiredEntries } from "../../lib/core/entries.ts";
import type { Member } from "../../lib/core/members.ts";
import { cidr, cluster, hosts, list, policy, TRAITS } from "./cases.ts";

const member = (text: string, from: string | null = "eu"): Member => ({
  cidr: cidr(text),
  cluster: from,
  node: `node-${text}`,
  uid: text,
});

function desired(
  members: readonly Member[],
  options: {
    max?: number;
    owned?: string[];
    wantedSince?: Record<string, number>;
    traits?: Partial<typeof TRAITS>;
  } = {},
) {
  const clusters = [cluster("eu", { maxEntries: options.max ?? 1_000 }), cluster("us")];
  return desiredEntries(members, {
    owned: addressSet((options.owned ?? []).map(cidr)),
    wantedSince: options.wantedSince ?? {},
    policy: policy([list()], clusters),
    traits: { ...TRAITS, ...options.traits },
  });
}

test("desiredEntries() lists each address once, sorted, whoever brings it", () => {
  const { cidrs } = desired([
    member("203.0.113.9"),
    member("203.0.113.1", "us"),
    member("203.0.113.9", "us"),
  ]);
  assert.deepEqual(cidrs, ["203.0.113.1/32", "203.0.113.9/32"]);
});

test("desiredEntries() skips families that the target does not hold, without refusing them", () => {
  const found = desired([member("203.0.113.9"), member("2001:db8::1")], {
    traits: { families: ["ipv4"] },
  });
  assert.deepEqual(found.cidrs, ["203.0.113.9/32"]);
  assert.equal(found.skipped, 1);
  assert.deepEqual(found.refused, []);
});

test("desiredEntries() keeps what stands on the target first when a cluster gives too many", () => {
  const members = hosts(5).map((host) => member(host));
  const found = desired(members, { max: 3, owned: ["203.0.113.4/31"] });
  assert.deepEqual(found.cidrs, ["203.0.113.1/32", "203.0.113.4/32", "203.0.113.5/32"]);
  assert.deepEqual(
    found.refused.map((refusal) => [refusal.address, refusal.reason]),
    [
      ["203.0.113.2", "max-entries"],
      ["203.0.113.3", "max-entries"],
    ],
  );
});

test("desiredEntries() keeps who was there first, before one that comes back from its grace", () => {
  const members = hosts(4).map((host) => member(host));
  const found = desired(members, {
    max: 3,
    owned: hosts(4),
    wantedSince: { "203.0.113.2/32": 7, "203.0.113.3/32": 9, "203.0.113.4/32": 8 },
  });
  assert.deepEqual(found.cidrs, hosts(3, 2));
});

test("desiredEntries() counts each cluster for itself, and static members not at all", () => {
  const found = desired(
    [
      member("203.0.113.1"),
      member("203.0.113.2"),
      member("203.0.113.2", "us"),
      member("192.0.2.1", null),
    ],
    { max: 1 },
  );
  assert.deepEqual(found.cidrs, ["192.0.2.1/32", "203.0.113.1/32", "203.0.113.2/32"]);
  assert.deepEqual(found.refused, []);
});

test("desiredEntries() refuses networks where a target takes single hosts only", () => {
  const found = desired([member("10.2.0.0/24"), member("10.1.0.1")], { traits: { ranges: false } });
  assert.deepEqual(found.cidrs, ["10.1.0.1/32"]);
  assert.deepEqual(
    found.refused.map((refusal) => refusal.reason),
    ["too-wide"],
  );
});

test("desiredEntries() drops what one broader entry contains where overlaps are refused", () => {
  const members = ["10.2.0.0/24", "10.2.0.9", "10.2.1.1"].map((text) => member(text));
  assert.deepEqual(desired(members, { traits: { overlap: false } }).cidrs, [
    "10.2.0.0/24",
    "10.2.1.1/32",
  ]);
  assert.equal(desired(members).cidrs.length, 3);
});
