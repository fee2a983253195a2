import assert from "node:assert/strict";
import { test } from "node:test";
import { dueAt } from "../../forwarder/delivery.ts";
import {
  countRaise,
  judgeOutcome,
  type Outcome,
  PACE,
  type Pace,
  readReply,
} from "../../forwarder/outcome.ts";
import { problemDocument } from "../../lib/wire/protocol.ts";
import { manualWorld, START } from "./clock.ts";

const world = manualWorld();
const ANSWER = { generation: { epoch: 1, sequence: 1 }, readyNodes: [], unlisted: [], lists: [] };

function judge(pace: Pace, outcome: Outcome, now = START) {
  return judgeOutcome(pace, outcome, { now, world, heartbeatMs: 300_000 });
}

function reply(status: number, body: unknown, retryAfter?: string) {
  const text = typeof body === "string" ? body : JSON.stringify(body);
  return readReply({ status, retryAfter, body: text }, START);
}

test("readReply() knows an answer from a page that says 200", () => {
  assert.equal(reply(200, { ...ANSWER, again: null }).kind, "answered");
  assert.equal(reply(200, "<html>").kind, "unclear");
  assert.equal(reply(204, "").kind, "unclear");
});

test("readReply() tells stale from another cluster", () => {
  const stale = problemDocument("stale", 409, { detail: "x", held: { epoch: 7, sequence: 3 } });
  const other = problemDocument("other-cluster", 409, {
    detail: "x",
    held: { epoch: 7, sequence: 3 },
  });
  assert.deepEqual(reply(409, stale), { kind: "stale", held: { epoch: 7, sequence: 3 } });
  assert.equal(reply(409, other).kind, "refused");
  assert.equal(reply(409, "a proxy's").kind, "unclear");
});

test("readReply() names problems, redirects and a wrong clock", () => {
  const problems = [{ path: "nodes[3].uid", message: "Cannot take it" }];
  const invalid = reply(422, problemDocument("invalid", 422, { detail: "no", problems }));
  assert.match(
    invalid.kind === "refused" ? invalid.message : "",
    /nodes\[3\]\.uid: Cannot take it/,
  );
  const moved = reply(302, "");
  assert.match(moved.kind === "unclear" ? moved.message : "", /redirects are not followed/);
  const time = new Date(START + 900_000).toISOString();
  const late = reply(401, problemDocument("unauthenticated", 401, { detail: "no", time }));
  assert.match(late.kind === "unauthenticated" ? late.message : "", /900 s behind/);
});

test("judgeOutcome() obeys again without growing the backoff", () => {
  const failed = judge(PACE, { kind: "unclear", message: "no", retryAfterMs: null }).pace;
  const { pace } = judge(failed, { kind: "answered", answer: { ...ANSWER, again: 5 } });
  assert.deepEqual([pace.failures, pace.repeatAt - START, pace.notBefore], [0, 5_000, 0]);
  assert.equal(dueAt(pace, null), START + 5_000);
});

test("judgeOutcome() repeats the truth after the heartbeat ± 20 %", () => {
  const times = Array.from({ length: 200 }, () => {
    const { pace } = judge(PACE, { kind: "answered", answer: { ...ANSWER, again: null } });
    return pace.repeatAt - START;
  });
  assert.ok(Math.min(...times) >= 240_000 && Math.min(...times) < 250_000);
  assert.ok(Math.max(...times) <= 360_000 && Math.max(...times) > 350_000);
});

test("judgeOutcome() backs off from 0.5 to 60 s and never gives up", () => {
  let pace = PACE;
  const delays: number[] = [];
  for (let attempt = 0; attempt < 200; attempt += 1) {
    pace = judge(pace, { kind: "unclear", message: "no", retryAfterMs: null }).pace;
    delays.push(pace.notBefore - START);
  }
  assert.ok((delays[0] ?? 0) >= 500 && (delays[0] ?? 0) <= 1_000);
  assert.ok(delays.every((ms) => ms >= 500 && ms <= 60_000));
  assert.ok(delays.slice(10).every((ms) => ms >= 30_000));
});

test("judgeOutcome() waits for Retry-After, and at its cap for what cannot heal", () => {
  const busy = judge(PACE, { kind: "unclear", message: "no", retryAfterMs: 90_000 });
  assert.equal(busy.pace.notBefore, START + 90_000);
  const refused = judge(PACE, { kind: "refused", message: "no", isOtherCluster: false });
  assert.ok(refused.lasting && refused.pace.notBefore - START >= 30_000);
});

test("judgeOutcome() raises the epoch three times in ten minutes, then every ten minutes", () => {
  const stale = { kind: "stale", held: { epoch: 9, sequence: 1 } } as const;
  let pace = PACE;
  let now = START;
  const raised: number[] = [];
  while (now < START + 3_600_000) {
    const judgement = judge(pace, stale, now);
    const isRaised = judgement.raiseAbove === 9;
    if (isRaised) raised.push(now - START);
    pace = isRaised ? countRaise(judgement.pace, now) : judgement.pace;
    now = Math.max(now + 1_000, pace.notBefore);
  }
  for (const at of raised) {
    const window = raised.filter((other) => other >= at && other < at + 600_000);
    assert.ok(window.length <= 3, `${window.length} in ten minutes`);
  }
  assert.ok(raised.length >= 6);
});

test("judgeOutcome() counts no raise that could not be done", () => {
  const stale = { kind: "stale", held: { epoch: 9, sequence: 1 } } as const;
  let pace = PACE;
  for (let attempt = 0; attempt < 20; attempt += 1) {
    const judgement = judge(pace, stale, START + attempt * 1_000);
    assert.equal(judgement.raiseAbove, 9);
    pace = judgement.pace;
  }
});

test("judgeOutcome() counts raises of a clock that was set back since as long ago", () => {
  const stale = { kind: "stale", held: { epoch: 9, sequence: 1 } } as const;
  const hour = 3_600_000;
  let pace = PACE;
  for (const at of [0, 1_000, 2_000]) pace = countRaise(pace, START + at);
  assert.equal(judge(pace, stale, START + 3_000).raiseAbove, null);
  assert.equal(judge(pace, stale, START - 60_000).raiseAbove, null, "a minute back");
  assert.equal(judge(pace, stale, START - hour).raiseAbove, 9, "an hour back, not an hour's wait");
  assert.equal(judge(pace, stale, START + hour).raiseAbove, 9);
});

test("judgeOutcome() reads the credential again at once after the first 401 only", () => {
  const refused = { kind: "unauthenticated", message: "401" } as const;
  const first = judge(PACE, refused);
  assert.equal(first.pace.notBefore, START);
  assert.ok(judge(first.pace, refused).pace.notBefore > START);
});

test("dueAt() lets a burst settle, but not for ever, and never before the backoff ends", () => {
  const quiet = { ...PACE, repeatAt: START + 300_000 };
  const burst = { since: START, last: START, notBefore: 0 };
  assert.equal(dueAt(quiet, burst), START + 10);
  assert.equal(dueAt(quiet, { ...burst, last: START + 495 }), START + 500);
  assert.equal(dueAt({ ...quiet, notBefore: START + 9_000 }, burst), START + 9_000);
  assert.equal(dueAt(quiet, { ...burst, notBefore: START + 200 }), START + 200);
});
