import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { parseCidr } from "../lib/core/cidr.ts";
import { statusOf as readStatus, type Status } from "../lib/survey.ts";
import type { SyncOutcome } from "../lib/sync.ts";
import { STAGES } from "./conformance/stages.ts";
import type { Stage } from "./conformance/target.ts";
import { addressesOf, adjacent, scattered, vendorCorridor } from "./conformance/vendor-corridor.ts";
import { type Corridor, reportOf } from "./corridor.ts";
import { until } from "./fakes/soon.ts";

/*
 * The receiver's whole inside over every kind of target, its own client and a backend that speaks
 * its vendor's protocol: what happens at the wall of a limit.
 */

const LIMIT = 6;

for (const [kind, make] of Object.entries(STAGES)) {
  test(`${kind} at its limit adds what fits, removes nothing, and says so with numbers`, async (context) => {
    const stage = await make({ limit: LIMIT });
    context.after(() => stage.close());
    const room = vendorCorridor([stage], { limit: LIMIT });
    const present = async () =>
      (await stage.target.observe(new AbortController().signal)).entries.map(({ cidr }) => cidr);

    const below = reportOf(await room.deliver(scattered(LIMIT - 1)));
    assert.deepEqual(await present(), addressesOf(scattered(LIMIT - 1)));
    assert.notEqual(below.state, "failed", below.message);

    const at = reportOf(await room.deliver(scattered(LIMIT)));
    assert.deepEqual(await present(), addressesOf(scattered(LIMIT)));
    assert.notEqual(at.state, "failed", at.message);
    assert.deepEqual(at.capacity, { used: LIMIT, limit: LIMIT });

    const above = reportOf(await room.deliver(scattered(LIMIT + 1)));
    assert.deepEqual(await present(), addressesOf(scattered(LIMIT)), "nothing made room");
    assert.equal(above.reason, "full");
    assert.match(above.message, /Cannot add 1 of 7 entries to "payments-db": 6 of 6 are used; /);
  });

  test(`${kind} at its limit is given the exact aggregate, and nothing wider`, async (context) => {
    const stage = await make({ limit: LIMIT });
    context.after(() => stage.close());
    const room = vendorCorridor([stage], { limit: LIMIT });
    const report = reportOf(await room.deliver([...adjacent(8, 8), ...scattered(2)]));
    const { entries } = await stage.target.observe(new AbortController().signal);
    const expected = ["10.0.0.1/32", "10.0.0.3/32", "10.0.0.8/29"].map((text) => parseCidr(text));
    assert.deepEqual(
      entries.map(({ cidr }) => cidr),
      expected,
    );
    assert.notEqual(report.state, "failed", report.message);
  });
}

/** The stages of these kinds, closed when the test ends. */
async function stagesOf(kinds: readonly string[], context: TestContext): Promise<readonly Stage[]> {
  const stages: Stage[] = [];
  for (const kind of kinds) {
    const stage = await STAGES[kind]?.({});
    assert(stage !== undefined, kind);
    context.after(() => stage.close());
    stages.push(stage);
  }
  return stages;
}

function statusOf({ context }: Corridor): Promise<Status> {
  return readStatus(context, context.policy.lists);
}

function isConverged({ lists }: Status, { target }: Stage): boolean {
  return lists.some((report) => report.target === target.name && report.state === "converged");
}

test("a hung database and a throttled firewall do not hold up a security group, and heal by themselves", async (context) => {
  const kinds = ["alibaba/rds", "linode/firewall", "aws/security-group"];
  const [hung, throttled, healthy] = await stagesOf(kinds, context);
  assert(hung !== undefined && throttled !== undefined && healthy !== undefined);
  const room = vendorCorridor([hung, throttled, healthy]);
  const joined = scattered(2);
  hung.inject("read", "hang");
  throttled.inject("read", "throttle");
  const running = room.deliver(joined);
  await until(() => hung.calls("read") === 1, "the call that hangs");
  // Its own record says so, before the hung one has answered.
  await until(async () => isConverged(await statusOf(room), healthy), "the healthy one");
  await room.world.advance(hung.target.traits.callMs);
  const outcome = await running;
  const reasons = (from: SyncOutcome) =>
    [hung, throttled, healthy].map(({ target }) => reportOf(from, target.name).reason);
  assert.deepEqual(reasons(outcome), ["unavailable", "throttled", null]);

  // Linode asked for seven seconds, which are over; the database is left alone for another one.
  const before = hung.calls("read");
  assert.deepEqual(reasons(await room.deliver(joined)), ["unavailable", "settling", null]);
  assert.equal(hung.calls("read"), before, "not hammered");
  await room.world.advance(1_000);
  assert.deepEqual(reasons(await room.deliver(joined)), ["settling", "settling", null]);
  await room.world.advance(60_000);
  assert.deepEqual(reasons(await room.deliver(joined)), [null, null, null]);
});
