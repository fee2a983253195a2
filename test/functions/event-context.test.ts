import assert from "node:assert/strict";
import { test } from "node:test";
import { invocationOf } from "../../functions/platform.ts";
import { fixture } from "./carriers.ts";

test("invocationOf() counts down what Function Compute allows a run, from its begin", () => {
  let now = 1_000;
  const context = invocationOf(fixture("fc-context"), { now: () => now });
  assert.equal(context.requestId, "1-64f6cd87-0123456789abcdef");
  assert.equal(context.functionName, "kube-allowlist-webhook");
  assert.equal(context.getRemainingTimeInMillis?.(), 29_000);
  now += 4_000;
  assert.equal(context.getRemainingTimeInMillis?.(), 25_000);
});

test("invocationOf() asks Lambda what is left, each time", () => {
  let left = 900;
  const given = {
    ...fixture("lambda-context"),
    getRemainingTimeInMillis(this: { readonly functionName?: unknown }) {
      assert.equal(this.functionName, "kube-allowlist-webhook", "called on its own context");
      return left;
    },
  };
  const context = invocationOf(given, { now: () => 0 });
  assert.equal(context.requestId, "c6af9ac6-7b61-11e6-9a41-93e8deadbeef");
  assert.equal(context.functionName, "kube-allowlist-webhook");
  assert.equal(context.getRemainingTimeInMillis?.(), 900);
  left = 100;
  assert.equal(context.getRemainingTimeInMillis?.(), 100);
});

test("invocationOf() tells no time where a context tells none, or none that can be right", () => {
  const strange = [undefined, null, {}, "", 1, { function: { name: "a", timeout: "29" } }];
  for (const given of [...strange, { function: { timeout: 0 } }, { function: { timeout: -1 } }]) {
    const context = invocationOf(given, { now: () => 0 });
    assert.equal(context.getRemainingTimeInMillis, undefined, JSON.stringify(given));
    assert.equal(context.requestId, null);
  }
});
