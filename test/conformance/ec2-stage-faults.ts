import type { Ec2Fault } from "../fakes/ec2-faults.ts";
import type { Fault } from "./target.ts";

/** What nobody may see: the credentials, and what a backend quotes in its errors. */
export const ENVIRONMENT = {
  AWS_ACCESS_KEY_ID: "AKIACANARY",
  AWS_SECRET_ACCESS_KEY: "canary-of-the-secret-key",
  AWS_SESSION_TOKEN: "canary-of-the-session-token",
};
export const QUOTED = "canary-in-the-answer";
export const SECRETS = [...Object.values(ENVIRONMENT), QUOTED];

/** How AWS does each of them wrong. */
export const FAULTS: Readonly<Record<Exclude<Fault, "raced">, Ec2Fault>> = {
  none: { kind: "none" },
  throttle: { kind: "refuse", code: "RequestLimitExceeded", status: 503, retryAfterS: 7 },
  deny: { kind: "refuse", code: "UnauthorizedOperation", status: 403 },
  fail: { kind: "refuse", code: "InternalError", status: 500 },
  "lose-request": { kind: "lose-request" },
  "lose-answer": { kind: "lose-answer" },
  "fail-after": { kind: "fail-after" },
  half: { kind: "half" },
  hang: { kind: "hang" },
  "hang-after": { kind: "hang-after" },
  stale: { kind: "stale", writes: 1 },
  busy: { kind: "refuse", code: "IncorrectState", status: 400 },
};
