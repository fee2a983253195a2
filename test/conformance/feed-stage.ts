import { parseCidr } from "../../lib/core/cidr.ts";
import { FEED_ENTRIES_MAX, type FeedContent, nextFeed, parseFeed } from "../../lib/core/feed.ts";
import { containerOf } from "../../lib/core/marker.ts";
import { openLog } from "../../lib/stores/log.ts";
import { memoryStore } from "../../lib/stores/memory.ts";
import { type Store, StoreError } from "../../lib/stores/store.ts";
import { makeTarget, OWNER } from "../targets/making.ts";
import { type VirtualWorld, virtualWorld } from "../virtual-world.ts";
import { RACER } from "./play.ts";
import type { Fault, Stage, StageOptions, Verb } from "./target.ts";

const BASE = "v1/feeds/payments-db/";

/** A store that a test can ask to fail; every body it holds can be seen at once. */
function faultyStore(world: VirtualWorld) {
  const inner = memoryStore(world);
  const bodies = new Map<string, string>();
  const faults: Record<Verb, Fault> = { read: "none", add: "none", remove: "none" };
  const calls: Record<Verb, number> = { read: 0, add: 0, remove: 0 };
  const hands = { race: () => {} };
  let isDown = false;
  const take = (verb: Verb) => {
    const fault = faults[verb];
    faults[verb] = "none";
    return fault;
  };
  const down = () => Promise.reject(new StoreError("Cannot reach the store: no answer"));
  const hang = () => new Promise<never>(() => {});
  const put = (key: string, body: string) => {
    if (!bodies.has(key)) bodies.set(key, body);
    return inner.put(key, body);
  };
  const newestSize = () => {
    const newest = [...bodies.keys()].filter((key) => key.startsWith(BASE)).toSorted()[0];
    const body = JSON.parse(bodies.get(newest ?? "") ?? '{ "entries": [] }');
    return (body.entries as readonly string[]).length;
  };
  const store: Store = {
    async list(prefix, limit) {
      isDown = false;
      calls.read += 1;
      const fault = take("read");
      if (fault === "hang") return hang();
      if (fault === "stale") return (await inner.list(prefix, limit + 1)).slice(1);
      return fault === "none" ? inner.list(prefix, limit) : down();
    },
    get: (key) => (isDown ? down() : inner.get(key)),
    delete: (key) => inner.delete(key),
    async put(key, body) {
      const { entries } = JSON.parse(body) as { entries: readonly string[] };
      const verb = entries.length < newestSize() ? "remove" : "add";
      calls[verb] += 1;
      const fault = take(verb);
      switch (fault) {
        case "none":
          return put(key, body);
        case "raced":
          hands.race();
          return put(key, body);
        case "hang":
          return hang();
        case "hang-after":
          await put(key, body);
          return hang();
        case "lose-answer":
        case "fail-after":
          await put(key, body);
          isDown = true;
          return down();
        default:
          isDown = true;
          return down();
      }
    },
  };
  return { store, bodies, put, faults, calls, hands };
}

export async function feedStage(options: StageOptions, settings: object): Promise<Stage> {
  const world = virtualWorld();
  const { store, bodies, put, faults, calls, hands } = faultyStore(world);
  const feed = (name: string) =>
    openLog({
      store,
      prefix: "",
      installation: "acme",
      kind: "feeds",
      name,
      parse: parseFeed,
      world,
    });
  // Ten thousand stand for "enough"; a batch of a feed is larger.
  const limit = options.limit ?? (options.quota === 10_000 ? FEED_ENTRIES_MAX : options.quota);
  const target = await makeTarget(
    "feed",
    { ...settings },
    { env: {}, limit, context: { world, feed } },
  );
  const text = containerOf(OWNER);
  const newestKey = (base: string) =>
    [...bodies.keys()].filter((key) => key.startsWith(base)).toSorted()[0];
  const newest = (): { revision: number; content: FeedContent } | null => {
    const key = newestKey(BASE);
    if (key === undefined) return null;
    const stored = JSON.parse(bodies.get(key) ?? "");
    return { revision: stored.revision, content: parseFeed(stored) };
  };
  const write = (change: (entries: Set<string>) => void) => {
    const before = newest();
    const entries = new Set<string>(before?.content.entries);
    change(entries);
    const cidrs = [...entries].flatMap((one) => parseCidr(one) ?? []);
    const content = nextFeed(before?.content ?? null, cidrs, { now: world.now() });
    const revision = (before?.revision ?? 0) + 1;
    const key = `${BASE}${String(999_999_999_999 - revision).padStart(12, "0")}.json`;
    const header = { version: 1, writer: "somebody", revision };
    void put(key, JSON.stringify({ ...content, ...header }));
  };
  hands.race = () => write((entries) => entries.add(RACER));
  return {
    target,
    secrets: [],
    shown: () => text,
    lines: () =>
      [...new Set([...bodies.keys()].map((key) => key.slice(0, key.lastIndexOf("/") + 1)))].flatMap(
        (base) => {
          const { entries } = JSON.parse(bodies.get(newestKey(base) ?? "") ?? "");
          return (entries as string[]).map((one) => `${base} ${one}`);
        },
      ),
    put: (address) => write((entries) => entries.add(parseCidr(address) ?? address)),
    drop: (cidr) => write((entries) => entries.delete(cidr)),
    surround() {
      const content = nextFeed(null, [parseCidr("192.0.2.1") ?? fail()], { now: world.now() });
      const header = { version: 1, writer: "somebody", revision: 1 };
      void put("v1/feeds/other/999999999998.json", JSON.stringify({ ...content, ...header }));
    },
    inject(verb, fault) {
      faults[verb] = fault;
    },
    calls: (verb) => calls[verb],
    readsBefore: { add: 1, remove: 1 },
    close: () => Promise.resolve(),
  };
}

function fail(): never {
  throw new Error("unreachable");
}
