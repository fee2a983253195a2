import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { parseCidr, sortCidrs } from "../../lib/core/cidr.ts";
import { PROBLEMS_MAX } from "../../lib/core/problem.ts";
import {
  type AdmittedSnapshot,
  compareGenerations,
  contentOf,
  documentOf,
  GENERATION_NUMBER_MAX,
  LABELS_MAX,
  NODE_ADDRESSES_MAX,
  NODE_POD_CIDRS_MAX,
  POD_ADDRESSES_MAX,
  type Problem,
  parseSnapshot,
  parseStoredSnapshot,
  SCOPE_PODS_MAX,
  SNAPSHOT_CHANGES_MAX,
  SNAPSHOT_NODES_MAX,
  SNAPSHOT_PODS_MAX,
  type Snapshot,
  storedSnapshot,
} from "../../lib/core/snapshot.ts";

type Members = Readonly<Record<string, unknown>>;

function nodeMembers(members: Members = {}): Members {
  return { uid: "node-a", name: "a", labels: {}, addresses: [], podCidrs: [], ...members };
}

function podMembers(members: Members = {}): Members {
  return { uid: "pod-a", namespace: "pay", name: "api-0", labels: {}, addresses: [], ...members };
}

/** The members of a good message, some of them replaced; an undefined one is left out. */
function message(members: Members = {}): Members {
  const all = {
    cluster: "prod-eu",
    clusterUid: "6f0c",
    generation: { epoch: 7, sequence: 1042 },
    time: "2026-11-20T21:00:05Z",
    observedAt: "2026-11-20T21:00:04Z",
    scope: { labels: [], pods: [] },
    changes: [],
    nodes: [],
    pods: [],
    ...members,
  };
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined));
}

function parsed(members: Members): Snapshot {
  const reading = parseSnapshot(members);
  assert.equal(reading.kind, "parsed", JSON.stringify(reading));
  return reading.snapshot;
}

function problems(value: unknown): readonly Problem[] {
  const reading = parseSnapshot(value);
  assert.equal(reading.kind, "invalid");
  return reading.problems;
}

function paths(value: unknown): string[] {
  return problems(value).map(({ path }) => path);
}

function cidrs(...texts: readonly string[]) {
  return texts.map((text) => {
    const cidr = parseCidr(text);
    assert(cidr !== null, text);
    return cidr;
  });
}

// Reading.

const UNSORTED = message({
  scope: {
    labels: ["zone", "pool", "zone"],
    pods: [
      { namespace: "shop", labels: {} },
      { namespace: "pay", labels: { tier: "1", app: "api" } },
      { namespace: "pay", labels: { app: "api", tier: "1" } },
    ],
  },
  changes: [
    { kind: "node.removed", name: "z", uid: "u-9" },
    { kind: "node.added", name: "a", uid: "u-1" },
  ],
  nodes: [
    nodeMembers({
      uid: "u-2",
      labels: { zone: "1", pool: "payments" },
      addresses: [
        { type: "InternalIP", address: "2001:DB8:0::1" },
        { type: "InternalIP", address: "10.0.0.10" },
        { type: "InternalIP", address: "10.0.0.9" },
        { type: "ExternalIP", address: "203.0.113.16" },
        { type: "InternalIP", address: "2001:db8::0001" },
        { type: "InternalIP", address: "203.0.113.16" },
      ],
      podCidrs: ["fd00:0::/64", "10.2.1.9/24", "10.2.1.0/24"],
    }),
    nodeMembers({ uid: "u-1", name: "b" }),
  ],
  pods: [podMembers({ uid: "p-2", addresses: ["fd00::9", "10.2.0.9", "fd00:0::9"] }), podMembers()],
});

test("parseSnapshot() gives canonical values, sorted and each once", () => {
  const snapshot = parsed(UNSORTED);
  assert.deepEqual(snapshot, {
    cluster: "prod-eu",
    clusterUid: "6f0c",
    generation: { epoch: 7, sequence: 1042 },
    time: Date.UTC(2026, 10, 20, 21, 0, 5),
    observedAt: Date.UTC(2026, 10, 20, 21, 0, 4),
    scope: {
      labels: ["pool", "zone"],
      pods: [
        { namespace: "pay", labels: { app: "api", tier: "1" } },
        { namespace: "shop", labels: {} },
      ],
    },
    changes: [
      { kind: "node.removed", name: "z", uid: "u-9" },
      { kind: "node.added", name: "a", uid: "u-1" },
    ],
    nodes: [
      { uid: "u-1", name: "b", labels: {}, addresses: [], podCidrs: [] },
      {
        uid: "u-2",
        name: "a",
        labels: { pool: "payments", zone: "1" },
        addresses: [
          { type: "ExternalIP", address: "203.0.113.16/32" },
          { type: "InternalIP", address: "10.0.0.9/32" },
          { type: "InternalIP", address: "10.0.0.10/32" },
          { type: "InternalIP", address: "203.0.113.16/32" },
          { type: "InternalIP", address: "2001:db8::1/128" },
        ],
        podCidrs: ["10.2.1.0/24", "fd00::/64"],
      },
    ],
    pods: [
      {
        uid: "p-2",
        namespace: "pay",
        name: "api-0",
        labels: {},
        addresses: ["10.2.0.9/32", "fd00::9/128"],
      },
      { uid: "pod-a", namespace: "pay", name: "api-0", labels: {}, addresses: [] },
    ],
  });
  assert.deepEqual(Object.keys(snapshot.nodes[1]?.labels ?? {}), ["pool", "zone"]);
});

test("parseSnapshot() keeps addresses that may not be written, to be judged one by one", () => {
  const given = [
    "0.0.0.0",
    "127.0.0.1",
    "169.254.169.254",
    "224.0.0.1",
    "::",
    "::ffff:203.0.113.1",
  ];
  const snapshot = parsed(
    message({
      nodes: [
        nodeMembers({
          addresses: given.map((address) => ({ type: "ExternalIP", address })),
          podCidrs: ["0.0.0.0/0", "::/0"],
        }),
      ],
    }),
  );
  assert.deepEqual(
    snapshot.nodes[0]?.addresses.map(({ address }) => address),
    sortCidrs(cidrs(...given)),
  );
  assert.deepEqual(snapshot.nodes[0]?.podCidrs, ["0.0.0.0/0", "::/0"]);
});

for (const address of [
  "node-a.internal",
  "",
  "203.0.113.16/32",
  "01.2.3.4",
  "fe80::1%eth0",
  "1.2.3",
]) {
  test(`parseSnapshot() names the path of ${JSON.stringify(address)}, which is no IP address`, () => {
    const good = { type: "InternalIP", address: "10.0.0.1" };
    const broken = { type: "ExternalIP", address };
    const value = message({
      nodes: [nodeMembers({ uid: "u-0" }), nodeMembers({ uid: "u-1", addresses: [good, broken] })],
      pods: [podMembers({ addresses: ["10.2.0.9", address] })],
    });
    assert.deepEqual(problems(value), [
      {
        path: "nodes[1].addresses[1].address",
        message: `Cannot read ${JSON.stringify(address)} as an IP address`,
      },
      {
        path: "pods[0].addresses[1]",
        message: `Cannot read ${JSON.stringify(address)} as an IP address`,
      },
    ]);
  });
}

test("parseSnapshot() ignores unknown members and unknown types of addresses", () => {
  const snapshot = parsed(
    message({
      future: { more: [1] },
      receivedAt: "never",
      nodes: [
        nodeMembers({
          taints: [],
          addresses: [
            { type: "Hostname", address: "a" },
            { type: "InternalDNS", address: "a.internal" },
            { type: "__proto__", address: "203.0.113.1" },
            { type: "InternalIP", address: "10.0.0.1", zone: "x" },
          ],
        }),
      ],
    }),
  );
  assert.deepEqual(
    snapshot,
    parsed(
      message({
        nodes: [nodeMembers({ addresses: [{ type: "InternalIP", address: "10.0.0.1" }] })],
      }),
    ),
  );
});

test("parseSnapshot() reports every problem at once, each with its path", () => {
  const value = message({
    cluster: "Prod EU",
    clusterUid: "",
    generation: { epoch: 1.5, sequence: "7" },
    time: "2026-11-20T21:00:05+01:00",
    observedAt: undefined,
    scope: { labels: ["a b"], pods: [{ namespace: 1, labels: {} }] },
    changes: [{ kind: "node.added", name: "b" }],
    nodes: [
      null,
      nodeMembers({
        name: "a\n",
        labels: { "example.com/pool": 1, plain: "two words" },
        addresses: [{ type: "ExternalIP" }, "203.0.113.16", { type: "ExternalIP", address: "x" }],
        podCidrs: ["10.0.0.0/33"],
      }),
      nodeMembers({ uid: "node-a", name: "b" }),
    ],
    pods: [podMembers({ namespace: "", addresses: [1] }), podMembers()],
  });
  assert.deepEqual(paths(value), [
    "cluster",
    "clusterUid",
    "generation.epoch",
    "generation.sequence",
    "time",
    "observedAt",
    "scope.labels[0]",
    "scope.pods[0].namespace",
    "changes[0].uid",
    "nodes[0]",
    "nodes[1].name",
    'nodes[1].labels["example.com/pool"]',
    "nodes[1].labels.plain",
    "nodes[1].addresses[0].address",
    "nodes[1].addresses[1]",
    "nodes[1].addresses[2].address",
    "nodes[1].podCidrs[0]",
    "nodes[2].uid",
    "pods[0].namespace",
    "pods[0].addresses[0]",
    "pods[1].uid",
  ]);
});

test("parseSnapshot() writes problems as sentences that name the value and what is needed", () => {
  const sentences = problems(
    message({
      cluster: "Prod",
      generation: { epoch: GENERATION_NUMBER_MAX + 1, sequence: -1 },
      nodes: [nodeMembers(), nodeMembers({ labels: [] })],
    }),
  );
  assert.deepEqual(sentences, [
    {
      path: "cluster",
      message: 'Cannot take "Prod" as a name: use 1 to 32 of a-z, 0-9 and inner hyphens',
    },
    { path: "generation.epoch", message: "Cannot take 10000000000: at most 9999999999 allowed" },
    { path: "generation.sequence", message: "Cannot take -1: at least 0 needed" },
    { path: "nodes[1].labels", message: "Cannot read an array: must be an object" },
    { path: "nodes[1].uid", message: 'Cannot take the uid "node-a" twice: nodes[0] has it' },
  ]);
});

for (const value of [undefined, null, 1, "text", true, []]) {
  test(`parseSnapshot() has one problem with ${JSON.stringify(value)}`, () => {
    assert.deepEqual(paths(value), [""]);
  });
}

for (const name of ["nodes", "pods", "scope", "changes"]) {
  test(`parseSnapshot() never takes missing ${name} for none`, () => {
    assert.deepEqual(paths(message({ [name]: undefined })), [name]);
    assert.deepEqual(paths(message({ [name]: null })), [name]);
  });
}

test("parseSnapshot() takes cluster names of 1 to 32 characters", () => {
  for (const cluster of ["a", "7", "prod-eu", "a".repeat(32), "a--b"]) {
    assert.equal(parsed(message({ cluster })).cluster, cluster);
  }
  for (const cluster of ["", "-a", "a-", "A", "a.b", "a_b", "a".repeat(33), "ä", "a\n", "a/b"]) {
    assert.deepEqual(paths(message({ cluster })), ["cluster"], cluster);
  }
});

test("parseSnapshot() takes epochs and sequences of at most ten digits", () => {
  for (const number of [0, 1, GENERATION_NUMBER_MAX]) {
    const generation = { epoch: number, sequence: number };
    assert.deepEqual(parsed(message({ generation })).generation, generation);
  }
  for (const number of [-1, 0.5, GENERATION_NUMBER_MAX + 1, 2 ** 53, Infinity, NaN, "1", null]) {
    const generation = { epoch: number, sequence: 0 };
    assert.deepEqual(paths(message({ generation })), ["generation.epoch"], String(number));
  }
});

test("parseSnapshot() reads RFC 3339 times in UTC to the millisecond", () => {
  const times: Readonly<Record<string, number>> = {
    "2026-11-20T21:00:05Z": Date.UTC(2026, 10, 20, 21, 0, 5),
    "2026-11-20T21:00:05.1Z": Date.UTC(2026, 10, 20, 21, 0, 5, 100),
    "2026-11-20T21:00:05.123456789Z": Date.UTC(2026, 10, 20, 21, 0, 5, 123),
    "2028-02-29T23:59:59.999Z": Date.UTC(2028, 1, 29, 23, 59, 59, 999),
  };
  for (const [time, instant] of Object.entries(times)) {
    assert.equal(parsed(message({ time })).time, instant, time);
    assert.equal(parsed(message({ observedAt: time })).observedAt, instant, time);
  }
});

for (const time of [
  "",
  "2026-11-20",
  "2026-11-20T21:00Z",
  "2026-11-20T21:00:05",
  "2026-11-20 21:00:05Z",
  "2026-11-20T21:00:05+00:00",
  "2026-11-20T21:00:05.Z",
  "2026-02-29T00:00:00Z",
  "2026-04-31T00:00:00Z",
  "2026-13-01T00:00:00Z",
  "2026-11-20T24:00:00Z",
  "2026-11-20T21:60:00Z",
  "2026-11-20T21:00:60Z",
  "+002026-11-20T21:00:05Z",
  "2026-11-20T21:00:05Z\n",
  "1795208405000",
  1795208405000,
]) {
  test(`parseSnapshot() refuses the time ${JSON.stringify(time)}`, () => {
    assert.deepEqual(paths(message({ time, observedAt: time })), ["time", "observedAt"]);
  });
}

// Limits.

function many<T>(count: number, element: (index: number) => T): T[] {
  return Array.from({ length: count }, (_, index) => element(index));
}

function nodeWith(members: Members): Members {
  return message({ nodes: [nodeMembers(members)] });
}

const LIMITS: Readonly<
  Record<string, { readonly max: number; readonly of: (count: number) => Members }>
> = {
  nodes: {
    max: SNAPSHOT_NODES_MAX,
    of: (count) => message({ nodes: many(count, (i) => nodeMembers({ uid: `u-${i}` })) }),
  },
  pods: {
    max: SNAPSHOT_PODS_MAX,
    of: (count) => message({ pods: many(count, (i) => podMembers({ uid: `u-${i}` })) }),
  },
  changes: {
    max: SNAPSHOT_CHANGES_MAX,
    of: (count) => message({ changes: many(count, () => ({ kind: "k", name: "", uid: "" })) }),
  },
  "scope.labels": {
    max: LABELS_MAX,
    of: (count) => message({ scope: { labels: many(count, (i) => `l-${i}`), pods: [] } }),
  },
  "scope.pods": {
    max: SCOPE_PODS_MAX,
    of: (count) =>
      message({
        scope: { labels: [], pods: many(count, (i) => ({ namespace: `n-${i}`, labels: {} })) },
      }),
  },
  "nodes[0].addresses": {
    max: NODE_ADDRESSES_MAX,
    of: (count) =>
      nodeWith({ addresses: many(count, () => ({ type: "InternalIP", address: "10.0.0.1" })) }),
  },
  "nodes[0].podCidrs": {
    max: NODE_POD_CIDRS_MAX,
    of: (count) => nodeWith({ podCidrs: many(count, (i) => `10.0.${i}.0/24`) }),
  },
  "nodes[0].labels": {
    max: LABELS_MAX,
    of: (count) => nodeWith({ labels: Object.fromEntries(many(count, (i) => [`l-${i}`, ""])) }),
  },
  "pods[0].addresses": {
    max: POD_ADDRESSES_MAX,
    of: (count) => message({ pods: [podMembers({ addresses: many(count, () => "10.2.0.9") })] }),
  },
  clusterUid: { max: 128, of: (count) => message({ clusterUid: "u".repeat(count) }) },
  "nodes[0].uid": { max: 128, of: (count) => nodeWith({ uid: "u".repeat(count) }) },
  "nodes[0].name": { max: 253, of: (count) => nodeWith({ name: "n".repeat(count) }) },
  "nodes[0].labels.pool": {
    max: 63,
    of: (count) => nodeWith({ labels: { pool: "v".repeat(count) } }),
  },
  "pods[0].namespace": {
    max: 63,
    of: (count) => message({ pods: [podMembers({ namespace: "n".repeat(count) })] }),
  },
};

for (const [path, { max, of }] of Object.entries(LIMITS)) {
  test(`parseSnapshot() takes ${max} of ${path} and not one more`, () => {
    parsed(of(max));
    const [problem, ...others] = problems(of(max + 1));
    assert.deepEqual(others, []);
    assert.equal(problem?.path, path);
    assert.match(problem?.message ?? "", new RegExp(`${max + 1} .*: at most ${max} allowed`));
  });
}

test("parseSnapshot() takes label keys of 317 characters, and cuts a longer one in its answer", () => {
  parsed(nodeWith({ labels: { ["k".repeat(317)]: "" } }));
  const [problem] = problems(nodeWith({ labels: { ["k".repeat(100_000)]: "" } }));
  assert.equal(problem?.path, `nodes[0].labels["${"k".repeat(60)}"…]`);
  assert.equal(problem?.message, "Cannot take 100000 characters: at most 317 allowed");
});

test("parseSnapshot() judges a count before the elements", () => {
  const nodes = many(SNAPSHOT_NODES_MAX + 1, () => 0);
  assert.deepEqual(paths(message({ nodes })), ["nodes"]);
});

test("parseSnapshot() lists so many problems and says that there are more", () => {
  const exact = problems(message({ nodes: many(PROBLEMS_MAX, () => 0) }));
  assert.equal(exact.length, PROBLEMS_MAX);
  assert.equal(exact.at(-1)?.path, `nodes[${PROBLEMS_MAX - 1}]`);
  for (const count of [PROBLEMS_MAX + 1, 10_000]) {
    const listed = problems(message({ nodes: many(count, () => 0), pods: many(count, () => 0) }));
    assert.equal(listed.length, PROBLEMS_MAX + 1);
    assert.deepEqual(listed.at(-1), {
      path: "",
      message:
        `Cannot list every problem: there are more than ${PROBLEMS_MAX}; correct these ` + "first",
    });
  }
});

test("parseSnapshot() never repeats a hostile text at length or with control characters", () => {
  const hostile = `\u001b[2J\u202e\u007f\n"${"x".repeat(1_000_000)}`;
  const value = message({
    cluster: hostile,
    clusterUid: hostile,
    time: hostile,
    nodes: [
      nodeMembers({
        uid: hostile,
        labels: { [hostile]: hostile },
        addresses: [{ type: "InternalIP", address: hostile }],
        podCidrs: [hostile],
      }),
      nodeMembers({ uid: hostile }),
    ],
  });
  for (const { path, message: sentence } of problems(value)) {
    assert(path.length < 200, path.slice(0, 300));
    assert(sentence.length < 300, sentence.slice(0, 300));
    assert.match(`${path} ${sentence}`, /^[\x20-\x7e…]*$/);
  }
});

// Hostile shapes.

test("parseSnapshot() finds two nodes, and two pods, with one uid", () => {
  const value = message({
    nodes: [nodeMembers(), nodeMembers({ uid: "node-b" }), nodeMembers(), nodeMembers()],
    pods: [podMembers({ namespace: "a" }), podMembers({ namespace: "b" })],
  });
  assert.deepEqual(paths(value), ["nodes[2].uid", "nodes[3].uid", "pods[1].uid"]);
  parsed(message({ nodes: [nodeMembers({ uid: "x" })], pods: [podMembers({ uid: "x" })] }));
});

test("parseSnapshot() keeps labels apart from the members every object inherits", () => {
  const labels = JSON.parse('{"__proto__":"x","constructor":"y","toString":"z","pool":"a"}');
  const snapshot = parsed(nodeWith({ labels }));
  const read = snapshot.nodes[0]?.labels ?? {};
  assert.equal(Object.getPrototypeOf(read), Object.prototype);
  assert.deepEqual(
    Object.keys(read).filter((key) => key !== "__proto__"),
    ["constructor", "pool", "toString"],
  );
  assert.equal(read.constructor, "y");
  assert.equal(parseStoredSnapshot(stored({ ...snapshot, receivedAt: 0 })).nodes[0]?.name, "a");
});

test("parseSnapshot() takes nothing from an own __proto__ member", () => {
  const text = JSON.stringify(message({ nodes: undefined, inner: message() }));
  const value = JSON.parse(text.replace('"inner"', '"__proto__"'));
  assert.deepEqual(paths(value), ["nodes"]);
  assert.equal(Object.hasOwn(Object.prototype, "cluster"), false);
});

test("parseSnapshot() never throws, whatever JSON it is given", () => {
  const members = [...Object.keys(message()), "uid", "name", "addresses", "__proto__"];
  const hostile = fc.oneof(
    fc.jsonValue(),
    fc
      .tuple(fc.constantFrom(...members), fc.jsonValue(), fc.boolean())
      .map(([name, value, nested]) =>
        message(nested ? { nodes: [nodeMembers({ [name]: value })] } : { [name]: value }),
      ),
  );
  fc.assert(
    fc.property(hostile, (value) => {
      const reading = parseSnapshot(value);
      assert(reading.kind === "parsed" || reading.problems.length > 0);
    }),
    { numRuns: 2000 },
  );
});

// Canonical form, text and store.

const word = fc.string({ unit: fc.constantFrom(..."abyz019-./"), minLength: 1, maxLength: 8 });
const labelsMembers = fc.dictionary(word, word, { maxKeys: 4 });
const addressText = fc.oneof(fc.ipV4(), fc.ipV6());
const networkText = fc.oneof(
  fc.tuple(fc.ipV4(), fc.nat(32)).map(([address, length]) => `${address}/${length}`),
  fc.tuple(fc.ipV6(), fc.nat(128)).map(([address, length]) => `${address}/${length}`),
);
const instantText = fc
  .date({ min: new Date(0), max: new Date(4e12), noInvalidDate: true })
  .map((date) => date.toISOString());

const someMessage = fc
  .record({
    cluster: fc.constantFrom("prod-eu", "a"),
    clusterUid: word,
    generation: fc.record({
      epoch: fc.nat(GENERATION_NUMBER_MAX),
      sequence: fc.nat(GENERATION_NUMBER_MAX),
    }),
    time: instantText,
    observedAt: instantText,
    scope: fc.record({
      labels: fc.array(word, { maxLength: 3 }),
      pods: fc.array(fc.record({ namespace: word, labels: labelsMembers }), { maxLength: 3 }),
    }),
    changes: fc.array(fc.record({ kind: word, name: word, uid: word }), { maxLength: 2 }),
    nodes: fc.uniqueArray(
      fc.record({
        uid: word,
        name: word,
        labels: labelsMembers,
        addresses: fc.array(
          fc.record({ type: fc.constantFrom("InternalIP", "ExternalIP"), address: addressText }),
          { maxLength: 4 },
        ),
        podCidrs: fc.array(networkText, { maxLength: 3 }),
      }),
      { maxLength: 4, selector: ({ uid }) => uid },
    ),
    pods: fc.uniqueArray(
      fc.record({
        uid: word,
        namespace: word,
        name: word,
        labels: labelsMembers,
        addresses: fc.array(addressText, { maxLength: 3 }),
      }),
      { maxLength: 3, selector: ({ uid }) => uid },
    ),
  })
  .map((members) => members as Members);

/** The same truth, said in another order and with repetitions. */
function shuffled(value: unknown, repeat: boolean): unknown {
  if (Array.isArray(value)) {
    const elements = value.map((element) => shuffled(element, true)).toReversed();
    const plain = elements.every((element) => typeof element === "string");
    return repeat && plain ? [...elements, ...elements] : elements;
  }
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).toReversed();
  return Object.fromEntries(entries.map(([key, member]) => [key, shuffled(member, true)]));
}

function stored(snapshot: AdmittedSnapshot): unknown {
  return JSON.parse(JSON.stringify(storedSnapshot(snapshot)));
}

test("parseSnapshot() gives the same bytes for the same truth in any order", () => {
  fc.assert(
    fc.property(someMessage, (value) => {
      const other = shuffled({ ...value, changes: [] }, false) as Members;
      const snapshot = parsed({ ...value, changes: [] });
      assert.equal(JSON.stringify(parsed(other)), JSON.stringify(snapshot));
      assert.equal(contentOf(parsed(other)), contentOf(snapshot));
    }),
    { numRuns: 500 },
  );
});

test("documentOf() is read back as the same snapshot", () => {
  fc.assert(
    fc.property(someMessage, (value) => {
      const snapshot = parsed(value);
      const time = new Date(snapshot.time).toISOString();
      const sent = JSON.parse(JSON.stringify({ ...documentOf(snapshot), time }));
      assert.deepEqual(parsed(sent), snapshot);
    }),
    { numRuns: 500 },
  );
});

test("parseStoredSnapshot() reads what storedSnapshot() wrote", () => {
  fc.assert(
    fc.property(someMessage, fc.nat(4e12), (value, receivedAt) => {
      const snapshot = { ...parsed(value), receivedAt };
      assert.deepEqual(parseStoredSnapshot(stored(snapshot)), snapshot);
    }),
    { numRuns: 500 },
  );
});

test("parseStoredSnapshot() says what it cannot read", () => {
  const good = { ...message(), receivedAt: "2026-11-20T21:00:06Z" };
  assert.equal(parseStoredSnapshot(good).receivedAt, Date.UTC(2026, 10, 20, 21, 0, 6));
  assert.throws(() => parseStoredSnapshot({ ...good, receivedAt: 5 }), {
    message: "Cannot read the stored snapshot: receivedAt: Cannot read a number: must be a string",
  });
  assert.throws(() => parseStoredSnapshot({ ...good, nodes: [0, 1, 2] }), {
    message:
      "Cannot read the stored snapshot: nodes[0]: Cannot read a number: must be an " +
      "object (and 2 more)",
  });
  assert.throws(() => parseStoredSnapshot(null), {
    message: "Cannot read the stored snapshot: Cannot read null: must be an object (and 1 more)",
  });
});

test("contentOf() changes with scope, nodes and pods, and with nothing else", () => {
  const base = message({ nodes: [nodeMembers()], pods: [podMembers()] });
  const content = contentOf(parsed(base));
  const same: readonly Members[] = [
    { generation: { epoch: 9, sequence: 9 } },
    { time: "2027-01-01T00:00:00Z", observedAt: "2027-01-01T00:00:00Z" },
    { changes: [{ kind: "node.added", name: "a", uid: "node-a" }] },
    { clusterUid: "other" },
  ];
  for (const members of same) assert.equal(contentOf(parsed({ ...base, ...members })), content);
  const address = { type: "InternalIP", address: "10.0.0.1" };
  const others: readonly Members[] = [
    { scope: { labels: ["pool"], pods: [] } },
    { scope: { labels: [], pods: [{ namespace: "pay", labels: {} }] } },
    { nodes: [] },
    { pods: [] },
    { nodes: [nodeMembers({ uid: "node-b" })] },
    { nodes: [nodeMembers({ name: "b" })] },
    { nodes: [nodeMembers({ labels: { pool: "" } })] },
    { nodes: [nodeMembers({ addresses: [address] })] },
    { nodes: [nodeMembers({ addresses: [{ ...address, type: "ExternalIP" }] })] },
    { nodes: [nodeMembers({ podCidrs: ["10.0.0.1"] })] },
    { pods: [podMembers({ namespace: "shop" })] },
    { pods: [podMembers({ addresses: ["10.0.0.1"] })] },
    { pods: [podMembers({ labels: { app: "api" } })] },
  ];
  const contents = others.map((members) => contentOf(parsed({ ...base, ...members })));
  assert.equal(new Set([content, ...contents]).size, others.length + 1);
});

test("compareGenerations() orders by epoch, then by sequence", () => {
  const generation = fc.record({ epoch: fc.nat(3), sequence: fc.nat(3) });
  fc.assert(
    fc.property(generation, generation, (a, b) => {
      const digits = [a, b].map(({ epoch, sequence }) => epoch * 10 + sequence);
      const expected = Math.sign((digits[0] ?? 0) - (digits[1] ?? 0));
      assert.equal(Math.sign(compareGenerations(a, b)), expected);
    }),
    { numRuns: 500 },
  );
  const largest = { epoch: GENERATION_NUMBER_MAX, sequence: GENERATION_NUMBER_MAX };
  const nearly = { epoch: GENERATION_NUMBER_MAX, sequence: GENERATION_NUMBER_MAX - 1 };
  assert(compareGenerations(nearly, largest) < 0);
});
