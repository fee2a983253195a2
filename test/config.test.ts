import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import * as z from "zod/mini";
import type { Kinds } from "../lib/config/list.ts";
import { nearest, pathText } from "../lib/config/problems.ts";
import { parseDuration } from "../lib/config/shape.ts";
import { parseYamlConfig } from "../lib/config/yaml.ts";
import {
  type Config,
  type ConfigReading,
  findSharedKeys,
  parseConfig,
  parseJsonConfig,
  resolveReference,
} from "../lib/config.ts";
import type { Traits } from "../lib/core/observation.ts";

const TRAITS: Traits = {
  families: ["ipv4", "ipv6"],
  ranges: true,
  overlap: true,
  marking: "entry",
  write: "entry",
  whenEmpty: "closed",
  batchMax: 100,
  settleMs: 0,
  callMs: 1_000,
};

const settingsShape = z.strictObject({
  id: z.string(),
  port: z.optional(z.union([z.int(), z.string().check(z.regex(/^[0-9]+-[0-9]+$/))])),
  limit: z.optional(z.int()),
  exclusive: z.optional(z.boolean()),
});

function kindNamed(
  name: string,
  marking: Traits["marking"],
  families: Traits["families"] = TRAITS.families,
): Kinds[string] {
  return {
    schema: settingsShape,
    traits: () => ({ ...TRAITS, marking, families }),
    identify: (settings) => ({ name: `${name}/${settings.id}`, object: `${name}.${settings.id}` }),
  };
}

const KINDS: Kinds = {
  "test/group": kindNamed("test/group", "entry"),
  "test/ipv4": kindNamed("test/ipv4", "entry", ["ipv4"]),
  "test/ipv6": kindNamed("test/ipv6", "entry", ["ipv6"]),
  "test/plain": kindNamed("test/plain", "none"),
};

const SMALLEST = {
  version: 1,
  installation: "acme",
  store: { kind: "memory" },
  clusters: {
    east: { auth: { signature: { keys: ["env:EAST"] } }, bounds: ["10.0.0.0/8"] },
  },
  lists: {
    web: {
      from: [{ cluster: "east", nodes: {}, addresses: ["ExternalIP"] }],
      removal: { policy: "sync" },
      targets: [{ kind: "test/group", id: "one" }],
    },
  },
};

type Patch = readonly (string | number)[];
const ABSENT = Symbol("absent");

/** The smallest file with one value replaced, added, or (ABSENT) left out. */
function fileWith(...changes: readonly (readonly [Patch, unknown])[]): unknown {
  const file: unknown = structuredClone(SMALLEST);
  for (const [path, value] of changes) {
    let at = file as Record<string | number, unknown>;
    for (const part of path.slice(0, -1)) {
      at[part] ??= {};
      at = at[part] as Record<string | number, unknown>;
    }
    const last = path.at(-1) ?? "";
    if (value === ABSENT) delete at[last];
    else at[last] = value;
  }
  return file;
}

function parsed(reading: ConfigReading): Config {
  assert.equal(reading.kind, "parsed", JSON.stringify(reading));
  assert(reading.kind === "parsed");
  return reading.config;
}

/** `path: message` of every problem, in order. */
function problemsOf(reading: ConfigReading): readonly string[] {
  return reading.kind === "parsed"
    ? []
    : reading.problems.map(({ path, message }) => `${path}: ${message}`);
}

function problemsWith(...changes: readonly (readonly [Patch, unknown])[]): readonly string[] {
  return problemsOf(parseConfig(fileWith(...changes), KINDS));
}

const EAST = ["clusters", "east"] as const;
const WEB = ["lists", "web"] as const;

test("parseConfig() fills in every default", () => {
  const config = parsed(parseConfig(SMALLEST, KINDS));
  assert.deepEqual(config.store, { kind: "memory" });
  assert.deepEqual(config.clusters.east, {
    name: "east",
    bounds: ["10.0.0.0/8"],
    maxEntries: 1_000,
    staleAfterMs: 900_000,
    uid: null,
    retired: false,
    widest: { ipv4: 20, ipv6: 56 },
  });
  const signature = { keys: ["env:EAST"] };
  assert.deepEqual(config.auth.east, { serviceAccount: null, signature });
  assert.deepEqual(config.lists, [
    {
      name: "web",
      sources: [{ kind: "nodes", cluster: "east", labels: {}, addresses: ["ExternalIP"] }],
      removal: {
        policy: "sync",
        graceMs: 300_000,
        maxRatio: 0.3,
        minRemaining: 1,
        acceptAfterMs: null,
      },
      targets: [
        {
          kind: "test/group",
          name: "test/group/one",
          object: "test/group.one",
          owner: { installation: "acme", list: "web", formerly: [] },
          exclusive: false,
          limit: null,
          settings: { id: "one" },
        },
      ],
      gate: true,
      formerly: [],
    },
  ]);
});

test("parseConfig() reads every setting", () => {
  const config = parsed(
    parseConfig(
      fileWith(
        [["store"], { kind: "file", path: "state" }],
        [[...EAST, "maxEntries"], 7],
        [[...EAST, "staleAfter"], "12m"],
        [[...EAST, "uid"], "6f0c1a52-8f5e-4d6c-9f0e-0c4f6f0d2b11"],
        [[...EAST, "widest"], { ipv4: 24 }],
        [
          [...EAST, "auth", "signature", "keys"],
          ["env:NEW", "file:/run/old key"],
        ],
        [[...WEB, "gate"], false],
        [
          [...WEB, "formerly"],
          ["z", "a"],
        ],
        [[...WEB, "removal"], { policy: "add-only", grace: "0s", maxRatio: 1, minRemaining: 0 }],
        [[...WEB, "removal", "acceptAfter"], "2h"],
        [[...WEB, "targets", 0, "exclusive"], true],
        [[...WEB, "targets", 0, "limit"], 60],
        [[...WEB, "from", 1], { static: ["2001:DB8::1", "198.51.100.7/32"] }],
      ),
      KINDS,
    ),
  );
  assert.deepEqual(config.store, { kind: "file", path: "state" });
  const east = config.clusters.east;
  assert.equal(east?.maxEntries, 7);
  assert.equal(east?.staleAfterMs, 720_000);
  assert.equal(east?.uid, "6f0c1a52-8f5e-4d6c-9f0e-0c4f6f0d2b11");
  assert.deepEqual(east?.widest, { ipv4: 24, ipv6: 56 });
  assert.deepEqual(config.auth.east?.signature?.keys, ["env:NEW", "file:/run/old key"]);
  const web = config.lists[0];
  assert.equal(web?.gate, false);
  // The oldest first, as the file says: it names the containers of the list.
  assert.deepEqual(web?.formerly, ["z", "a"]);
  assert.deepEqual(web?.removal, {
    policy: "add-only",
    graceMs: 0,
    maxRatio: 1,
    minRemaining: 0,
    acceptAfterMs: 7_200_000,
  });
  assert.equal(web?.targets[0]?.exclusive, true);
  assert.equal(web?.targets[0]?.limit, 60);
  assert.deepEqual(web?.sources.slice(1), [
    { kind: "static", cidrs: ["198.51.100.7/32", "2001:db8::1/128"] },
  ]);
});

test("parseConfig() tells every problem at once, each with its path", () => {
  const problems = problemsWith(
    [["version"], 2],
    [["installation"], "Acme"],
    [["store"], { kind: "disk" }],
    [[...EAST, "bounds"], ABSENT],
    [[...EAST, "staleAfter"], "11m"],
    [[...WEB, "from", 0, "addresses"], ABSENT],
    [[...WEB, "from", 0, "cluster"], "eats"],
    [[...WEB, "from", 1], { static: ["10.0.0.1/8"] }],
    [[...WEB, "removal", "policy"], ABSENT],
    [[...WEB, "targets", 0, "port"], "x"],
    [[...WEB, "targets", 1], { kind: "test/grup", id: "two" }],
    [["lists", "Bad_Name"], { from: [], removal: { policy: "never" }, targets: "none" }],
  );
  assert.deepEqual(problems, [
    "version: Cannot use 2: expected 1",
    'installation: Cannot use name "Acme": expected 1 to 32 of a-z, 0-9 and "-", no "-" ' +
      "at either end",
    'store.kind: Cannot find kind of store "disk": known are memory, file, s3, oss',
    'clusters.east.bounds: Cannot leave out "bounds": it is required',
    "clusters.east.staleAfter: Cannot use duration 11m: expected at least 12m, two " +
      "heartbeats of the forwarder",
    'lists.web.removal.policy: Cannot leave out "policy": write sync or add-only',
    'lists.web.from[0].cluster: Cannot find cluster "eats": known are east; did you mean "east"?',
    'lists.web.from[0].addresses: Cannot leave out "addresses": it is required',
    "lists.web.from[1].static[0]: Cannot use CIDR 10.0.0.1/8: it has host bits; write " +
      '"10.0.0.0/8" for the network or "10.0.0.1/32" for the host',
    'lists.web.targets[0].port: Cannot use "x": it does not match /^[0-9]+-[0-9]+$/',
    'lists.web.targets[1].kind: Cannot find kind of target "test/grup": known are ' +
      'test/group, test/ipv4, test/ipv6, test/plain; did you mean "test/group"?',
    'lists.Bad_Name: Cannot use name "Bad_Name": expected 1 to 32 of a-z, 0-9 and "-", ' +
      'no "-" at either end',
    "lists.Bad_Name.from: Cannot use an empty list: expected at least 1 item",
    'lists.Bad_Name.removal.policy: Cannot use "never": expected "sync" or "add-only"',
    'lists.Bad_Name.targets: Cannot use "none": expected a list',
  ]);
});

test("parseConfig() requires nodes, addresses, bounds, removal.policy and all of the frame", () => {
  const required: readonly Patch[] = [
    ["version"],
    ["installation"],
    ["store"],
    ["clusters"],
    ["lists"],
    [...EAST, "bounds"],
    [...EAST, "auth"],
    [...WEB, "from"],
    [...WEB, "from", 0, "nodes"],
    [...WEB, "from", 0, "addresses"],
    [...WEB, "from", 0, "cluster"],
    [...WEB, "removal"],
    [...WEB, "removal", "policy"],
    [...WEB, "targets"],
    [...WEB, "targets", 0, "kind"],
    [...WEB, "targets", 0, "id"],
  ];
  for (const path of required) {
    const problems = problemsWith([path, ABSENT]);
    assert(
      problems.some((problem) => problem.startsWith(`${pathText(path)}: Cannot `)),
      `${pathText(path)}: ${JSON.stringify(problems)}`,
    );
  }
});

test("parseConfig() refuses unknown keys everywhere and names the near one", () => {
  const places: readonly (readonly [Patch, string | null])[] = [
    [["instalation"], "installation"],
    [["store", "paht"], null],
    [[...EAST, "maxEntrys"], "maxEntries"],
    [[...EAST, "widest", "ipv5"], "ipv4"],
    [[...EAST, "auth", "signatur"], "signature"],
    [[...EAST, "auth", "signature", "key"], "keys"],
    [[...WEB, "target"], "targets"],
    [[...WEB, "removal", "maxRation"], "maxRatio"],
    [[...WEB, "from", 0, "adresses"], "addresses"],
    [[...WEB, "targets", 0, "exclusiv"], "exclusive"],
    [[...WEB, "targets", 0, "colour"], null],
  ];
  for (const [path, near] of places) {
    const wanted = near === null ? "known here: " : `did you mean "${near}"?`;
    const problems = problemsWith([path, 1]);
    assert.equal(problems.length, 1, JSON.stringify(problems));
    const begin = `${pathText(path)}: Cannot use key "${path.at(-1)}": it is unknown; ${wanted}`;
    assert(problems[0]?.startsWith(begin), problems[0]);
  }
});

test("parseConfig() refuses everything, wherever it stands", () => {
  for (const text of ["0.0.0.0/0", "::/0", "10.1.2.3/0", "2001:db8::/0", "0:0::/0"]) {
    for (const path of [
      [...EAST, "bounds", 0],
      [...WEB, "from", 0],
    ]) {
      const problems = problemsWith([path, path.includes("from") ? { static: [text] } : text]);
      assert.equal(problems.length, 1, JSON.stringify(problems));
      assert.match(problems[0] ?? "", /it is everything, which no list may hold/);
    }
  }
});

test("parseConfig() refuses static addresses that together are everything", () => {
  const halves = problemsWith(
    [[...WEB, "from", 1], { static: ["0.0.0.0/1"] }],
    [[...WEB, "from", 2], { static: ["128.0.0.0/2", "192.0.0.0/2"] }],
  );
  assert.deepEqual(halves, [
    "lists.web.from: Cannot use these static addresses: together they are 0.0.0.0/0, " +
      "which no list may hold; name the networks",
  ]);
  assert.deepEqual(
    problemsWith([[...WEB, "from", 1], { static: ["0.0.0.0/1", "128.0.0.0/2"] }]),
    [],
  );
});

test("parseConfig() bounds the bounds", () => {
  const refused: readonly (readonly [string, RegExp])[] = [
    ["8.0.0.0/7", /broader than \/8/],
    ["2a00::/15", /Cannot use CIDR 2a00::\/15|broader than \/16/],
    ["2000::/3", /broader than \/16/],
    ["fc00::/7", /broader than \/8/],
    ["10.0.0.1/8", /host bits; write "10.0.0.0\/8"/],
    ["2001:db8::1/32", /host bits; write "2001:db8::\/32"/],
    ["10.0.0.0/08", /Cannot read CIDR/],
    ["010.0.0.0/8", /Cannot read CIDR/],
    ["10.0.0.0/33", /Cannot read CIDR/],
    ["internet", /Cannot read CIDR/],
  ];
  for (const [text, message] of refused) {
    const problems = problemsWith([
      [...EAST, "bounds"],
      ["192.0.2.0/24", text],
    ]);
    assert.equal(problems.length, 1, JSON.stringify(problems));
    assert(problems[0]?.startsWith("clusters.east.bounds[1]: "), problems[0]);
    assert.match(problems[0] ?? "", message);
  }
  const accepted = ["10.0.0.0/8", "2a00::/16", "fd00::/8", "203.0.113.7"];
  const config = parsed(parseConfig(fileWith([[...EAST, "bounds"], accepted]), KINDS));
  assert.deepEqual(config.clusters.east?.bounds, [
    "10.0.0.0/8",
    "203.0.113.7/32",
    "2a00::/16",
    "fd00::/8",
  ]);
});

test("parseConfig() takes bounds [public] only with maxEntries and alone", () => {
  const bounds = [...EAST, "bounds"];
  assert.deepEqual(problemsWith([bounds, ["public"]]), [
    'clusters.east.maxEntries: Cannot leave out "maxEntries" with bounds [public]: say ' +
      "how many addresses this cluster may put on one list",
  ]);
  const limit = [[...EAST, "maxEntries"], 20] as const;
  assert.match(problemsWith([bounds, ["public", "10.0.0.0/8"]], limit).join("\n"), /Cannot mix/);
  const config = parsed(parseConfig(fileWith([bounds, ["public"]], limit), KINDS));
  assert.equal(config.clusters.east?.bounds, "public");
});

test("parseConfig() never takes a secret written in the file, and never shows it", () => {
  const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
  for (const keys of [
    [secret],
    [`${secret} `],
    secret,
    { a: secret },
    ["env:A", secret],
    [[secret]],
  ]) {
    const problems = problemsWith([[...EAST, "auth", "signature", "keys"], keys]);
    assert.equal(problems.length, 1, JSON.stringify(problems));
    assert(!problems.join("").includes("MfKQ9r8"), problems.join(""));
  }
  const [problem] = problemsWith([[...EAST, "auth", "signature", "keys"], [secret]]);
  assert.match(problem ?? "", /write "env:NAME" or "file:PATH"/);
});

test("parseConfig() asks for a method of proof unless the cluster is retired", () => {
  const auth = [...EAST, "auth"];
  assert.match(problemsWith([auth, {}])[0] ?? "", /^clusters.east.auth: Cannot take deliveries/);
  assert.match(
    problemsWith([auth, ABSENT])[0] ?? "",
    /^clusters.east.auth: Cannot take deliveries/,
  );
  const config = parsed(parseConfig(fileWith([auth, ABSENT], [[...EAST, "retired"], true]), KINDS));
  assert.deepEqual(config.auth.east, { serviceAccount: null, signature: null });
  assert.equal(config.clusters.east?.retired, true);
});

test("parseConfig() takes a bucket of S3 or OSS as the store, with a prefix that ends in a slash", () => {
  const storeOf = (store: object) => parsed(parseConfig(fileWith([["store"], store]), KINDS)).store;
  const s3 = { kind: "s3", bucket: "acme-allowlist" };
  assert.deepEqual(storeOf(s3), s3);
  const role = "arn:aws:iam::123456789012:role/allowlist";
  const whole = { ...s3, region: "eu-west-1", endpoint: "https://minio.example", role };
  assert.deepEqual(storeOf(whole), whole);
  for (const prefix of ["acme/eu", "acme/eu/"]) {
    assert.deepEqual(storeOf({ ...s3, prefix }), { ...s3, prefix: "acme/eu/" });
  }
  const oss = {
    kind: "oss",
    bucket: "acme-allowlist",
    region: "cn-beijing",
    endpoint: "env:OSS_ENDPOINT",
    role: { arn: "acs:ram::1234567890123456:role/allowlist" },
    credentials: { accessKeyId: "env:ID", accessKeySecret: "file:secret" },
  };
  assert.deepEqual(storeOf(oss), oss);
  assert.deepEqual(storeOf({ ...s3, endpoint: "http://127.0.0.1:9000" }), {
    ...s3,
    endpoint: "http://127.0.0.1:9000",
  });
});

test("parseConfig() refuses buckets, prefixes and endpoints that a store cannot be kept in", () => {
  const problemOf = (store: object) => problemsWith([["store"], store]).join("; ");
  const s3 = { kind: "s3", bucket: "acme" };
  const oss = { kind: "oss", bucket: "acme", region: "cn-beijing" };
  for (const bucket of ["acme--euw1-az1--x-s3", "a--x-s3"]) {
    assert.match(problemOf({ ...s3, bucket }), /^store\.bucket: .*use a general purpose bucket$/);
  }
  const strange = [
    "",
    "ab",
    "Acme",
    "a_b",
    "-ab",
    "ab-",
    "a..b",
    "10.0.0.1",
    "xn--a",
    "a".repeat(64),
  ];
  const aliases = ["acme-s3alias", "acme--ol-s3", "acme.mrap", "acme--table-s3", "a/b", "a b"];
  for (const bucket of [...strange, ...aliases]) {
    assert.match(problemOf({ ...s3, bucket }), /^store\.bucket: Cannot use bucket/, bucket);
  }
  for (const bucket of ["ab", "a.b.c", "-abc", "Acme", "a/b"]) {
    assert.match(problemOf({ ...oss, bucket }), /^store\.bucket: Cannot use bucket/, bucket);
  }
  for (const prefix of ["", "/", "a//b", "/a", "A", "../a", ".a", "a b", "a".repeat(101)]) {
    assert.match(problemOf({ ...s3, prefix }), /^store\.prefix: Cannot use prefix/, prefix);
  }
  for (const endpoint of ["http://minio.example:9000", "ftp://a", "https://u:p@a", "minio"]) {
    const problem = problemOf({ ...s3, endpoint });
    assert.match(problem, /^store\.endpoint: Cannot use endpoint/, endpoint);
    assert.ok(!problem.includes("u:p"));
  }
  assert.match(
    problemOf({ kind: "oss", bucket: "acme" }),
    /^store: Cannot leave out "region"|region/,
  );
  assert.match(problemOf({ ...s3, role: "acs:ram::1234567890123456:role/a" }), /^store\.role/);
  assert.match(problemOf({ ...s3, credentials: {} }), /credentials/);
});

test("parseConfig() refuses one key under two clusters", () => {
  const west = { auth: { signature: { keys: ["env:WEST", "env:EAST"] } }, bounds: ["10.0.0.0/8"] };
  assert.deepEqual(problemsWith([["clusters", "west"], west]), [
    'clusters.west.auth.signature.keys[1]: Cannot use one key for clusters "east" and ' +
      '"west": the key tells which cluster speaks; give each its own',
  ]);
});

const PERMISSION = { protocol: "tcp", port: 5432 };
const PERMITTED = "give one of them another permission";

test("parseConfig() refuses two lists on one target, and one target twice", () => {
  const other = { ...SMALLEST.lists.web };
  assert.deepEqual(problemsWith([["lists", "api"], other]), [
    'lists.api.targets[0]: Cannot keep lists "web" and "api" on one target ' +
      '"test/group/one": take it out of one of the lists, or merge them',
  ]);
  for (const [kind, own, parting] of [
    ["aws/security-group", { region: "eu-west-1", id: "sg-1", permission: PERMISSION }, PERMITTED],
    ["alibaba/rds", { region: "cn-beijing", id: "rm-1" }, "give one of them another group"],
    ["aws/prefix-list", { region: "eu-west-1", id: "pl-0a1b" }, "take it out of one of the lists"],
  ] as const) {
    const removal = { policy: "sync" };
    const group = kind === "alibaba/rds" ? { group: "nodes" } : {};
    const one = { from: other.from, removal, targets: [{ kind, ...own, ...group }] };
    const file = fileWith([["lists"], { api: one, web: one }]);
    assert.match(problemsOf(parseConfig(file)).join(), new RegExp(`": ${parting}`), kind);
  }
  const twice = { kind: "test/group", id: "one", limit: 5 };
  assert.deepEqual(problemsWith([[...WEB, "targets", 1], twice]), [
    'lists.web.targets[1]: Cannot name target "test/group/one" twice in list "web": leave one out',
  ]);
});

test("parseConfig() asks for exclusive: true where entries carry no marker", () => {
  const target = [...WEB, "targets", 0];
  const problems = problemsWith([target, { kind: "test/plain", id: "x", nonsense: 1 }]);
  assert.equal(problems.length, 2);
  assert.match(problems[0] ?? "", /^lists.web.targets\[0\].exclusive: Cannot share a target/);
  assert.equal(problemsWith([target, { kind: "test/plain", id: "x", exclusive: false }]).length, 1);
  assert.deepEqual(problemsWith([target, { kind: "test/plain", id: "x", exclusive: true }]), []);
});

test("parseConfig() refuses a target of a family that its list can never have", () => {
  const bounds = ["clusters", "east", "bounds"];
  const target = [...WEB, "targets", 0];
  const on = (kind: string) => [target, { kind, id: "x" }] as const;
  assert.deepEqual(problemsWith([bounds, ["10.0.0.0/8"]], on("test/ipv4")), []);
  assert.deepEqual(problemsWith([bounds, ["10.0.0.0/8"]], on("test/ipv6")), [
    'lists.web.targets[0]: Cannot keep list "web" on test/ipv6/x: it holds IPv6 only, and the ' +
      "list can only ever have IPv4; take the target out, or give the list's sources addresses " +
      "of that family",
  ]);
  assert.deepEqual(problemsWith([bounds, ["10.0.0.0/8", "2001:db8::/32"]], on("test/ipv6")), []);
  const from = [...WEB, "from"];
  const fixed = [{ static: ["2001:db8::7/128"] }];
  assert.equal(problemsWith([from, fixed], on("test/ipv4")).length, 1);
  assert.deepEqual(
    problemsWith([from, [...fixed, { static: ["192.0.2.1/32"] }]], on("test/ipv4")),
    [],
  );
});

test("parseConfig() refuses former names that are lists of today or claimed twice", () => {
  const api = {
    ...SMALLEST.lists.web,
    targets: [{ kind: "test/group", id: "two" }],
    formerly: ["web", "old"],
  };
  assert.deepEqual(problemsWith([[...WEB, "formerly"], ["old"]], [["lists", "api"], api]), [
    'lists.api.formerly[0]: Cannot claim the entries of "web": it is a list of this file',
    'lists.api.formerly[1]: Cannot claim the entries of "old" twice: list "web" does already',
  ]);
});

test("parseConfig() accepts a cluster that no list uses", () => {
  const idle = { auth: { signature: { keys: ["env:IDLE"] } }, bounds: ["public"], maxEntries: 5 };
  const config = parsed(parseConfig(fileWith([["clusters", "idle"], idle]), KINDS));
  assert.deepEqual(Object.keys(config.clusters), ["east", "idle"]);
});

test("parseConfig() returns the same for the same content in any order", () => {
  const api = { ...SMALLEST.lists.web, targets: [{ kind: "test/group", id: "two" }] };
  const one = fileWith([["lists", "api"], api]);
  const other = { ...SMALLEST, lists: { api, web: SMALLEST.lists.web } };
  const config = parsed(parseConfig(one, KINDS));
  assert.deepEqual(config, parsed(parseConfig(other, KINDS)));
  assert.deepEqual(
    config.lists.map((list) => list.name),
    ["api", "web"],
  );
});

test("parseConfig() is not fooled by keys that every object has", () => {
  const poisoned = JSON.stringify(SMALLEST).replace(
    '"lists":{',
    '"lists":{"__proto__":{"gate":false},"constructor":{"gate":1},',
  );
  const problems = problemsOf(parseConfig(JSON.parse(poisoned), KINDS));
  assert(problems.some((problem) => problem.startsWith("lists.__proto__: Cannot use name")));
  assert(problems.some((problem) => problem.startsWith("lists.constructor.gate: Cannot use 1")));
  for (const cluster of ["constructor", "toString", "__proto__"]) {
    const missing = problemsWith([[...WEB, "from", 0, "cluster"], cluster]);
    assert.match(missing.join("\n"), /Cannot find cluster/);
  }
  for (const kind of ["constructor", "__proto__"]) {
    assert.match(
      problemsWith([[...WEB, "targets", 0, "kind"], kind])[0] ?? "",
      /Cannot find kind of target/,
    );
  }
  const config = parsed(parseConfig(SMALLEST, KINDS));
  assert.equal(config.clusters.constructor, undefined);
  assert.equal(config.auth.toString, undefined);
  assert.equal(({} as Record<string, unknown>).gate, undefined);
});

test("parseConfig() never throws, whatever it is given", () => {
  const anything = fc.oneof(
    fc.anything(),
    fc.jsonValue().map((value) => fileWith([["lists", "web", "from", 0], value])),
    fc.jsonValue().map((value) => fileWith([["lists", "web"], value])),
    fc.jsonValue().map((value) => fileWith([["clusters", "east"], value])),
    fc.jsonValue().map((value) => fileWith([["lists", "web", "targets", 0], value])),
    fc.jsonValue().map((value) => fileWith([["store"], value])),
  );
  fc.assert(
    fc.property(anything, (value) => {
      const reading = parseConfig(value, KINDS);
      if (reading.kind === "parsed") return;
      assert(reading.problems.length > 0);
      for (const { message } of reading.problems) assert(message.length > 0);
    }),
    { numRuns: 500 },
  );
});

test("parseConfig() names the labels that no node can have", () => {
  const at = [...WEB, "from", 0, "nodes"];
  assert.deepEqual(problemsWith([at, { pool: true, "-x": "a", "a.b/c": "no spaces" }]), [
    "lists.web.from[0].nodes.pool: Cannot use true: expected text (put quotes around it)",
    'lists.web.from[0].nodes.-x: Cannot use label "-x": no label of Kubernetes is like it',
    'lists.web.from[0].nodes["a.b/c"]: Cannot use label value "no spaces": no label of ' +
      "Kubernetes has it",
  ]);
  assert.deepEqual(problemsWith([at, { "example.com/pool": "", pool: "a_b.C-1" }]), []);
});

test("parseConfig() reads the kinds of targets that are registered", () => {
  const target = {
    kind: "aws/security-group",
    region: "eu-west-1",
    id: "sg-0a1b",
    permission: { protocol: "tcp", port: 5432 },
  };
  const config = parsed(parseConfig(fileWith([[...WEB, "targets", 0], target])));
  assert.equal(config.lists[0]?.targets[0]?.name, "aws/security-group/sg-0a1b/tcp-5432");
  const wrong = { ...target, permission: { protocol: "tcp", prt: 5432 } };
  const problems = problemsOf(parseConfig(fileWith([[...WEB, "targets", 0], wrong])));
  assert.match(problems.join("\n"), /permission\.prt: Cannot use key "prt".*did you mean "port"/);
  const unknown = problemsOf(parseConfig(fileWith([[...WEB, "targets", 0, "kind"], "aws/sg"])));
  assert.match(unknown[0] ?? "", /known are .*aws\/security-group, .*memory/);
});

test("parseDuration() reads seconds, minutes and hours and nothing else", () => {
  assert.equal(parseDuration("90s"), 90_000);
  assert.equal(parseDuration("5m"), 300_000);
  assert.equal(parseDuration("1h"), 3_600_000);
  assert.equal(parseDuration("0s"), 0);
  for (const text of [
    "",
    "5",
    "5 m",
    "-5m",
    "05m",
    "1.5h",
    "5M",
    "1d",
    "5ms",
    "1h30m",
    "9000h",
    " 5m",
  ]) {
    assert.equal(parseDuration(text), null, text);
  }
  assert.match(
    problemsWith([[...WEB, "removal", "grace"], 300])[0] ?? "",
    /grace: Cannot read duration 300: write it like "90s", "5m" or "1h"/,
  );
  assert.match(
    problemsWith([[...WEB, "removal", "acceptAfter"], "0s"])[0] ?? "",
    /acceptAfter: Cannot use duration 0s: expected at least 1s/,
  );
});

test("parseYamlConfig() adds line and column to each message", () => {
  const text = [
    "version: 1",
    "installation: acme",
    "store: { kind: memory }",
    "clusters:",
    "  east:",
    "    bounds: [10.0.0.0/8]",
    "    auth: { signature: { keys: ['env:EAST'] } }",
    "    stalAfter: 15m",
    "lists:",
    "  web:",
    "    from: [{ static: [10.0.0.1/8] }]",
    "    removal: { grace: 5m }",
    "    targets: [{ kind: memory, id: a }]",
  ].join("\n");
  assert.deepEqual(problemsOf(parseYamlConfig(text)), [
    'clusters.east.stalAfter: Cannot use key "stalAfter": it is unknown; did you mean ' +
      '"staleAfter"? (line 8, column 5)',
    'lists.web.removal.policy: Cannot leave out "policy": write sync or add-only ' +
      "(line 12, column 5)",
    "lists.web.from[0].static[0]: Cannot use CIDR 10.0.0.1/8: it has host bits; write " +
      '"10.0.0.0/8" for the network or "10.0.0.1/32" for the host (line 11, column 23)',
  ]);
  const fixed = text
    .replace("stalAfter", "staleAfter")
    .replace("10.0.0.1/8", "10.0.0.0/8")
    .replace("grace: 5m", "policy: sync");
  assert.equal(parsed(parseYamlConfig(fixed)).lists[0]?.name, "web");
});

/** Seven lists, each naming the one before 40 times: a short file that would fill the memory. */
function aliasBomb(): string {
  const levels = ["b", "c", "d", "e", "f", "g", "h"].map((name, index, names) => {
    const before = `*${names[index - 1] ?? "a"}`;
    return `${name}: &${name} [${Array(40).fill(before).join(", ")}]`;
  });
  return ["a: &a [x, x]", ...levels].join("\n");
}

test("parseYamlConfig() tells of names that begin with a star, and where the first is", () => {
  assert.deepEqual(problemsOf(parseYamlConfig("version: 1\nlists: [{ name: *.example.com }]\n")), [
    ": Cannot read YAML: nothing was named &.example.com; put names that begin with * in quotes " +
      "(line 2, column 17)",
  ]);
  const meant = problemsOf(parseYamlConfig("a: &x 1\nb: *x\n"));
  assert(!meant.join().includes("quotes"), "what was named may be used");
});

test("parseConfig() says of what is missing what it may be, or what it is like", () => {
  const of = (target: object) => {
    const removal = { policy: "sync" };
    const list = { from: SMALLEST.lists.web.from, removal, targets: [target] };
    return problemsOf(parseConfig(fileWith([["lists"], { web: list }])));
  };
  const at = "lists.web.targets[0]";
  assert.deepEqual(of({ kind: "linode/database", id: 1, exclusive: true }), [
    `${at}.engine: Cannot leave out "engine": write mysql or postgresql`,
  ]);
  assert.deepEqual(of({ kind: "aws/security-group", permission: PERMISSION }), [
    `${at}.region: Cannot leave out "region": it is required; write it like "eu-west-1"`,
    `${at}.id: Cannot leave out "id": it is required; write a group's id like ` +
      '"sg-0a1b2c3d4e5f60718"',
  ]);
});

test("parseYamlConfig() refuses what is not one clean YAML document", () => {
  const refused: readonly (readonly [string, RegExp])[] = [
    ["a: [", /Cannot read YAML: .*line 1/],
    ["version: 1\nversion: 1", /Cannot read YAML: .*unique.*line 2/],
    ["version: 1\n---\nversion: 1", /Cannot read YAML/],
    ["version: !secret x", /Cannot read YAML: .*tag/],
    ["", /Cannot use null: expected a mapping/],
    ["just text", /Cannot use "just text": expected a mapping/],
    ["x".repeat(1_000_001), /Cannot read configuration: 1000001 characters/],
    [aliasBomb(), /Cannot read YAML: .*alias/],
  ];
  for (const [text, message] of refused) {
    assert.match(problemsOf(parseYamlConfig(text)).join("\n"), message);
  }
});

test("parseYamlConfig() treats __proto__ like any other unknown key", () => {
  const problems = problemsOf(parseYamlConfig("__proto__: { version: 1 }\nversion: 1"));
  assert(problems.some((problem) => problem.startsWith('__proto__: Cannot use key "__proto__"')));
  assert.equal(({} as Record<string, unknown>).version, undefined);
});

test("parseJsonConfig() reads JSON and says when it is none", () => {
  const lists = { web: { ...SMALLEST.lists.web, targets: [{ kind: "memory", id: "a" }] } };
  assert.equal(parseJsonConfig(JSON.stringify({ ...SMALLEST, lists })).kind, "parsed");
  assert.match(problemsOf(parseJsonConfig("{")).join("\n"), /^: Cannot read JSON: /);
});

test("resolveReference() reads variables and files, and never shows a value", () => {
  const files: Record<string, string> = { "keys/a": "whsec_file\n", empty: " \n" };
  const options = {
    env: { KEY: " whsec_env ", BLANK: "" },
    readFile: (path: string) => {
      const text = files[path];
      if (text === undefined) throw Object.assign(new Error("whsec_leak"), { code: "ENOENT" });
      return text;
    },
  };
  assert.equal(resolveReference("env:KEY", options), "whsec_env");
  assert.equal(resolveReference("file:keys/a", options), "whsec_file");
  const refused: readonly (readonly [string, RegExp])[] = [
    ["env:OTHER", /^Cannot resolve env:OTHER: the variable is not set/],
    ["env:toString", /^Cannot resolve env:toString: the variable is not set/],
    ["env:BLANK", /^Cannot use env:BLANK: it is empty/],
    ["file:gone", /^Cannot resolve file:gone: ENOENT/],
    ["file:empty", /^Cannot use file:empty: it is empty/],
    ["whsec_literal", /^Cannot resolve a reference: it must begin with/],
  ];
  for (const [reference, message] of refused) {
    assert.throws(
      () => resolveReference(reference, options),
      (error) => {
        assert(error instanceof Error);
        assert.match(error.message, message);
        assert(!JSON.stringify([error.message, error.cause]).includes("whsec_"));
        return true;
      },
    );
  }
});

test("findSharedKeys() finds one key in two places, however it is spelled, and never shows it", () => {
  const keys = [
    { cluster: "east", reference: "env:EAST", value: "whsec_c2VjcmV0LWtleS0x" },
    { cluster: "east", reference: "env:EAST_OLD", value: "whsec_c2VjcmV0LWtleS0x" },
    { cluster: "west", reference: "file:west", value: "c2VjcmV0LWtleS0x\n" },
    { cluster: "north", reference: "env:NORTH", value: "whsec_c2VjcmV0LWtleS0y" },
  ];
  const problems = findSharedKeys(keys);
  assert.deepEqual(problems, [
    {
      path: "clusters.west.auth.signature.keys",
      message:
        'Cannot use one key for clusters "east" and "west": the key tells which cluster ' +
        "speaks; give each its own (env:EAST and file:west hold the same)",
    },
  ]);
});

test("nearest() finds slips and nothing far-fetched", () => {
  assert.equal(nearest("adresses", ["addresses", "static"]), "addresses");
  assert.equal(nearest("Bounds", ["bounds"]), "bounds");
  assert.equal(nearest("colour", ["bounds", "gate"]), null);
  assert.equal(nearest("x".repeat(500), ["bounds"]), null);
});
