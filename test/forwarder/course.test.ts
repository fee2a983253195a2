import assert from "node:assert/strict";
import { test } from "node:test";
import {
  type Ended,
  judgeEnd,
  NO_STREAM,
  nextStep,
  type Progress,
  START,
  type Step,
  type StreamCourse,
} from "../../forwarder/course.ts";
import { manualWorld } from "./clock.ts";

const NOW = 1_000_000;
const RIGHTS = "get, list and watch on nodes";
const FOLLOWING: Progress = { ...START, version: "10", next: "resume", relistAt: NOW + 900_000 };
const RESUME: Step = { kind: "resume", version: "10" };
const LIST: Step = { kind: "list", streams: true };
const LIVED: StreamCourse = { opened: true, initial: false, livedMs: 300_000, events: 5 };

function judge(before: Progress, step: Step, end: Ended, course: StreamCourse = LIVED) {
  return judgeEnd(before, { step, end, course, now: NOW, world: manualWorld(), rights: RIGHTS });
}

test("nextStep() lists consistently at first, when wanted and when it is due", () => {
  const asked = (progress: Progress, now = NOW, wanted = false) =>
    nextStep(progress, { now, wanted });
  assert.equal(asked(START).kind, "list");
  assert.equal(asked(FOLLOWING).kind, "resume");
  assert.equal(asked(FOLLOWING, NOW, true).kind, "list");
  assert.equal(asked(FOLLOWING, NOW + 900_000).kind, "list");
  assert.equal(asked({ ...FOLLOWING, next: "list-newer" }).kind, "list-newer");
  assert.equal(asked(FOLLOWING, NOW - 3_600_000).kind, "list", "the clock was set back");
});

test("judgeEnd() goes on at once after a watch that ended in good order", () => {
  const verdict = judge(FOLLOWING, RESUME, { kind: "closed" });
  assert.deepEqual([verdict.delayMs, verdict.message, verdict.progress.next], [0, null, "resume"]);
});

test("judgeEnd() counts very short watches as failures, and long ones as health", () => {
  const short = { ...LIVED, livedMs: 500, events: 1 };
  const once = judge(FOLLOWING, RESUME, { kind: "closed" }, short);
  assert.equal(once.progress.failures, 1);
  assert.ok(once.delayMs >= 800);
  const failing = { ...FOLLOWING, failures: 9 };
  const cut = { kind: "broken", message: "cut" } as const;
  assert.equal(judge(failing, RESUME, cut, LIVED).progress.failures, 1);
  assert.equal(judge(failing, RESUME, cut, short).progress.failures, 10);
  assert.ok(judge(failing, RESUME, cut, short).delayMs <= 60_000);
});

test("judgeEnd() backs off from repeated 410s, but not from the first", () => {
  const first = judge(FOLLOWING, RESUME, { kind: "expired" });
  assert.deepEqual([first.delayMs, first.progress.next], [0, "list-newer"]);
  const delays: number[] = [];
  let progress = first.progress;
  for (let n = 0; n < 10; n += 1) {
    const verdict = judge(progress, RESUME, { kind: "expired" }, { ...LIVED, livedMs: 10 });
    progress = verdict.progress;
    delays.push(verdict.delayMs);
  }
  assert.ok(
    delays.slice(2).every((ms) => ms >= 3_000),
    delays.join(),
  );
});

test("judgeEnd() drops the version when the server does not know it yet", () => {
  const newer: Step = { kind: "list-newer", streams: false, version: "10" };
  assert.equal(judge(FOLLOWING, newer, { kind: "too-new" }, NO_STREAM).progress.next, "list");
  assert.equal(judge(FOLLOWING, newer, { kind: "expired" }, NO_STREAM).progress.next, "list");
});

test("judgeEnd() gives streams of lists up on proof, not on a cut", () => {
  const initial = { ...LIVED, initial: true };
  const refused = (status: number) =>
    ({ kind: "refused", message: "no", status, retryAfterMs: null }) as const;
  const strikes = (end: Ended, course: StreamCourse) =>
    judge(START, LIST, end, course).progress.strikes;
  const unopened = { ...NO_STREAM, initial: true };
  assert.equal(strikes(refused(422), unopened), 3);
  assert.equal(strikes(refused(500), unopened), 0);
  assert.equal(strikes(refused(500), initial), 3);
  assert.equal(strikes(refused(429), initial), 0);
  assert.equal(strikes({ kind: "closed" }, initial), 3);
  assert.equal(strikes({ kind: "broken", message: "cut" }, initial), 1);
  assert.equal(strikes(refused(500), LIVED), 0);
});

test("judgeEnd() lets the watch go on when a list fails that was merely due", () => {
  const due = { ...FOLLOWING, relistAt: NOW };
  const refused = { kind: "refused", message: "busy", status: 503, retryAfterMs: null } as const;
  const { progress } = judge(due, LIST, refused, { ...NO_STREAM, initial: true });
  assert.equal(nextStep(progress, { now: NOW, wanted: false }).kind, "resume");
});

test("judgeEnd() says what to grant when it is forbidden, and tries slowly when it stays so", () => {
  const refused = { kind: "refused", message: "403", status: 403, retryAfterMs: null } as const;
  // A server that has just started has not read its roles yet.
  const first = judge(FOLLOWING, RESUME, refused, NO_STREAM);
  assert.match(first.message ?? "", /grant get, list and watch on nodes/);
  assert.ok(!first.lasting && first.delayMs < 2_000);
  let { progress } = first;
  for (const _ of ["second", "third"]) {
    ({ progress } = judge(progress, RESUME, refused, NO_STREAM));
  }
  const fourth = judge(progress, RESUME, refused, NO_STREAM);
  assert.ok(fourth.lasting && fourth.delayMs >= 10_000);
});

test("judgeEnd() lists what nothing proves to be current, and goes on watching when that fails", () => {
  const { progress, delayMs } = judge(FOLLOWING, RESUME, { kind: "unproven" });
  assert.equal(delayMs, 0);
  const step = nextStep(progress, { now: NOW, wanted: false });
  assert.equal(step.kind, "list");
  const refused = { kind: "refused", message: "busy", status: 503, retryAfterMs: null } as const;
  const after = judge(progress, step, refused, { ...NO_STREAM, initial: true }).progress;
  assert.equal(nextStep(after, { now: NOW, wanted: false }).kind, "resume");
});
