import assert from "node:assert/strict";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import { parseFeed } from "../lib/core/feed.ts";
import { parseStoredSnapshot } from "../lib/core/snapshot.ts";
import { parseTargetObject } from "../lib/stores/lease.ts";
import { openLog } from "../lib/stores/log.ts";
import { memoryStore } from "../lib/stores/memory.ts";
import { parseSourceReading } from "../lib/stores/readings.ts";
import { StoreError } from "../lib/stores/store.ts";
import { parseDelivery, renderDelivery } from "../lib/wire/protocol.ts";
import { parseAnswer, parseProblemDocument } from "../lib/wire/reply.ts";
import { node, pod, snapshot } from "./core/cases.ts";
import { CANARIES, receiver } from "./functions/receiver.ts";
import { virtualWorld } from "./virtual-world.ts";

/*
 * What version 1 has stored and sent, as it was made by a real run. These files never change: what
 * comes later must read them, next to receivers and stores of today. Whoever adds a member to what
 * is stored or sent adds a file with it; KUBE_ALLOWLIST_WRITE_FIXTURES=1 writes those that are
 * missing.
 */

const FOLDER = new URL("fixtures/v1/", import.meta.url);

type Kind = "clusters" | "targets" | "feeds" | "sources";

/** By file, without its ending: the log that an object lay in. */
const STORED = {
  cluster: ["clusters", "eu"],
  "target-held": ["targets", "memory.one"],
  "target-done": ["targets", "memory.one"],
  feed: ["feeds", "db"],
  source: ["sources", "name"],
  // Since objects say whose they are.
  "cluster-named": ["clusters", "eu"],
  "target-held-named": ["targets", "memory.one"],
  "target-done-named": ["targets", "memory.one"],
  "feed-named": ["feeds", "db"],
  "source-named": ["sources", "name"],
} as const satisfies Readonly<Record<string, readonly [Kind, string]>>;

const STORED_NOW = Object.keys(STORED).filter((name) => name.endsWith("-named"));
const SENT = ["delivery", "answer", "problem", "status"] as const;

const parsers: Readonly<Record<Kind, (stored: unknown) => object>> = {
  clusters: parseStoredSnapshot,
  targets: parseTargetObject,
  feeds: parseFeed,
  sources: parseSourceReading,
};

const LIST = {
  from: [
    { cluster: "eu", nodes: {}, addresses: ["ExternalIP"] },
    { dns: [{ name: "nat.example.com" }], bounds: ["198.51.100.0/24"] },
  ],
  removal: { policy: "sync" },
  targets: [
    { kind: "memory", id: "one" },
    { kind: "feed", tokens: ["env:FEED_TOKEN"] },
  ],
};

/** The same every time: every object and message of a few deliveries and resyncs. */
async function run(): Promise<Readonly<Record<string, string>>> {
  const names = {
    resolve: async (_: string, family: string) => (family === "ipv4" ? ["198.51.100.7"] : []),
  };
  const room = receiver({ file: { lists: { db: LIST } }, names });
  const labels = { pool: "payments" };
  const nodes = [
    node("a", ["203.0.113.1"], { labels }),
    node("b", ["203.0.113.2", "192.0.2.1"], { labels }),
  ];
  const changes = [{ kind: "node.added", name: "node-a", uid: "a" }] as const;
  const sent = { nodes, changes, pods: [pod("p", ["203.0.113.9"])] };
  await room.deliver(sent);
  await room.resync();
  await room.world.advance(60_000);
  const answer = await room.deliver({ ...sent, nodes: nodes.slice(1) });
  await room.resync();
  const scope = { labels: ["pool"], pods: [] };
  const stale = await room.deliver({ nodes, generation: { epoch: 1, sequence: 1 }, scope });
  const bearer = { authorization: `Bearer ${CANARIES.STATUS_TOKEN}` };
  const made: Record<string, string> = {
    delivery: renderDelivery(snapshot(nodes, { receivedAt: room.world.now(), ...sent })),
    answer: answer.body,
    problem: stale.body,
    status: (await room.status(bearer)).body,
  };
  for (const { key } of await room.store.list("v1/", 1_000)) {
    const text = (await room.store.get(key)) ?? "";
    const [, kind = "", name] = key.split("/");
    if (kind === "targets" && name !== STORED["target-done"][1]) continue;
    const { state } = JSON.parse(text);
    // Newest first, of which the second delivery has left something to say.
    made[kind === "targets" ? `target-${state}-named` : kind.replace(/s$/, "-named")] ??= text;
  }
  return made;
}

function fixture(name: string): string {
  return readFileSync(new URL(`${name}.json`, FOLDER), "utf8");
}

async function log(name: keyof typeof STORED, text: string) {
  const [kind, log] = STORED[name];
  const world = virtualWorld();
  const store = memoryStore(world);
  const number = String(999_999_999_999 - JSON.parse(text).revision).padStart(12, "0");
  await store.put(`v1/${kind}/${log}/${number}.json`, text);
  return openLog<object>({
    store,
    prefix: "",
    installation: "acme",
    kind,
    name: log,
    parse: parsers[kind],
    world,
  });
}

/** `a.b[].c` for every member there is; names that people or addresses give stand as `*`. */
function membersOf(value: unknown, path = ""): readonly string[] {
  if (Array.isArray(value)) return value.flatMap((item) => membersOf(item, `${path}[]`));
  if (typeof value !== "object" || value === null) return [path];
  return Object.entries(value).flatMap(([name, inner]) =>
    membersOf(inner, `${path}.${/[./:]/.test(name) ? "*" : name}`),
  );
}

const made = await run();
if (process.env.KUBE_ALLOWLIST_WRITE_FIXTURES === "1") {
  for (const [name, text] of Object.entries(made)) {
    const file = new URL(`${name}.json`, FOLDER);
    if (!existsSync(file)) writeFileSync(file, text);
  }
}

for (const name of Object.keys(STORED) as readonly (keyof typeof STORED)[]) {
  test(`newest() reads ${name} as version 1 stored it, and passes over members that came later`, async () => {
    const text = fixture(name);
    const found = await (await log(name, text)).newest();
    const { version, writer, revision } = JSON.parse(text);
    assert.equal(version, 1);
    assert.deepEqual([found?.revision, found?.writer], [revision, writer]);
    const more = JSON.stringify({ ...JSON.parse(text), later: { any: ["thing"] } });
    assert.deepEqual((await (await log(name, more)).newest())?.body, found?.body);
  });

  test(`newest() refuses ${name} of a version that is newer than this program`, async () => {
    const text = JSON.stringify({ ...JSON.parse(fixture(name)), version: 2 });
    await assert.rejects((await log(name, text)).newest(), (error) => {
      assert.ok(error instanceof StoreError);
      assert.match(error.message, /version 2 of an entry, while this program knows 1; update/);
      return true;
    });
  });
}

for (const name of STORED_NOW as readonly (keyof typeof STORED)[]) {
  test(`newest() refuses ${name} of another installation, and takes what names none`, async () => {
    const text = fixture(name);
    assert.equal(JSON.parse(text).installation, "acme");
    const { installation: _, ...unnamed } = JSON.parse(text);
    assert.notEqual(await (await log(name, JSON.stringify(unnamed))).newest(), null);
    const theirs = JSON.stringify({ ...unnamed, installation: "beta" });
    await assert.rejects((await log(name, theirs)).newest(), /is of installation "beta"/);
  });
}

test("parseStoredSnapshot() and parseTargetObject() give what version 1 meant", () => {
  const bodyOf = (name: string): unknown => {
    const { version: _, writer: __, revision: ___, ...body } = JSON.parse(fixture(name));
    return body;
  };
  const { generation, pods } = parseStoredSnapshot(bodyOf("cluster"));
  assert.deepEqual(generation, { epoch: 1, sequence: 2 });
  assert.equal(pods.length, 1);
  assert.equal(parseTargetObject(bodyOf("target-held")).state, "held");
  const { slots } = parseTargetObject(bodyOf("target-done"));
  assert.deepEqual(Object.keys(slots["memory/one"]?.unwanted ?? {}), ["203.0.113.1/32"]);
});

test("parseDelivery() and parseAnswer() read messages of version 1, with members that came later", () => {
  const delivery = JSON.parse(fixture("delivery"));
  const more = { ...delivery, later: 1, data: { ...delivery.data, later: { any: [] } } };
  const [plain, extended] = [delivery, more].map((each) => parseDelivery(JSON.stringify(each)));
  assert.equal(plain?.kind, "parsed");
  assert.deepEqual(extended, plain);
  const answer = JSON.parse(fixture("answer"));
  const read = parseAnswer(answer);
  assert.deepEqual(read?.generation, { epoch: 1, sequence: 2 });
  assert.deepEqual(parseAnswer({ ...answer, later: 1 }), read);
  const problem = JSON.parse(fixture("problem"));
  assert.equal(parseProblemDocument(problem)?.status, 409);
  assert.equal(parseProblemDocument({ ...problem, later: 1 })?.status, 409);
  assert.equal(JSON.parse(fixture("status")).version, 1);
});

test("parseDelivery() refuses a type that it does not know", () => {
  const type = "dev.kube-allowlist.snapshot.v2";
  const reading = parseDelivery(JSON.stringify({ ...JSON.parse(fixture("delivery")), type }));
  assert.equal(reading.kind, "invalid");
});

test("what is stored and sent today has no member that no fixture shows", () => {
  assert.deepEqual(Object.keys(made).toSorted(), [...STORED_NOW, ...SENT].toSorted());
  for (const [name, text] of Object.entries(made)) {
    const known = new Set(membersOf(JSON.parse(fixture(name))));
    const strange = membersOf(JSON.parse(text)).filter((path) => !known.has(path));
    assert.deepEqual(strange, [], `${name}: add a file that shows them, and keep the old one`);
  }
});

test("what the fixtures are made by gives the same bytes twice", async () => {
  assert.deepEqual(await run(), made);
});
