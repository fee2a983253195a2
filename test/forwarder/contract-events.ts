import assert from "node:assert/strict";
import { test } from "node:test";
import { eventObject, seriesOf } from "../../forwarder/event-object.ts";
import { type Kube, KubeError } from "../../forwarder/kube.ts";
import type { Note } from "../../forwarder/notes.ts";
import { START } from "./clock.ts";

/*
 * What the forwarder relies on when it writes Events, and what it must never write, of any API
 * server: part of the contract that the embedded one and a real one both pass.
 */

const LEASE = { namespace: "default", name: "kube-allowlist" };
const LEASE_ELSEWHERE = { namespace: "kube-public", name: "kube-allowlist" };
const request = () => ({ signal: new AbortController().signal, timeoutMs: 10_000 });

function note(regarding: Note["regarding"]): Note {
  return { at: START, reason: "AllowlistPending", regarding, subject: "", text: "It waits" };
}

const aboutNode = note({ kind: "node", name: "a", uid: null });

/** An Event as it is written, with changes; undefined takes a member away. */
function event(name: string, changes: Readonly<Record<string, unknown>> = {}, of = aboutNode) {
  const namespace = "default";
  const series = { namespace, name, note: of, count: 1, lastAt: START };
  const options = { lease: LEASE, uid: "5f0c", identity: "host_0123456789abcdef" };
  return { ...eventObject(series, options), ...changes };
}

export function eventContract(kube: () => Kube): void {
  const path = (namespace: string) => `/apis/events.k8s.io/v1/namespaces/${namespace}/events`;
  const create = (namespace: string, body: object) =>
    kube().write("POST", path(namespace), { ...request(), body });
  const merge = (name: string, body: object) =>
    kube().patch("strategic", `${path("default")}/${name}`, { ...request(), body });
  const statusOf = (work: Promise<unknown>) =>
    work.then(
      () => "taken",
      (error: unknown) => (error instanceof KubeError ? error.status : String(error)),
    );

  test("an Event about a node stands in default, as it was written", async () => {
    const body = event("as-written");
    const written = (await create("default", body)) as Record<string, unknown>;
    for (const [member, value] of Object.entries(body)) {
      if (member !== "metadata") assert.deepEqual(written[member], value, member);
    }
    const read = (await kube().read(`${path("default")}/as-written`, request())) as typeof written;
    assert.deepEqual([read.note, read.reason], ["It waits", "AllowlistPending"]);
    assert.equal(await statusOf(create("default", body)), 409);
  });

  test("an Event about a node is refused where nodes do not belong", async () => {
    const elsewhere = (name: string) => event(name, { metadata: { name } });
    assert.equal(await statusOf(create("kube-public", elsewhere("astray"))), 422);
    assert.equal(await statusOf(create("nowhere", elsewhere("nowhere"))), 404);
    assert.equal(await statusOf(create("kube-system", elsewhere("there-too"))), "taken");
  });

  test("an Event about a Lease stands in the Lease's namespace", async () => {
    const regarding = { apiVersion: "coordination.k8s.io/v1", kind: "Lease", ...LEASE_ELSEWHERE };
    const body = event("of-lease", { metadata: { name: "of-lease" }, regarding });
    const written = (await create("kube-public", body)) as Record<string, unknown>;
    assert.deepEqual(written.regarding, regarding);
    const misplaced = create("default", { ...body, metadata: { ...LEASE_ELSEWHERE } });
    assert.equal(await statusOf(misplaced), 400);
  });

  test("an Event needs a time, who says it, what was done, why and of which type", async () => {
    const wrong: readonly Readonly<Record<string, unknown>>[] = [
      { eventTime: undefined },
      { reportingController: undefined },
      { reportingController: "not a name" },
      { reportingInstance: undefined },
      { reportingInstance: "x".repeat(129) },
      { action: undefined },
      { action: "x".repeat(129) },
      { reason: undefined },
      { reason: "x".repeat(129) },
      { type: undefined },
      { type: "Loud" },
      { note: "x".repeat(1_025) },
      // 1,024 characters of two bytes each.
      { note: "ä".repeat(1_024) },
      { deprecatedCount: 1 },
      { series: { count: 1, lastObservedTime: "2026-11-20T21:00:00.000000Z" } },
      { series: { count: 2 } },
    ];
    for (const [index, changes] of wrong.entries()) {
      const status = await statusOf(create("default", event(`wrong-${index}`, changes)));
      assert.equal(status, 422, JSON.stringify(changes).slice(0, 80));
    }
    await create("default", event("long", { note: "x".repeat(1_024) }));
  });

  test("an Event is counted up by a merge of its series, and is otherwise as it was", async () => {
    await create("default", event("series"));
    const body = seriesOf({ count: 3, lastAt: START + 60_000 });
    const merged = (await merge("series", body)) as Record<string, unknown>;
    const series = { count: 3, lastObservedTime: "2026-11-20T21:01:00.000000Z" };
    assert.deepEqual(merged.series, series);
    assert.equal(merged.note, "It waits");
    for (const changes of [{ note: "Another" }, { reason: "Another" }, { type: "Normal" }]) {
      assert.equal(await statusOf(merge("series", changes)), 422, JSON.stringify(changes));
    }
    assert.equal(await statusOf(merge("gone", body)), 404);
  });
}
