import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { TestContext } from "node:test";
import { gunzipSync } from "node:zlib";
import { admit } from "../../lib/core/admission.ts";
import type { AdmittedSnapshot, Snapshot } from "../../lib/core/snapshot.ts";
import {
  type Answer,
  type ProblemDocument,
  type ProblemKind,
  parseDelivery,
  problemDocument,
} from "../../lib/wire/protocol.ts";
import { parseSigningKey, verifyDelivery } from "../../lib/wire/signature.ts";
import type { ManualWorld } from "./clock.ts";

export const SECRET = `whsec_${Buffer.alloc(32, 7).toString("base64")}`;
export const CLUSTER = {
  name: "test",
  bounds: [],
  maxEntries: 1000,
  staleAfterMs: 900_000,
  uid: null,
  retired: false,
  widest: { ipv4: 20, ipv6: 56 },
} as const;

/** What a delivery meets instead of being admitted. */
export type Mishap =
  | { readonly kind: "status"; readonly status: number; readonly retryAfter?: string }
  /** Answered by headers, never by a body; or by nothing at all. */
  | { readonly kind: "stall"; readonly headers: boolean }
  /** Admitted, and the answer lost. */
  | { readonly kind: "lose-answer" }
  /** Admitted, and answered so much later. */
  | { readonly kind: "slow"; readonly ms: number };

/** What a receiver holds and has seen; tests change it as they please. */
interface Receiving {
  held: AdmittedSnapshot | null;
  /** Every signed snapshot that came in, admitted or not. */
  readonly received: (Snapshot & { readonly at: number })[];
  readonly headers: IncomingMessage["headers"][];
  secrets: readonly string[];
  again: number | null;
  /** What is answered to a snapshot that is admitted, beside its generation. */
  verdict: Partial<Pick<Answer, "lists" | "readyNodes" | "unlisted">>;
  mishaps: Mishap[];
  inFlight: number;
  inFlightMax: number;
}

/** A receiver that admits as the real one does, and remembers what it was sent. */
export async function startReceiver(t: TestContext, world: ManualWorld) {
  const state: Receiving = {
    held: null,
    received: [],
    headers: [],
    secrets: [SECRET],
    again: null,
    verdict: {},
    mishaps: [],
    inFlight: 0,
    inFlightMax: 0,
  };
  const server = createServer((request, response) => {
    state.inFlight += 1;
    state.inFlightMax = Math.max(state.inFlightMax, state.inFlight);
    response.once("close", () => {
      state.inFlight -= 1;
    });
    void request.toArray().then((chunks) => {
      const snapshot = authenticate(state, { request, body: Buffer.concat(chunks), world });
      if (typeof snapshot === "number") refuse(response, "unauthenticated", snapshot);
      else take(state, { snapshot, response, world });
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const url = new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}/v1/snapshots`);
  return Object.assign(state, {
    url,
    /** Addresses of the snapshot that is held, ascending. */
    addresses: () =>
      (state.held?.nodes ?? [])
        .flatMap((node) => node.addresses.map(({ address }) => address.split("/")[0]))
        .toSorted(),
    generations: () =>
      state.received.map(({ generation }) => `${generation.epoch}/${generation.sequence}`),
  });
}

export type Receiver = Awaited<ReturnType<typeof startReceiver>>;

/** The signed snapshot, or the status that it is refused with. */
function authenticate(
  state: Receiving,
  delivery: {
    readonly request: IncomingMessage;
    readonly body: Buffer;
    readonly world: ManualWorld;
  },
): Snapshot | number {
  const { body, world } = delivery;
  const headers = delivery.request.headers as Record<string, string>;
  state.headers.push(headers);
  const keys = state.secrets.map(parseSigningKey);
  const now = world.now();
  const verdict = verifyDelivery([{ cluster: "test", keys }], { headers, body }, { now });
  if (verdict.kind !== "verified") return 401;
  const text = headers["content-encoding"] === "gzip" ? gunzipSync(body) : body;
  const reading = parseDelivery(text.toString("utf8"));
  if (reading.kind === "invalid") return 422;
  state.received.push({ ...reading.snapshot, at: now });
  return reading.snapshot;
}

function take(
  state: Receiving,
  delivery: {
    readonly snapshot: Snapshot;
    readonly response: ServerResponse;
    readonly world: ManualWorld;
  },
): void {
  const { snapshot, response, world } = delivery;
  const mishap = state.mishaps.shift();
  if (mishap?.kind === "status") {
    const retryAfter = mishap.retryAfter ? { "retry-after": mishap.retryAfter } : {};
    response.writeHead(mishap.status, retryAfter).end();
    return;
  }
  if (mishap?.kind === "stall") {
    if (mishap.headers) response.writeHead(200).write("{");
    return;
  }
  const now = world.now();
  const admission = admit(state.held, snapshot, { now, cluster: CLUSTER });
  if (admission.kind === "stale" || admission.kind === "other-cluster") {
    refuse(response, admission.kind, 409, { held: admission.held });
    return;
  }
  if (admission.kind !== "repeat") state.held = { ...snapshot, receivedAt: now };
  if (mishap?.kind === "lose-answer") {
    response.destroy();
    return;
  }
  const { generation } = snapshot;
  const { again, verdict } = state;
  const answer = { generation, readyNodes: [], unlisted: [], again, lists: [], ...verdict };
  void world.sleep(mishap?.kind === "slow" ? mishap.ms : 0).then(() => {
    response.writeHead(200, { "content-type": "application/json" });
    response.end(JSON.stringify(answer));
  });
}

function refuse(
  response: ServerResponse,
  kind: ProblemKind,
  status: number,
  more: Pick<ProblemDocument, "held"> = {},
): void {
  response.writeHead(status, { "content-type": "application/problem+json" });
  response.end(JSON.stringify(problemDocument(kind, status, { detail: "test", ...more })));
}
