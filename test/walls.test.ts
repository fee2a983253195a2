import assert from "node:assert/strict";
import { test } from "node:test";
import { parseCidr } from "../lib/core/cidr.ts";
import { STAGES } from "./conformance/stages.ts";
import { addressesOf, adjacent, scattered, vendorCorridor } from "./conformance/vendor-corridor.ts";
import { reportOf } from "./corridor.ts";

/*
 * The receiver's whole inside over every kind of target, its own client and a backend that speaks
 * its vendor's protocol: what happens at the wall of a limit.
 */

const LIMIT = 6;

for (const [kind, make] of Object.entries(STAGES)) {
  test(`${kind} at its limit adds what fits, removes nothing, and says so with numbers`, async (context) => {
    const stage = await make({ limit: LIMIT });
    context.after(() => stage.close());
    const room = vendorCorridor(stage, { limit: LIMIT });
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
    const room = vendorCorridor(stage, { limit: LIMIT });
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
