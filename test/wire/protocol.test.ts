import assert from "node:assert/strict";
import { test } from "node:test";
import { isDeepStrictEqual } from "node:util";
import fc from "fast-check";
import type { ListReport } from "../../lib/core/report.ts";
import {
  type Problem,
  parseSnapshot,
  SNAPSHOT_CHANGES_MAX,
  type Snapshot,
} from "../../lib/core/snapshot.ts";
import {
  type Answer,
  DELIVERY_BYTES_MAX,
  deliveryId,
  GZIP_FROM_BYTES,
  MEDIA_TYPE,
  PROBLEM_MEDIA_TYPE,
  type ProblemKind,
  parseDelivery,
  problemDocument,
  problemKindOf,
  renderDelivery,
  SNAPSHOT_TYPE,
} from "../../lib/wire/protocol.ts";
import { parseAnswer, parseProblemDocument } from "../../lib/wire/reply.ts";

type Members = Readonly<Record<string, unknown>>;

const DATA: Members = {
  cluster: "prod-eu",
  clusterUid: "6f0c",
  generation: { epoch: 7, sequence: 1042 },
  observedAt: "2026-11-20T21:00:05.000Z",
  changes: [{ kind: "node.added", name: "b", uid: "u-b" }],
  scope: { labels: ["pool"], pods: [{ namespace: "pay", labels: { app: "api" } }] },
  nodes: [
    {
      uid: "u-a",
      name: "a",
      labels: { pool: "payments" },
      addresses: [{ type: "ExternalIP", address: "203.0.113.16" }],
      podCidrs: ["10.2.0.0/24"],
    },
  ],
  pods: [
    {
      uid: "u-p",
      namespace: "pay",
      name: "api-0",
      labels: { app: "api" },
      addresses: ["10.2.0.9"],
    },
  ],
};

const ENVELOPE: Members = {
  specversion: "1.0",
  type: "dev.kube-allowlist.snapshot.v1",
  source: "/clusters/prod-eu",
  id: "prod-eu/7/1042",
  sequence: "00000000070000001042",
  time: "2026-11-20T21:00:06.500Z",
  datacontenttype: "application/json",
};

/** A good body, some members of its envelope and data replaced; an undefined one is left out. */
function body(envelope: Members = {}, members: Members = {}): string {
  return JSON.stringify({ ...ENVELOPE, data: { ...DATA, ...members }, ...envelope });
}

function parsed(text: string): Snapshot {
  const reading = parseDelivery(text);
  assert.equal(reading.kind, "parsed", JSON.stringify(reading));
  return reading.snapshot;
}

function problems(text: string): readonly Problem[] {
  const reading = parseDelivery(text);
  assert.equal(reading.kind, "invalid", JSON.stringify(reading));
  return reading.problems;
}

function paths(text: string): string[] {
  return problems(text).map(({ path }) => path);
}

test("the names and limits on the wire are what the two ends agreed on", () => {
  assert.equal(MEDIA_TYPE, "application/cloudevents+json");
  assert.equal(PROBLEM_MEDIA_TYPE, "application/problem+json");
  assert.equal(SNAPSHOT_TYPE, "dev.kube-allowlist.snapshot.v1");
  assert.equal(DELIVERY_BYTES_MAX, 8_388_608);
  assert.equal(GZIP_FROM_BYTES, 65_536);
});

// Deliveries.

test("renderDelivery() writes one CloudEvent with the whole truth", () => {
  const snapshot = parsed(body());
  assert.deepEqual(JSON.parse(renderDelivery(snapshot)), { ...ENVELOPE, data: DATA });
});

test("renderDelivery() gives the same bytes for the same snapshot", () => {
  const text = renderDelivery(parsed(body()));
  assert.equal(renderDelivery(parsed(text)), text);
  const { nodes, pods, ...others } = parsed(body());
  const reordered = Object.fromEntries(Object.entries(others).toReversed());
  assert.equal(renderDelivery({ pods, nodes, ...(reordered as typeof others) }), text);
});

test("renderDelivery() orders sequences as text by generation", () => {
  const generation = fc.record({ epoch: fc.nat(9_999_999_999), sequence: fc.nat(9_999_999_999) });
  const sequenceOf = (value: Snapshot["generation"]) => {
    const event = JSON.parse(renderDelivery({ ...parsed(body()), generation: value }));
    assert.equal(event.id, `prod-eu/${value.epoch}/${value.sequence}`);
    assert.match(event.sequence, /^[0-9]{20}$/);
    return event.sequence as string;
  };
  fc.assert(
    fc.property(generation, generation, (a, b) => {
      const older = a.epoch < b.epoch || (a.epoch === b.epoch && a.sequence < b.sequence);
      assert.equal(sequenceOf(a) < sequenceOf(b), older);
    }),
    { numRuns: 200 },
  );
});

test("renderDelivery() leaves out the changes that no receiver would take, never the truth", () => {
  const changes = Array.from({ length: SNAPSHOT_CHANGES_MAX + 5 }, (_, index) => ({
    kind: "node.added",
    name: `n-${index}`,
    uid: `u-${index}`,
  }));
  const snapshot = { ...parsed(body()), changes };
  const read = parsed(renderDelivery(snapshot));
  assert.deepEqual(read, { ...snapshot, changes: changes.slice(0, SNAPSHOT_CHANGES_MAX) });
});

test("parseDelivery() reads what renderDelivery() wrote", () => {
  const plain = { noNullPrototype: true };
  const number = fc.nat(9_999_999_999);
  const instant = fc.nat(4e12);
  fc.assert(
    fc.property(
      fc.record(
        {
          cluster: fc.stringMatching(/^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$/),
          generation: fc.record({ epoch: number, sequence: number }, plain),
          time: instant,
          observedAt: instant,
        },
        plain,
      ),
      (members) => {
        const snapshot = { ...parsed(body()), ...members };
        assert.deepEqual(parsed(renderDelivery(snapshot)), snapshot);
        assert.equal(
          deliveryId(snapshot),
          `${members.cluster}/${members.generation.epoch}/${members.generation.sequence}`,
        );
      },
    ),
    { numRuns: 300 },
  );
});

test("parseDelivery() takes the time of the envelope and never one from the data", () => {
  assert.equal(
    parsed(body({}, { time: "1999-01-01T00:00:00Z" })).time,
    Date.UTC(2026, 10, 20, 21, 0, 6, 500),
  );
  assert.deepEqual(paths(body({ time: undefined }, { time: "2026-11-20T21:00:05Z" })), ["time"]);
});

test("parseDelivery() ignores attributes it does not know, and a missing datacontenttype", () => {
  const text = body({ traceparent: "00-0-0-00", subject: "x", datacontenttype: undefined });
  assert.deepEqual(parsed(text), parsed(body()));
});

for (const text of ["", "{", "[1,", "nul", "{}{}", "\u0000", "'{}'", "[".repeat(1_000_000)]) {
  test(`parseDelivery() has one problem with ${JSON.stringify(text.slice(0, 10))}, no JSON`, () => {
    assert.deepEqual(problems(text), [
      { path: "", message: "Cannot read the body as JSON: send one CloudEvent in structured mode" },
    ]);
  });
}

for (const text of ["null", "1", '"text"', "[]", "true", `[${body()}]`]) {
  test(`parseDelivery() has one problem with ${text.slice(0, 10)}, no event`, () => {
    assert.deepEqual(paths(text), [""]);
  });
}

test("parseDelivery() reports the envelope's and the data's problems at once", () => {
  const text = body(
    {
      specversion: "0.3",
      type: "dev.kube-allowlist.snapshot.v2",
      datacontenttype: "text/xml",
      source: "/clusters/prod-us",
      id: 7,
      sequence: "1042",
      time: "yesterday",
    },
    { nodes: [{ uid: "u" }] },
  );
  assert.deepEqual(paths(text), [
    "specversion",
    "type",
    "id",
    "datacontenttype",
    "source",
    "sequence",
    "time",
    "nodes[0].name",
    "nodes[0].labels",
    "nodes[0].addresses",
    "nodes[0].podCidrs",
  ]);
});

for (const [name, value, expected] of [
  ["source", "/clusters/prod-us", "/clusters/prod-eu"],
  ["source", "prod-eu", "/clusters/prod-eu"],
  ["id", "prod-eu/7/1043", "prod-eu/7/1042"],
  ["id", "prod-eu/07/1042", "prod-eu/7/1042"],
  ["sequence", "00000000070000001043", "00000000070000001042"],
  ["sequence", "70000001042", "00000000070000001042"],
] as const) {
  test(`parseDelivery() refuses an envelope whose ${name} is ${value} against its data`, () => {
    assert.deepEqual(problems(body({ [name]: value })), [
      { path: name, message: `Cannot take "${value}": the data says "${expected}"` },
    ]);
  });
}

for (const name of ["specversion", "type", "source", "id", "sequence", "time", "data"]) {
  test(`parseDelivery() refuses an event without ${name}`, () => {
    assert.deepEqual(paths(body({ [name]: undefined })), [name]);
  });
}

test("parseDelivery() refuses data in another shape", () => {
  for (const odd of [null, [], "{}", 1]) assert.deepEqual(paths(body({ data: odd })), ["data"]);
  const event = { ...ENVELOPE, data_base64: "e30=" };
  assert.deepEqual(paths(JSON.stringify(event)), ["data"]);
});

test("parseDelivery() takes nothing from __proto__ members", () => {
  const inherited = JSON.stringify({ ...ENVELOPE, data: DATA, uid: "u", nodes: [] });
  assert.deepEqual(paths(`{"__proto__":${inherited}}`), [
    "specversion",
    "type",
    "source",
    "id",
    "sequence",
    "data",
  ]);
  const within = body({}, { nodes: undefined, inner: DATA }).replace('"inner"', '"__proto__"');
  assert.deepEqual(paths(within), ["nodes"]);
  const harmless = body({ inner: { time: 1 } }).replace('"inner"', '"__proto__"');
  assert.deepEqual(parsed(harmless), parsed(body()));
  assert.equal(Object.hasOwn(Object.prototype, "specversion"), false);
});

test("parseDelivery() never throws, and never takes an event that was tampered with for another", () => {
  const text = body();
  const snapshot = parsed(text);
  fc.assert(
    fc.property(
      fc.nat(text.length),
      fc.nat(5),
      fc.oneof(fc.string({ maxLength: 3 }), fc.constantFrom("{", "}", '"', ",", "null", "-")),
      (at, cut, put) => {
        const reading = parseDelivery(text.slice(0, at) + put + text.slice(at + cut));
        if (reading.kind === "invalid") assert(reading.problems.length > 0);
        else {
          assert.equal(reading.snapshot.cluster, snapshot.cluster);
          assert.deepEqual(reading.snapshot.generation, snapshot.generation);
        }
      },
    ),
    { numRuns: 2000 },
  );
});

test("parseDelivery() of ten thousand nodes gives what parseSnapshot() gives", () => {
  const nodes = Array.from({ length: 10_000 }, (_, index) => ({
    uid: `u-${index}`,
    name: `n-${index}`,
    labels: { pool: "payments" },
    addresses: [{ type: "ExternalIP", address: `10.0.${index >> 8}.${index & 255}` }],
    podCidrs: [],
  }));
  const parsed = parseDelivery(body({}, { nodes }));
  const direct = parseSnapshot({ ...DATA, nodes, time: ENVELOPE.time });
  assert.equal(parsed.kind, "parsed");
  // Not deepEqual: should they differ, its account of the difference would take all memory there
  // is.
  assert(isDeepStrictEqual(parsed, direct));
});

// Answers.

const REPORT: ListReport = {
  list: "payments-db",
  target: "memory/one",
  state: "withheld",
  reason: "ratio",
  message: "Cannot remove 2 of 3 entries",
  desired: 1,
  owned: 3,
  borrowed: 0,
  foreign: 4,
  orphaned: 0,
  add: ["203.0.113.16/32"],
  remove: ["203.0.113.17/32"],
  leaving: [
    { cidr: "203.0.113.18/32", since: "2026-11-20T21:00:05Z", until: "2026-11-20T21:05:05Z" },
  ],
  refused: [{ address: "1.1.1.1/32", cluster: "prod-eu", node: "a", reason: "out-of-bounds" }],
  capacity: { used: 7, limit: 60 },
  checkedAt: "2026-11-20T21:00:06Z",
};

const ANSWER: Answer = {
  generation: { epoch: 7, sequence: 1042 },
  readyNodes: ["u-a"],
  unlisted: ["u-b"],
  again: 5,
  lists: [REPORT],
};

test("parseAnswer() reads an answer as it was written", () => {
  assert.deepEqual(parseAnswer(JSON.parse(JSON.stringify(ANSWER))), ANSWER);
  const empty = { ...ANSWER, readyNodes: [], unlisted: [], again: null, lists: [] };
  assert.deepEqual(parseAnswer(JSON.parse(JSON.stringify(empty))), empty);
  const converged = { ...ANSWER, lists: [{ ...REPORT, reason: null, capacity: null }] };
  assert.deepEqual(parseAnswer(converged), converged);
});

test("parseAnswer() ignores what a newer receiver adds", () => {
  const newer = {
    ...ANSWER,
    hint: "x",
    lists: [{ ...REPORT, more: 1 }, { ...REPORT, reason: "newly-invented" }, "what?"],
  };
  assert.deepEqual(parseAnswer(newer), ANSWER);
});

test("parseAnswer() keeps again between 1 and 300 seconds", () => {
  const agains: readonly (readonly [unknown, number | null])[] = [
    [null, null],
    [1, 1],
    [300, 300],
    [0, 1],
    [-5, 1],
    [1.2, 2],
    [86_400, 300],
  ];
  for (const [given, expected] of agains) {
    assert.equal(parseAnswer({ ...ANSWER, again: given })?.again, expected, String(given));
  }
});

test("parseAnswer() gives null for what is no answer", () => {
  const broken = [
    null,
    undefined,
    "ok",
    [],
    {},
    { ...ANSWER, generation: null },
    { ...ANSWER, generation: { epoch: 7 } },
    { ...ANSWER, readyNodes: null },
    { ...ANSWER, readyNodes: [1] },
    { ...ANSWER, unlisted: "u-b" },
    { ...ANSWER, again: "5" },
    { ...ANSWER, again: Number.NaN },
    { ...ANSWER, lists: {} },
  ];
  for (const value of broken) assert.equal(parseAnswer(value), null, JSON.stringify(value));
});

// Problem documents.

const KINDS: Readonly<Record<ProblemKind, true>> = {
  stale: true,
  "other-cluster": true,
  invalid: true,
  unauthenticated: true,
  forbidden: true,
  "too-large": true,
  unavailable: true,
  unsupported: true,
};

for (const kind of Object.keys(KINDS) as ProblemKind[]) {
  test(`problemDocument() of ${kind} names its type and is read back`, () => {
    const document = problemDocument(kind, 400, { detail: "Cannot do it" });
    assert.equal(document.type, `https://kube-allowlist.dev/problems/${kind}`);
    assert.notEqual(document.title, "");
    assert.deepEqual(Object.keys(document), ["type", "title", "status", "detail"]);
    assert.deepEqual(parseProblemDocument(JSON.parse(JSON.stringify(document))), document);
    assert.equal(problemKindOf(document), kind);
  });
}

test("problemDocument() carries problems, the held generation and the time where they are given", () => {
  const held = { epoch: 7, sequence: 1042 };
  const problem = { path: "nodes[0].uid", message: "Cannot" };
  const options = { detail: "d", problems: [problem], held, time: "2026-11-20T21:00:05Z" };
  const document = problemDocument("stale", 409, options);
  assert.deepEqual(document, { ...document, ...options, status: 409 });
  assert.deepEqual(parseProblemDocument(JSON.parse(JSON.stringify(document))), document);
  assert.equal(problemDocument("other-cluster", 409, { detail: "d", held: null }).held, null);
});

test("parseProblemDocument() gives null for other people's pages", () => {
  for (const value of [null, "<html>", {}, { type: "about:blank" }, { message: "Forbidden" }]) {
    assert.equal(parseProblemDocument(value), null);
  }
});

test("problemKindOf() knows no kind but its own", () => {
  for (const type of [
    "about:blank",
    "https://kube-allowlist.dev/problems/",
    "https://kube-allowlist.dev/problems/constructor",
    "https://kube-allowlist.dev/problems/stale/more",
    "https://example.com/problems/stale",
    "stale",
  ]) {
    assert.equal(problemKindOf({ type }), null, type);
  }
});
