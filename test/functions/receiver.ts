import assert from "node:assert/strict";
import type { HttpResponse } from "../../functions/http.ts";
import { makeRead } from "../../functions/read.ts";
import { makeResync } from "../../functions/resync.ts";
import { makeStatus } from "../../functions/status.ts";
import { makeWebhook } from "../../functions/webhook.ts";
import { makeWiring } from "../../functions/wiring.ts";
import { parseConfig } from "../../lib/config.ts";
import type { ListReport } from "../../lib/core/report.ts";
import type { Snapshot } from "../../lib/core/snapshot.ts";
import type { NameClient } from "../../lib/sources/names.ts";
import { memoryStore } from "../../lib/stores/memory.ts";
import type { Store } from "../../lib/stores/store.ts";
import { memoryTargets } from "../../lib/targets/memory.ts";
import { deliveryId, MEDIA_TYPE, renderDelivery } from "../../lib/wire/protocol.ts";
import { parseSigningKey, type SigningKey, signDelivery } from "../../lib/wire/signature.ts";
import type { LogFields } from "../../lib/world.ts";
import { snapshot } from "../core/cases.ts";
import { virtualWorld } from "../virtual-world.ts";

/** Made up for the tests; every one of them must stay out of every log and answer. */
export const CANARIES = {
  EU_KEY: `whsec_${Buffer.from("canary-eu-0123456789-0123456789").toString("base64")}`,
  US_KEY: `whsec_${Buffer.from("canary-us-0123456789-0123456789").toString("base64")}`,
  STATUS_TOKEN: "canary-status-token",
  FEED_TOKEN: "canary-feed-token-in-use",
  FEED_TOKEN_NEXT: "canary:feed:token:next",
  FEED_TOKEN_WEAK: "canary-short",
};

const FILE = {
  version: 1,
  installation: "acme",
  store: { kind: "memory" },
  status: { tokens: ["env:STATUS_TOKEN"] },
  clusters: {
    eu: { auth: { signature: { keys: ["env:EU_KEY"] } }, bounds: ["203.0.113.0/24"] },
    us: { auth: { signature: { keys: ["env:US_KEY"] } }, bounds: ["198.51.100.0/24"] },
  },
  lists: {
    db: {
      from: [{ cluster: "eu", nodes: {}, addresses: ["ExternalIP"] }],
      removal: { policy: "sync" },
      targets: [{ kind: "memory", id: "one" }],
    },
  },
};

interface ReceiverOptions {
  readonly store?: Store;
  readonly file?: object;
  readonly names?: NameClient;
  readonly fetch?: typeof globalThis.fetch;
  /** Beside the canaries. */
  readonly env?: Readonly<Record<string, string>>;
  readonly folder?: string;
}

/** The functions as they are deployed, over a memory store and a memory target. */
export function receiver(given: ReceiverOptions = {}) {
  const reading = parseConfig({ ...FILE, ...given.file });
  assert(reading.kind === "parsed", JSON.stringify(reading));
  const virtual = virtualWorld();
  const world = given.fetch === undefined ? virtual : { ...virtual, fetch: given.fetch };
  const memory = memoryTargets();
  const store = given.store ?? memoryStore(world);
  const measured: LogFields[] = [];
  const wiring = makeWiring({
    measure: (fields) => measured.push(fields),
    config: reading.config,
    world,
    env: { ...CANARIES, ...given.env },
    folder: given.folder ?? "/nonexistent",
    store,
    memory,
    ...(given.names === undefined ? {} : { names: given.names }),
  });
  const webhook = makeWebhook(wiring);
  const status = makeStatus(wiring);
  const read = makeRead(wiring);
  const reports: ListReport[][] = [];
  const resync = makeResync(wiring, (lists) => reports.push([...lists]));
  const context = { getRemainingTimeInMillis: () => 29_000 };
  let sequence = 0;

  const post = async (request: {
    readonly body: Uint8Array;
    readonly headers: Readonly<Record<string, string>>;
  }): Promise<HttpResponse> => {
    const event = gatewayEvent("POST", "/v1/snapshots", request);
    return webhook(event, context);
  };
  return {
    world,
    wiring,
    store,
    memory,
    post,
    /** The numbers of every run, in order. */
    measured,
    /** What every resync found, in order. */
    reports,
    read(path: string, headers: Readonly<Record<string, string>> = {}) {
      return read(gatewayEvent("GET", path, { headers }), context);
    },
    /** Signs and posts a snapshot of cluster eu; what is given replaces parts of it. */
    async deliver(
      given: Partial<Snapshot> = {},
      key: SigningKey = parseSigningKey(CANARIES.EU_KEY),
    ) {
      sequence += 1;
      const generation = { epoch: 1, sequence };
      const sent = snapshot([], { receivedAt: world.now(), generation, ...given });
      const body = Buffer.from(renderDelivery(sent));
      return post({ body, headers: signed(body, key, world.now(), deliveryId(sent)) });
    },
    async status(headers: Readonly<Record<string, string>> = {}, extra: object = {}) {
      const event = { ...gatewayEvent("GET", "/v1/status", { headers }), ...extra };
      return (await status(event as never, context as never)) as HttpResponse;
    },
    resync: () => resync({}, { getRemainingTimeInMillis: () => 60_000 }),
  };
}

export function signed(
  body: Uint8Array,
  key: SigningKey,
  now: number,
  id = "eu/1/1",
): Readonly<Record<string, string>> {
  const timestampS = Math.floor(now / 1_000);
  return {
    "Content-Type": MEDIA_TYPE,
    ...signDelivery([key], { id, timestampS, body }),
  };
}

/** Payload 2.0, as an HTTP API or a function URL hands it over. */
export function gatewayEvent(
  method: string,
  path: string,
  request: {
    readonly body?: Uint8Array;
    readonly headers: Readonly<Record<string, string>>;
  },
) {
  return {
    version: "2.0",
    rawPath: path,
    headers: request.headers,
    body: Buffer.from(request.body ?? "").toString("base64"),
    isBase64Encoded: true,
    requestContext: { http: { method, path, sourceIp: "192.0.2.7" } },
  };
}
