import assert from "node:assert/strict";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { gzipSync } from "node:zlib";
import { stringify } from "yaml";
import { DELIVERY_BYTES_MAX, MEDIA_TYPE } from "../../lib/wire/protocol.ts";
import { parseSigningKey } from "../../lib/wire/signature.ts";
import { node } from "../core/cases.ts";
import { temporaryFolder } from "../e2e/child.ts";
import { type Program, startProgram } from "../e2e/program.ts";
import { deliveryOf, signedBody } from "./delivery.ts";

/*
 * One real process, spoken to over HTTP by hand: the last test ends it.
 */

const CANARIES = {
  EU_KEY: `whsec_${Buffer.from("canary-eu-0123456789-0123456789").toString("base64")}`,
  US_KEY: `whsec_${Buffer.from("canary-us-0123456789-0123456789").toString("base64")}`,
  STATUS_TOKEN: "canary-status-token",
  AWS_ACCESS_KEY_ID: "CANARYACCESSKEYID000",
  AWS_SECRET_ACCESS_KEY: "canary-secret-access-key",
};
const EU = parseSigningKey(CANARIES.EU_KEY);
const STRANGER = parseSigningKey(`whsec_${Buffer.alloc(32, 7).toString("base64")}`);
const READY_WITHIN_MS = 30_000;
const bodies: string[] = [];
let program: Program;
let url: string;
let folder: string;

before(async () => {
  folder = temporaryFolder("serve");
  mkdirSync(join(folder, "conf"));
  const cluster = (name: string) => ({
    auth: { signature: { keys: [`env:${name}_KEY`] } },
    bounds: ["203.0.113.0/24"],
  });
  const file = {
    version: 1,
    installation: "acme",
    store: { kind: "file", path: "../store" },
    status: { tokens: ["env:STATUS_TOKEN"] },
    clusters: { eu: cluster("EU"), us: cluster("US") },
    lists: {
      db: {
        from: [{ cluster: "eu", nodes: {}, addresses: ["ExternalIP"] }],
        removal: { policy: "sync" },
        targets: [{ kind: "memory", id: "one" }],
      },
    },
  };
  writeFileSync(join(folder, "conf", "allowlist.yaml"), stringify(file));
  const args = ["serve", "--config", "conf/allowlist.yaml", "--port", "0"];
  program = await startProgram(args, { env: CANARIES, folder });
  await program.waitFor(/"url":"http:/, READY_WITHIN_MS);
  url = /"url":"(http:[^"]+)"/.exec(program.stderr())?.[1] ?? "";
});
after(() => program?.stop());

interface Answer {
  readonly status: number;
  readonly type: string | null;
  readonly body: {
    readonly type: string;
    readonly detail: string;
    readonly [member: string]: unknown;
  };
}

async function send(
  delivery: { readonly body: Buffer<ArrayBuffer>; readonly headers: Record<string, string> },
  headers: Readonly<Record<string, string>> = {},
): Promise<Answer> {
  const response = await fetch(`${url}/v1/snapshots`, {
    method: "POST",
    body: delivery.body,
    headers: { ...delivery.headers, ...headers },
  });
  const text = await response.text();
  bodies.push(text);
  const type = response.headers.get("content-type");
  return { status: response.status, type, body: JSON.parse(text) };
}

const nodes = [node("a", ["203.0.113.1"]), node("b", ["203.0.113.2"])];
const generation = { epoch: 1, sequence: 5 };

test("serve admits a signed delivery and answers what was read back", async () => {
  const answer = await send(deliveryOf({ nodes, generation }, EU));
  assert.equal(answer.status, 200);
  assert.deepEqual(answer.body.generation, generation);
  assert.deepEqual(answer.body.readyNodes, ["a", "b"]);
  const again = await send(deliveryOf({ nodes, generation }, EU));
  assert.equal(again.status, 200, "a repeat does no harm");
});

test("serve keeps its store where the configuration says, relative to the file", () => {
  assert(existsSync(join(folder, "store", "v1", "clusters", "eu")));
});

test("serve refuses what it must, each with its problem document, and stores nothing of it", async () => {
  const newer = { nodes: [], generation: { epoch: 1, sequence: 6 } };
  const good = deliveryOf(newer, EU);
  const bomb = gzipSync(Buffer.alloc(DELIVERY_BYTES_MAX + 1, 32));
  const zipped = { "content-encoding": "gzip" };
  const broken = [node("a", ["203.0.113.1"]), node("a", ["203.0.113.2"])];
  const cases: readonly (readonly [string, Answer, number, string])[] = [
    ["no known key", await send(deliveryOf(newer, STRANGER)), 401, "unauthenticated"],
    [
      "another body under the signature",
      await send({ ...good, body: Buffer.from(good.body.toString().replace("eu", "us")) }),
      401,
      "unauthenticated",
    ],
    [
      "an old signature",
      await send(good, { "webhook-timestamp": String(Math.floor(Date.now() / 1_000) - 600) }),
      401,
      "unauthenticated",
    ],
    ["another cluster", await send(deliveryOf({ ...newer, cluster: "us" }, EU)), 403, "forbidden"],
    [
      "an older generation",
      await send(deliveryOf({ nodes: [], generation: { epoch: 1, sequence: 4 } }, EU)),
      409,
      "stale",
    ],
    [
      "another cluster under the name",
      await send(deliveryOf({ ...newer, clusterUid: "somebody-else" }, EU)),
      409,
      "other-cluster",
    ],
    ["a gzip bomb", await send(signedBody(bomb, EU), zipped), 413, "too-large"],
    [
      "a body that is too long",
      await send(signedBody(Buffer.alloc(DELIVERY_BYTES_MAX + 1, 32), EU)),
      413,
      "too-large",
    ],
    ["JSON", await send(good, { "content-type": "application/json" }), 415, "unsupported"],
    [
      "half a gzip",
      await send(signedBody(gzipSync("{}").subarray(0, 9), EU), zipped),
      422,
      "invalid",
    ],
    ["no JSON", await send(signedBody(Buffer.from("{nodes"), EU)), 422, "invalid"],
    ["one uid twice", await send(deliveryOf({ ...newer, nodes: broken }, EU)), 422, "invalid"],
  ];
  for (const [what, answer, status, kind] of cases) {
    assert.equal(answer.status, status, what);
    assert.equal(answer.type, "application/problem+json", what);
    assert.equal(answer.body.type, `https://kube-allowlist.dev/problems/${kind}`, what);
    assert.equal(answer.body.status, status, what);
  }
  const [, , , , stale] = cases;
  assert.deepEqual(stale?.[1].body.held, generation);
  const twice = cases.at(-1)?.[1].body.problems as { readonly path: string }[] | undefined;
  assert.equal(twice?.[0]?.path, "nodes[1].uid");
  assert.match(String(cases[0]?.[1].body.time), /^20\d\d-/);
});

test("serve still holds what it admitted, and shows it to a bearer of its token, on loopback too", async () => {
  // A proxy on this machine speaks from loopback for everybody.
  const anybody = await fetch(`${url}/v1/status`);
  assert.equal(anybody.status, 401);
  bodies.push(await anybody.text());
  const headers = { authorization: `Bearer ${CANARIES.STATUS_TOKEN}` };
  const response = await fetch(`${url}/v1/status`, { headers });
  assert.equal(response.status, 200);
  const text = await response.text();
  bodies.push(text);
  const { clusters, lists } = JSON.parse(text);
  assert.deepEqual(clusters[0].generation, generation);
  assert.deepEqual([lists[0].state, lists[0].owned], ["converged", 2]);
});

test("serve takes a gzipped delivery and a charset", async () => {
  const { body } = deliveryOf({ nodes, generation: { epoch: 1, sequence: 7 } }, EU);
  const headers = { "content-encoding": "gzip", "content-type": `${MEDIA_TYPE}; charset=utf-8` };
  const answer = await send(signedBody(gzipSync(body), EU), headers);
  assert.equal(answer.status, 200, JSON.stringify(answer.body));
});

test("serve says GET /healthz that it takes deliveries", async () => {
  const response = await fetch(`${url}/healthz`);
  assert.deepEqual([response.status, await response.text()], [200, "ok\n"]);
});

test("serve ends cleanly on SIGTERM and has printed no secret", async () => {
  const startedAt = Date.now();
  program.kill("SIGTERM");
  assert.deepEqual(await program.exited, { code: 0, signal: null });
  assert(Date.now() - startedAt < 5_000, "it had nothing left to do");
  await assert.rejects(fetch(`${url}/healthz`));
  const printed = [program.output(), ...bodies].join("\n");
  assert.match(program.stdout(), /"audit":true/);
  for (const [name, value] of Object.entries(CANARIES)) {
    assert(!printed.includes(value), `${name} was printed`);
    assert(!printed.includes(value.replace("whsec_", "")), `${name} was printed`);
  }
  assert(!/canary/i.test(printed));
  assert(!/\\n\s+at |\n\s+at .*\.ts/.test(printed), "no stack");
});
