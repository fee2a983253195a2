import assert from "node:assert/strict";
import { judgeOutcome, PACE, readReply } from "../../forwarder/outcome.ts";
import type { HttpResponse } from "../../functions/http.ts";
import { makeResync, type ResyncResult } from "../../functions/resync.ts";
import { makeWebhook } from "../../functions/webhook.ts";
import { makeWiring } from "../../functions/wiring.ts";
import { parseConfig } from "../../lib/config.ts";
import { memoryStore } from "../../lib/stores/memory.ts";
import type { Store } from "../../lib/stores/store.ts";
import { deliveryId, renderDelivery } from "../../lib/wire/protocol.ts";
import { parseSigningKey } from "../../lib/wire/signature.ts";
import type { World } from "../../lib/world.ts";
import { STAGES } from "../conformance/stages.ts";
import type { Stage } from "../conformance/target.ts";
import { scattered } from "../conformance/vendor-corridor.ts";
import { snapshot } from "../core/cases.ts";
import { gatewayEvent, signed } from "../functions/receiver.ts";
import { virtualWorld } from "../virtual-world.ts";

/*
 * One installation on a clock of its own: the functions as they are deployed, called as the
 * platform's schedule and a forwarder call them. What it asks of its store and of the vendors is
 * counted.
 */

const MINUTE_MS = 60_000;
const DAY_MS = 1_440 * MINUTE_MS;
/** First deliveries, first looks, and what settles. */
const BEGINNING_MS = 60 * MINUTE_MS;
const HEARTBEAT_MS = 300_000;
/** Of one answer of S3 and OSS. */
const PAGE_KEYS_MAX = 1_000;
const KEY = `whsec_${Buffer.alloc(32, 7).toString("base64")}`;

/** The kinds of targets, in the order of the configuration. */
export const KINDS = [
  "alibaba/rds",
  "aws/prefix-list",
  "aws/security-group",
  "digitalocean/database",
  "linode/firewall",
] as const;

/** Nothing is deleted within a day: what is written now is, once, a day later. */
export interface StoreRequests {
  readonly put: number;
  readonly list: number;
  readonly get: number;
}

export interface Counts {
  readonly webhook: number;
  readonly resync: number;
  readonly store: StoreRequests;
  /** By kind of target. */
  readonly reads: Readonly<Record<string, number>>;
  readonly writes: Readonly<Record<string, number>>;
}

/** A store that counts the requests that a bucket would get for it. */
export function countedStore(store: Store): { readonly store: Store; counts(): StoreRequests } {
  const counted = { put: 0, list: 0, get: 0 };
  return {
    counts: () => ({ ...counted }),
    store: {
      async put(key, body) {
        counted.put += 1;
        const answer = await store.put(key, body);
        assert.equal(answer, "created", "nobody else writes");
        return answer;
      },
      get(key) {
        counted.get += 1;
        return store.get(key);
      },
      async list(prefix, limit) {
        const found = await store.list(prefix, limit);
        counted.list += Math.max(1, Math.ceil(found.length / PAGE_KEYS_MAX));
        return found;
      },
      delete: (key) => store.delete(key),
    },
  };
}

export interface Installation {
  /**
   * Goes on for so long, with so many nodes that join or leave, spread evenly over it; in the end
   * every list is as it should be.
   */
  live(ms: number, changes: number): Promise<void>;
  counts(): Counts;
  close(): Promise<void>;
}

/** Twenty nodes, one list, one target of each of {@link KINDS}; nothing has happened yet. */
export async function openInstallation(
  openStore: (world: World) => ReturnType<typeof countedStore> = (world) =>
    countedStore(memoryStore(world)),
): Promise<Installation> {
  const world = virtualWorld();
  const stages = await openStages();
  const counted = openStore(world);
  const { webhook, resync } = functionsOver(counted.store, { world, stages });
  const calls = { webhook: 0, resync: 0 };
  const cluster = { first: 0, count: 20, sequence: 0, pace: PACE };

  async function deliver(): Promise<void> {
    calls.webhook += 1;
    cluster.sequence += 1;
    const generation = { epoch: 1, sequence: cluster.sequence };
    const nodes = scattered(cluster.count, cluster.first);
    const sent = snapshot(nodes, { receivedAt: world.now(), generation });
    const body = Buffer.from(renderDelivery(sent));
    const headers = signed(body, parseSigningKey(KEY), world.now(), deliveryId(sent));
    const response = await webhook(gatewayEvent("POST", "/v1/snapshots", { body, headers }));
    const reply = { status: response.statusCode, retryAfter: undefined, body: response.body };
    assert.equal(reply.status, 200, reply.body);
    const outcome = readReply(reply, world.now());
    const context = { now: world.now(), world, heartbeatMs: HEARTBEAT_MS };
    cluster.pace = judgeOutcome(cluster.pace, outcome, context).pace;
  }

  return {
    async live(ms, changes) {
      const begunAt = world.now();
      const until = begunAt + ms;
      let done = 0;
      let nextResyncAt = begunAt;
      let last: ResyncResult = { lists: [] };
      const nextChangeAt = () =>
        done < changes ? begunAt + ((done + 0.5) * ms) / changes : Number.POSITIVE_INFINITY;
      for (;;) {
        const at = Math.min(nextResyncAt, cluster.pace.repeatAt, nextChangeAt());
        if (at >= until) break;
        await world.advance(Math.max(0, at - world.now()));
        if (at === nextChangeAt()) {
          // One joins, then the oldest leaves, and so on.
          if (done % 2 === 0) cluster.count += 1;
          else Object.assign(cluster, { first: cluster.first + 1, count: cluster.count - 1 });
          done += 1;
          await deliver();
        } else if (at === nextResyncAt) {
          calls.resync += 1;
          last = await resync();
          nextResyncAt += MINUTE_MS;
        } else {
          await deliver();
        }
      }
      await world.advance(until - world.now());
      for (const { target, state, reason, message } of last.lists) {
        assert(state === "converged" || reason === "grace", `${target} ${state}: ${message}`);
      }
    },
    counts: () => ({
      ...calls,
      store: counted.counts(),
      reads: byKind(stages, (stage) => stage.calls("read")),
      writes: byKind(stages, (stage) => stage.calls("add") + stage.calls("remove")),
    }),
    close: async () => {
      await Promise.all([...stages.values()].map((stage) => stage.close()));
    },
  };
}

/** What a day asks for, once everything has settled. */
export async function countDay(changes: number): Promise<Counts> {
  const installation = await openInstallation();
  try {
    await installation.live(BEGINNING_MS, 0);
    const before = installation.counts();
    await installation.live(DAY_MS, changes);
    return difference(installation.counts(), before);
  } finally {
    await installation.close();
  }
}

/** What came between two counts. */
export function difference(after: Counts, before: Counts): Counts {
  const less = <T extends Readonly<Record<string, number>>>(a: T, b: T): T =>
    Object.fromEntries(Object.entries(a).map(([key, n]) => [key, n - (b[key] ?? 0)])) as T;
  return {
    webhook: after.webhook - before.webhook,
    resync: after.resync - before.resync,
    store: less({ ...after.store }, { ...before.store }),
    reads: less(after.reads, before.reads),
    writes: less(after.writes, before.writes),
  };
}

async function openStages(): Promise<ReadonlyMap<string, Stage>> {
  const opened = KINDS.map(async (kind) => {
    const open = STAGES[kind];
    assert(open !== undefined);
    return [kind, await open({})] as const;
  });
  return new Map(await Promise.all(opened));
}

function byKind(
  stages: ReadonlyMap<string, Stage>,
  count: (stage: Stage) => number,
): Readonly<Record<string, number>> {
  return Object.fromEntries([...stages].map(([kind, stage]) => [kind, count(stage)]));
}

function functionsOver(
  store: Store,
  options: { readonly world: World; readonly stages: ReadonlyMap<string, Stage> },
) {
  const { world, stages } = options;
  const reading = parseConfig({
    version: 1,
    installation: "acme",
    store: { kind: "memory" },
    clusters: { eu: { auth: { signature: { keys: ["env:KEY"] } }, bounds: ["10.0.0.0/8"] } },
    lists: {
      "payments-db": {
        from: [{ cluster: "eu", nodes: {}, addresses: ["ExternalIP"] }],
        removal: { policy: "sync" },
        targets: KINDS.map((kind) => ({ kind: "memory", id: kind.replace("/", "-") })),
      },
    },
  });
  assert(reading.kind === "parsed", JSON.stringify(reading));
  const env = { KEY };
  const made = makeWiring({ config: reading.config, world, env, folder: "/nonexistent", store });
  const targetOf = (name: string) => {
    const kind = KINDS.find((one) => `memory/${one.replace("/", "-")}` === name);
    const target = kind === undefined ? undefined : stages.get(kind)?.target;
    assert(target !== undefined, name);
    return target;
  };
  const wiring = {
    ...made,
    targetOf: async ({ name }: { readonly name: string }) => targetOf(name),
    traitsOf: ({ name }: { readonly name: string }) => targetOf(name).traits,
  };
  const webhook = makeWebhook(wiring);
  const resync = makeResync(wiring);
  return {
    webhook: async (event: object) =>
      (await webhook(
        event as never,
        { getRemainingTimeInMillis: () => 29_000 } as never,
      )) as HttpResponse,
    resync: () => resync({} as never, { getRemainingTimeInMillis: () => 60_000 } as never),
  };
}
