import assert from "node:assert/strict";
import { test } from "node:test";
import { sync } from "../../lib/sync.ts";
import { list, memoryConfig, node, policy } from "../core/cases.ts";
import { corridor, reportOf } from "../corridor.ts";

const NODES = [node("a", ["203.0.113.1"]), node("b", ["203.0.113.2"])];
const reason = new Error("the process was asked to end");

/** Whether an object may be taken at once, and what was remembered when it was let go. */
async function newestOf(
  context: ReturnType<typeof corridor>["context"],
  target: string,
): Promise<string | undefined> {
  return (await context.objectLog(`memory.${target}`).newest())?.body.state;
}

test("sync() finishes the call it is in when the process ends, begins no other and lets go", async () => {
  const targets = ["one", "two", "three"].map((id) => memoryConfig(id));
  const set = corridor({ policy: policy([list({ targets })]) });
  await set.admit(NODES);
  const ending = new AbortController();
  const after: string[] = [];
  set.interfere(async (call, proceed) => {
    if (ending.signal.aborted) after.push(`${call.target} ${call.verb}`);
    const isLast = call.target === "memory/one" && call.verb === "add";
    if (isLast) ending.abort(reason);
    return proceed();
  });
  const context = { ...set.context, signal: ending.signal };
  const outcome = await sync(context, {
    lists: set.context.policy.lists,
    deadline: set.world.now() + 26_000,
    mode: "resync",
    waitMs: 0,
    cause: {},
    accepted: null,
  });
  assert.deepEqual(after, [], "no call was begun after the end was asked for");
  assert.equal(set.inFlight(), 0);
  assert.deepEqual(set.on("one"), ["203.0.113.1/32", "203.0.113.2/32"], "the call was finished");
  assert.equal(reportOf(outcome, "memory/one").state, "pending", "it was not read back");
  for (const id of ["one", "two", "three"]) {
    const state = await newestOf(set.context, id);
    assert(state === "done" || state === undefined, `${id} is ${state}`);
  }
  set.interfere(null);
  // What was not looked at again may be tried again a moment later.
  await set.world.advance(2_000);
  const next = await set.run("resync");
  for (const { report } of next.targets)
    assert.equal(
      report.state,
      "converged",
      `${report.target}: ${report.reason}: ${report.message}`,
    );
});

test("sync() waits for no lease once the process ends", async () => {
  const set = corridor({ policy: policy([list()]) });
  await set.admit(NODES);
  const held = { state: "held", forMs: 60_000, slots: {} } as const;
  await set.context.objectLog("memory.one").append(0, held);
  const ending = new AbortController();
  const running = sync(
    { ...set.context, signal: ending.signal },
    {
      lists: set.context.policy.lists,
      deadline: set.world.now() + 600_000,
      mode: "command",
      waitMs: 70_000,
      cause: {},
      accepted: null,
    },
  );
  await set.world.advance(1_000);
  ending.abort(reason);
  await set.world.advance(0);
  const report = reportOf(await running);
  assert.deepEqual([report.state, report.reason], ["pending", "batch"]);
  assert.deepEqual(set.calls(), []);
});
