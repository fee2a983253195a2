import { performance } from "node:perf_hooks";
import { gzipSync } from "node:zlib";
import { makeWebhook } from "../../functions/webhook.ts";
import { makeWiring } from "../../functions/wiring.ts";
import { parseConfig } from "../../lib/config.ts";
import { memoryStore } from "../../lib/stores/memory.ts";
import { deliveryId, renderDelivery } from "../../lib/wire/protocol.ts";
import { parseSigningKey } from "../../lib/wire/signature.ts";
import { cidr, node, snapshot } from "../core/cases.ts";
import { signed } from "../functions/receiver.ts";
import { virtualWorld } from "../virtual-world.ts";
import { printTable, quantile } from "./table.ts";

/*
 * CPU time of the webhook's handler, from the platform's event to the answer, over a memory store
 * and a memory target: what a function is billed for besides waiting. A first delivery writes, a
 * heartbeat repeats the truth under the next sequence.
 */

const RUNS = 15;
const KEY = `whsec_${Buffer.from("a key that only this benchmark has").toString("base64")}`;

interface Cost {
  readonly parse: number;
  readonly first: number;
  readonly heartbeat: number;
}

async function costOf(count: number): Promise<Cost> {
  const reading = parseConfig({
    version: 1,
    installation: "bench",
    store: { kind: "memory" },
    clusters: {
      eu: {
        auth: { signature: { keys: ["env:KEY"] } },
        bounds: ["10.0.0.0/8"],
        maxEntries: 20_000,
      },
    },
    lists: {
      db: {
        from: [{ cluster: "eu", nodes: {}, addresses: ["InternalIP"] }],
        removal: { policy: "sync" },
        targets: [{ kind: "memory", id: "one" }],
      },
    },
  });
  if (reading.kind === "invalid") throw new Error(JSON.stringify(reading.problems));
  const world = virtualWorld();
  const store = memoryStore(world);
  const { config } = reading;
  const wiring = makeWiring({ config, world, env: { KEY }, folder: ".", store });
  const webhook = makeWebhook(wiring);
  const key = parseSigningKey(KEY);
  const nodes = Array.from({ length: count }, (_, index) =>
    node(`6f0c1d2e-${index.toString(16).padStart(8, "0")}`, [], {
      name: `ip-10-0-${index >> 8}-${index & 255}`,
      addresses: [
        { type: "InternalIP", address: cidr(`10.0.${index >> 8}.${index & 255}`) },
        { type: "ExternalIP", address: cidr(`203.0.113.${index & 255}`) },
      ],
    }),
  );
  const deliver = async (sequence: number) => {
    const sent = snapshot(nodes, { receivedAt: world.now(), generation: { epoch: 1, sequence } });
    const body = gzipSync(renderDelivery(sent));
    const headers = {
      ...signed(body, key, world.now(), deliveryId(sent)),
      "content-encoding": "gzip",
    };
    const event = {
      rawPath: "/v1/snapshots",
      headers,
      body: body.toString("base64"),
      isBase64Encoded: true,
      requestContext: { http: { method: "POST" } },
    };
    const before = process.cpuUsage();
    const answer = (await webhook(event as never, {} as never)) as { statusCode: number };
    const { user, system } = process.cpuUsage(before);
    if (answer.statusCode !== 200) throw new Error(`status ${answer.statusCode}`);
    return (user + system) / 1_000;
  };
  const first = await deliver(1);
  const heartbeats: number[] = [];
  for (let run = 0; run < RUNS; run += 1) heartbeats.push(await deliver(run + 2));
  const text = renderDelivery(snapshot(nodes));
  const parses = Array.from({ length: RUNS }, () => {
    const before = performance.now();
    JSON.parse(text);
    return performance.now() - before;
  });
  return { first, heartbeat: quantile(heartbeats, 0.5), parse: quantile(parses, 0.5) };
}

await costOf(100);
const rows = [];
for (const count of [100, 1_000, 10_000]) {
  const { first, heartbeat, parse } = await costOf(count);
  rows.push([
    String(count),
    first.toFixed(1),
    heartbeat.toFixed(1),
    parse.toFixed(2),
    `${(heartbeat / parse).toFixed(1)} x`,
  ]);
}
printTable("Webhook handler, CPU ms per delivery", [
  ["nodes", "first", "heartbeat", "JSON.parse alone", "heartbeat / JSON.parse"],
  ...rows,
]);
