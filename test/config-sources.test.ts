import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { parse } from "yaml";
import * as z from "zod";
import { parseConfig } from "../lib/config.ts";
import type { List } from "../lib/core/list.ts";

const MEMORY = [{ kind: "memory", id: "one" }];

function fileOf(lists: Readonly<Record<string, readonly unknown[]>>) {
  const entries = Object.entries(lists).map(([name, from], index) => {
    const targets = index === 0 ? MEMORY : [{ kind: "memory", id: name }];
    return [name, { from, removal: { policy: "sync" }, targets }] as const;
  });
  return {
    version: 1,
    installation: "acme",
    store: { kind: "memory" },
    clusters: {},
    lists: Object.fromEntries(entries),
  };
}

const read = (lists: Parameters<typeof fileOf>[0]) => parseConfig(fileOf(lists));

function sourcesOf(...from: readonly unknown[]): List["sources"] {
  const reading = read({ db: from });
  assert(reading.kind === "parsed", JSON.stringify(reading));
  return reading.config.lists[0]?.sources ?? [];
}

function problemsOf(...from: readonly unknown[]): readonly string[] {
  const reading = read({ db: from });
  assert(reading.kind === "invalid", "it was parsed");
  return reading.problems.map(({ path, message }) => `${path}: ${message}`);
}

const AWS = { aws: "subnet-0a1b", region: "eu-west-1" };
const ALIBABA = { alibaba: "vsw-2zem796p76viir02c6980", region: "cn-beijing" };
const WIDEST = { ipv4: 20, ipv6: 56 };

test("parseConfig() reads subnets of both vendors in one order, without any cluster", () => {
  const expected = [
    {
      kind: "subnets",
      subnets: [
        {
          kind: "subnet",
          vendor: "alibaba",
          region: "cn-beijing",
          id: "vsw-2zem796p76viir02c6980",
          settings: {},
        },
        { kind: "subnet", vendor: "aws", region: "eu-west-1", id: "subnet-0a1b", settings: {} },
      ],
      widest: WIDEST,
    },
  ];
  assert.deepEqual(sourcesOf({ subnets: [AWS, ALIBABA] }), expected);
  assert.deepEqual(sourcesOf({ subnets: [ALIBABA, AWS] }), expected);
});

test("parseConfig() keeps how a subnet's cloud is reached, and what is widest", () => {
  const role = "arn:aws:iam::123456789012:role/reader";
  const [source] = sourcesOf({
    subnets: [{ ...AWS, endpoint: "env:EC2", role }],
    widest: { ipv4: 16 },
  });
  assert(source?.kind === "subnets");
  assert.deepEqual(source.subnets[0]?.settings, { endpoint: "env:EC2", role });
  assert.deepEqual(source.widest, { ipv4: 16, ipv6: 56 });
});

test("parseConfig() has a sentence for every mistake with a subnet", () => {
  const one = (item: unknown) => problemsOf({ subnets: [item] });
  const whose =
    "lists.db.from[0].subnets[0]: Cannot tell whose subnet this is: " +
    'write one of alibaba: "vsw-…" and aws: "subnet-…"';
  assert.deepEqual(one({ ...AWS, ...ALIBABA }), [whose]);
  assert.deepEqual(one({ region: "eu-west-1" }), [whose]);
  assert.deepEqual(one({ aws: "vsw-1", region: "eu-west-1" }), [
    'lists.db.from[0].subnets[0].aws: Cannot use subnet "vsw-1": write its id like ' +
      '"subnet-0a1b2c3d4e5f60718"',
  ]);
  assert.deepEqual(one({ alibaba: "subnet-0a1b", region: "cn-beijing" }), [
    'lists.db.from[0].subnets[0].alibaba: Cannot use vSwitch "subnet-0a1b": write its id like ' +
      '"vsw-2zem796p76viir02c6980"',
  ]);
  assert.deepEqual(one({ aws: "subnet-0a1b" }), [
    'lists.db.from[0].subnets[0].region: Cannot leave out "region": it is required; write it ' +
      'like "eu-west-1"',
  ]);
  assert.deepEqual(one({ ...AWS, region: "Europe" }), [
    'lists.db.from[0].subnets[0].region: Cannot use region "Europe": write it like "eu-west-1"',
  ]);
  assert.deepEqual(one({ ...AWS, rigion: "eu-west-1" }), [
    'lists.db.from[0].subnets[0].rigion: Cannot use key "rigion": it is unknown; did you mean ' +
      '"region"?',
  ]);
  assert.deepEqual(one("subnet-0a1b"), [
    'lists.db.from[0].subnets[0]: Cannot use "subnet-0a1b": it is text alone; write it like ' +
      "{ aws: subnet-…, region: eu-west-1 }",
  ]);
  assert.match(one("vsw-1").join(), /write it like { alibaba: vsw-…, region: cn-beijing }$/);
  assert.match(problemsOf({ subnets: [] }).join(), /subnets: Cannot use an empty list/);
  assert.match(problemsOf({ subnets: [AWS], widest: { ipv4: 4 } }).join(), /widest\.ipv4/);
  assert.match(problemsOf({ subnets: [AWS], bounds: ["10.0.0.0/8"] }).join(), /from\[0\]\.bounds/);
  assert.equal(
    problemsOf({
      subnets: [
        { ...AWS, region: "x" },
        { ...ALIBABA, alibaba: "y" },
      ],
    }).length,
    2,
  );
});

test("parseConfig() says how a name is written that stands alone", () => {
  const alone = (text: string) => problemsOf({ dns: [text] });
  assert.deepEqual(alone("nat.example.com"), [
    'lists.db.from[0].dns[0]: Cannot use "nat.example.com": it is text alone; write it like ' +
      "{ name: nat.example.com }",
  ]);
  assert.match(alone("no name").join(), /like { name: nat\.example\.com }$/);
});

test("parseConfig() refuses a subnet that two lists reach in two ways", () => {
  const own = { ...AWS, endpoint: "http://127.0.0.1:9" };
  const reading = read({ a: [{ subnets: [AWS] }], b: [{ subnets: [own] }] });
  assert(reading.kind === "invalid");
  assert.deepEqual(reading.problems, [
    {
      path: "lists.b.from",
      message:
        'Cannot reach aws/subnet/subnet-0a1b in two ways: list "a" gives another endpoint, role ' +
        "or credentials; write the same in both places",
    },
  ]);
  assert.equal(read({ a: [{ subnets: [own] }], b: [{ subnets: [own] }] }).kind, "parsed");
  const other = { ...own, region: "eu-west-2" };
  assert.equal(read({ a: [{ subnets: [AWS] }], b: [{ subnets: [other] }] }).kind, "parsed");
});

test("parseConfig() reads names in lower case without the last dot, public hosts by default", () => {
  const [source] = sourcesOf({
    dns: [{ name: "NAT.Example.com." }, { name: "a.example.com", ttlMin: "5m", family: "ipv4" }],
  });
  assert.deepEqual(source, {
    kind: "dns",
    names: [
      { kind: "name", name: "a.example.com", families: ["ipv4"], intervalMs: 300_000 },
      { kind: "name", name: "nat.example.com", families: ["ipv4", "ipv6"], intervalMs: 60_000 },
    ],
    bounds: "public",
  });
  const [inner] = sourcesOf({ dns: [{ name: "nat.corp.example" }], bounds: ["10.0.0.0/8"] });
  assert(inner?.kind === "dns");
  assert.deepEqual(inner.bounds, ["10.0.0.0/8"]);
});

test("parseConfig() has a sentence for every mistake with a name", () => {
  const cases: readonly (readonly [string, RegExp])[] = [
    ["*.example.com", /a wildcard stands for names that nobody can list; write them out$/],
    ["203.0.113.7", /it is an address; list it under static$/],
    ["2001:db8::1", /it is an address; list it under static$/],
    ["256.1.1.1", /no name of a host is like it/],
    ["https://nat.example.com", /no name of a host is like it/],
    ["nat example.com", /no name of a host is like it/],
    ["nát.example.com", /other letters as xn--…$/],
    ["-nat.example.com", /no name of a host is like it/],
    ["nat..example.com", /no name of a host is like it/],
    [`${"a".repeat(64)}.example.com`, /no name of a host is like it/],
    [`${"a.".repeat(126)}example`, /no name of a host is like it/],
    ["", /no name of a host is like it/],
    ["localhost", /it has no domain; write it in full$/],
  ];
  for (const [name, message] of cases) {
    const [problem, ...others] = problemsOf({ dns: [{ name }] });
    assert.deepEqual(others, []);
    assert.match(problem ?? "", /^lists\.db\.from\[0\]\.dns\[0\]\.name: Cannot use name "/);
    assert.match(problem ?? "", message);
  }
  const longest = `${"a.".repeat(124)}bcdef`;
  assert.equal(longest.length, 253);
  assert.equal(sourcesOf({ dns: [{ name: longest }] }).length, 1);
});

test("parseConfig() never repeats what may be a URL with a password", () => {
  const url = "https://user:canary@nat.example.com";
  for (const from of [
    { dns: [{ name: url }] },
    { dns: [url] },
    { dns: url },
    { dns: [{ name: "user:canary@nat.example.com" }] },
    { dns: [{ name: "nat.example.com" }], bounds: url },
  ]) {
    assert(!problemsOf(from).join().includes("canary"), problemsOf(from).join());
  }
});

test("parseConfig() says that an item is of one kind of source", () => {
  const both = { dns: [{ name: "nat.example.com" }], static: ["192.0.2.1"] };
  assert.deepEqual(problemsOf(both), [
    "lists.db.from[0]: Cannot take dns and static from one item: an item is of one kind of " +
      "source; write an item for each",
  ]);
  assert.match(
    problemsOf({ subnets: [AWS], cluster: "eu", nodes: {}, addresses: ["ExternalIP"] }).join(),
    /Cannot take nodes and subnets from one item/,
  );
});

test("parseConfig() refuses a list whose names and bounds leave no family that its target holds", () => {
  const id = "pl-0a1b2c3d";
  const target = (family: string) => ({ kind: "aws/prefix-list", region: "eu-west-1", id, family });
  const problems = (item: object, targets: readonly object[], clusters: object = {}) => {
    const file = fileOf({ db: [item] });
    const db = { from: [item], removal: { policy: "sync" }, targets };
    const reading = parseConfig({ ...file, clusters, lists: { db } });
    return reading.kind === "invalid" ? reading.problems.map(({ message }) => message) : [];
  };
  const name = { name: "nat.example.com" };
  const four = { dns: [{ ...name, family: "ipv4" }] };
  const inside = { dns: [name], bounds: ["10.0.0.0/8"] };
  for (const item of [four, inside]) {
    assert.match(
      problems(item, [target("ipv6")]).join(),
      /holds IPv6 only, .* only ever have IPv4/,
    );
    assert.deepEqual(problems(item, [target("ipv4")]), []);
  }
  const never = /nothing that its sources can give lies within their bounds; correct the bounds$/;
  const none = { dns: [{ ...name, family: "ipv6" }], bounds: ["10.0.0.0/8"] };
  assert.match(problems(none, MEMORY).join(), never);
  const auth = { signature: { keys: ["env:K"] } };
  const eu = { auth, bounds: ["public"], maxEntries: 10 };
  const pods = { cluster: "eu", nodes: {}, addresses: ["podCidrs"] };
  assert.match(problems(pods, MEMORY, { eu }).join(), never);
  const nodes = { ...pods, addresses: ["podCidrs", "ExternalIP"] };
  assert.deepEqual(problems(nodes, MEMORY, { eu }), []);
});

test("parseConfig() takes a name's interval from 30 seconds to an hour, and one family or both", () => {
  const ttl = (ttlMin: unknown) => problemsOf({ dns: [{ name: "a.example.com", ttlMin }] }).join();
  const at = "lists.db.from[0].dns[0].ttlMin: ";
  assert.equal(
    ttl("29s"),
    `${at}Cannot use duration 29s: expected at least 30s, ` +
      "because name servers are others' machines",
  );
  assert.equal(
    ttl("61m"),
    `${at}Cannot use duration 61m: expected at most 1h, as long as an answer is remembered`,
  );
  assert.match(ttl(60), /Cannot read duration 60/);
  for (const ttlMin of ["30s", "1h"]) sourcesOf({ dns: [{ name: "a.example.com", ttlMin }] });
  const family = problemsOf({ dns: [{ name: "a.example.com", family: "ipv5" }] });
  assert.match(family.join(), /family: Cannot use family "ipv5": write ipv4 or ipv6$/);
  const mixed = problemsOf({ dns: [{ name: "a.example.com" }], bounds: ["public", "10.0.0.0/8"] });
  assert.match(mixed.join(), /from\[0\]\.bounds: Cannot mix "public" with other bounds/);
  const wide = problemsOf({ dns: [{ name: "a.example.com" }], bounds: ["0.0.0.0/0"] });
  assert.match(wide.join(), /it is everything/);
});

test("docs/sources.md shows nothing that cannot be configured, and editors know it", () => {
  const document = readFileSync(join(import.meta.dirname, "../docs/sources.md"), "utf8");
  const fences = [...document.matchAll(/^```yaml\n(.*?)^```$/gms)].map(([, text]) => text ?? "");
  const examples = fences.filter((text) => text.startsWith("from:"));
  assert(examples.length >= 3, "docs/sources.md shows no examples");
  const json = readFileSync(join(import.meta.dirname, "../schema/allowlist.schema.json"), "utf8");
  const schema = z.fromJSONSchema(JSON.parse(json));
  for (const text of examples) {
    const { from } = parse(text);
    sourcesOf(...from);
    const result = schema.safeParse(fileOf({ db: from }));
    assert(result.success, result.error?.message);
  }
});
