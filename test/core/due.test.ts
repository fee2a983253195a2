import assert from "node:assert/strict";
import test from "node:test";
import { backoffMs, departureAt, desiredDigest, isDue, listDigest } from "../../lib/core/due.ts";
import { membersOf } from "../../lib/core/members.ts";
import { outsideKey } from "../../lib/core/outside.ts";
import type { Slot } from "../../lib/core/record.ts";
import { blankReport, stateOf } from "../../lib/core/report.ts";
import { START } from "../virtual-world.ts";
import {
  cidrs,
  cluster,
  EXTERNAL,
  GRACE_MS,
  list,
  NAT,
  node,
  policy,
  REMOVAL,
  SUBNET,
  snapshot,
} from "./cases.ts";

const REPORT = { ...blankReport("db", "memory/one"), state: "converged", reason: null } as const;

const CONVERGED: Slot = {
  list: "db",
  config: {},
  digest: "d",
  desired: "h",
  report: REPORT,
  entries: {},
  unwanted: {},
  removed: {},
  sizes: [],
  failures: 0,
  notBefore: 0,
  checkedAt: START,
  judgedAt: START,
  claimed: true,
};

function due(
  slot: Slot | null,
  given: { at?: number; removes?: boolean; heardAt?: number; settleMs?: number } = {},
) {
  return isDue(slot, {
    list: list(),
    digest: "d",
    desired: "h",
    voices: [{ kind: "heard", cluster: "eu", receivedAt: given.heardAt ?? START }],
    now: given.at ?? START + 1,
    settleMs: given.settleMs ?? 0,
    removes: given.removes ?? false,
  });
}

const inState = (reason: Slot["report"]["reason"]): Slot => ({
  ...CONVERGED,
  report: { ...REPORT, state: stateOf(reason), reason },
});

test("isDue() leaves a converged target alone, for the webhook however long ago it was checked", () => {
  assert.equal(due(CONVERGED), false);
  assert.equal(due(CONVERGED, { at: START + 86_400_000 }), false);
});

test("isDue() looks in a resync after five minutes, not before", () => {
  assert.equal(due(CONVERGED, { removes: true, at: START + 299_999 }), false);
  assert.equal(due(CONVERGED, { removes: true, at: START + 300_000 }), true);
});

test("isDue() looks where nothing is remembered or something else was meant", () => {
  assert.equal(due(null), true);
  assert.equal(due({ ...CONVERGED, digest: "other" }), true);
  assert.equal(due({ ...CONVERGED, desired: "other" }), true);
});

test("isDue() goes on with what failed or is pending, but not with a mere grace", () => {
  for (const reason of ["batch", "settling", "full", "denied", "shadowed", "busy"] as const) {
    assert.equal(due(inState(reason)), true, reason);
  }
  for (const reason of ["grace", "add-only", "ratio", "stale"] as const) {
    assert.equal(due(inState(reason)), false, reason);
  }
});

test("isDue() goes on with what is missing or in doubt although a worse state stands before it", () => {
  const withheld = inState("ratio");
  const report = { ...withheld.report, add: ["203.0.113.9/32"] };
  assert.equal(due({ ...withheld, report }), true);
  const doubtful = { ...withheld, entries: { "203.0.113.1/32": START + 60_000 } };
  assert.equal(due(doubtful, { at: START + 59_999 }), false);
  assert.equal(due(doubtful, { at: START + 60_000 }), true);
});

test("isDue() leaves a list alone that may not begin, until something else is wanted", () => {
  const waiting = inState("not-heard");
  const report = { ...waiting.report, add: ["203.0.113.9/32"] };
  assert.equal(due({ ...waiting, report }), false);
  assert.equal(due({ ...waiting, report, desired: "other" }), true);
  assert.equal(due({ ...waiting, report: { ...report, owned: 1 } }), true);
  const removes = { removes: true, at: START + 300_000 };
  assert.equal(due({ ...waiting, report }, removes), true);
});

test("isDue() looks after an entry until it is in effect, whatever worse state hides that", () => {
  const fresh = { ...inState("ratio"), entries: { "203.0.113.1/32": START } };
  const settleMs = 60_000;
  assert.equal(due(fresh, { at: START + 59_999, settleMs }), true);
  assert.equal(due(fresh, { at: START + 60_000, settleMs }), false);
  assert.equal(due(fresh, { at: START + 59_999 }), false);
});

test("isDue() looks in a resync when what others take the place of may go", () => {
  const unwanted = { "203.0.113.0/28": START - 300_000 };
  const leaving = { ...CONVERGED, unwanted, judgedAt: START + 1 };
  const given = { removes: true, heardAt: START, settleMs: 330_000 };
  assert.equal(due(leaving, { ...given, at: START + 29_999 }), false);
  assert.equal(due(leaving, { ...given, at: START + 30_000 }), true);
});

test("isDue() obeys notBefore, whatever is desired", () => {
  const failed = { ...inState("throttled"), notBefore: START + 5_000 };
  assert.equal(due(failed, { at: START + 4_999 }), false);
  assert.equal(due({ ...failed, desired: "other" }, { at: START + 4_999 }), false);
  assert.equal(due(failed, { at: START + 5_000 }), true);
  assert.equal(due({ ...failed, digest: "other" }, { at: START + 4_999 }), true);
});

test("isDue() looks in a resync when an entry may go that could not when a removing run last judged", () => {
  const since = START - GRACE_MS + 5_000;
  const leaving = { ...inState("grace"), unwanted: { "203.0.113.1/32": since } };
  const heardAt = START + 30_000;
  assert.equal(due(leaving, { removes: true, at: START + 20_000 }), false, "nobody spoke since");
  assert.equal(due(leaving, { removes: true, at: heardAt, heardAt }), true);
  assert.equal(
    due(leaving, { removes: false, at: heardAt, heardAt }),
    false,
    "a webhook only adds",
  );
  const checkedByWebhook = { ...leaving, checkedAt: heardAt + 1 };
  assert.equal(due(checkedByWebhook, { removes: true, at: heardAt + 2, heardAt }), true);
  const judged = { ...leaving, judgedAt: heardAt + 1 };
  assert.equal(due(judged, { removes: true, at: heardAt + 2, heardAt }), false);
});

test("isDue() looks again a minute after a removal whose outcome is unknown", () => {
  const cidr = "203.0.113.1/32";
  const slot = {
    ...inState("grace"),
    unwanted: { [cidr]: START - GRACE_MS },
    removed: { [cidr]: START },
  };
  assert.equal(due(slot, { removes: true, at: START + 59_999 }), false);
  assert.equal(due(slot, { removes: true, at: START + 60_000 }), true);
});

test("listDigest() changes with whoever is on the list, not with grace, guard or the cluster's staleness", () => {
  const before = listDigest(list(), policy([list()]));
  const same = (subject: ReturnType<typeof list>, one = cluster("eu")) =>
    listDigest(subject, policy([subject], [one])) === before;
  assert.equal(same(list({ removal: { ...REMOVAL, graceMs: 0, maxRatio: 1 }, gate: false })), true);
  assert.equal(same(list(), cluster("eu", { staleAfterMs: 1 })), true);
  assert.equal(same(list({ sources: [{ ...EXTERNAL, labels: { pool: "x" } }] })), false);
  assert.equal(same(list({ formerly: ["old"] })), false);
  assert.equal(same(list(), cluster("eu", { bounds: cidrs("203.0.113.0/25") })), false);
  assert.equal(same(list(), cluster("eu", { maxEntries: 5 })), false);
  assert.equal(same(list(), cluster("eu", { uid: "u" })), false);
  assert.equal(same(list(), cluster("eu", { widest: { ipv4: 24, ipv6: 64 } })), false);
});

test("desiredDigest() is of the addresses, not of who brings them or in which order", () => {
  const digest = (...nodes: ReturnType<typeof node>[]) =>
    desiredDigest(
      membersOf(
        list(),
        { eu: snapshot(nodes) },
        { policy: policy([list()]), readings: {}, now: START },
      ),
    );
  const a = node("a", ["203.0.113.1", "203.0.113.2"]);
  const b = node("b", ["203.0.113.2", "203.0.113.1"]);
  assert.equal(digest(a), digest(b));
  assert.equal(digest(a), digest(a, b));
  assert.notEqual(digest(a), digest(node("a", ["203.0.113.1"])));
});

test("desiredDigest() changes when a source is missed and read again, and when a cluster is first heard", () => {
  const sources = [EXTERNAL, { kind: "dns", names: [NAT], bounds: "public" } as const];
  const digest = (given: { heard?: boolean; readAt: number | null; trouble?: boolean }) => {
    const trouble = given.trouble === true ? { at: START, message: "Cannot read it" } : null;
    const nat = { readAt: given.readAt, answers: [], free: null, trouble };
    const snapshots = given.heard === false ? {} : { eu: snapshot([]) };
    const readings = { [outsideKey(NAT)]: nat };
    const one = list({ sources });
    return desiredDigest(
      membersOf(one, snapshots, { policy: policy([one]), readings, now: START }),
    );
  };
  const good = digest({ readAt: START });
  assert.notEqual(digest({ readAt: null }), good, "members may be missing");
  assert.notEqual(digest({ readAt: START - 3_600_000 }), good);
  assert.equal(
    digest({ readAt: START - 60_000, trouble: true }),
    good,
    "one failure changes nothing",
  );
  assert.notEqual(digest({ heard: false, readAt: START }), good, "though it has no nodes");
});

test("listDigest() changes with subnets, names and their bounds, not with how they are reached or how often", () => {
  const widest = { ipv4: 20, ipv6: 56 };
  const digest = (...sources: ReturnType<typeof list>["sources"]) =>
    listDigest(list({ sources }), policy([list({ sources })]));
  const subnets = (given: object = {}, wide = widest) =>
    digest({ kind: "subnets", subnets: [{ ...SUBNET, ...given }], widest: wide });
  assert.equal(subnets({ settings: { endpoint: "http://127.0.0.1:1" } }), subnets());
  assert.notEqual(subnets({ id: "subnet-2" }), subnets());
  assert.notEqual(subnets({}, { ipv4: 24, ipv6: 56 }), subnets());
  const names = (given: object = {}, bounds: "public" | [] = "public") =>
    digest({ kind: "dns", names: [{ ...NAT, ...given }], bounds });
  assert.equal(names({ intervalMs: 3_600_000 }), names());
  assert.notEqual(names({ name: "a.example.com" }), names());
  assert.notEqual(names({ families: ["ipv4"] }), names());
  assert.notEqual(names({}, []), names());
});

test("departureAt() waits until every outside source was read after the grace", () => {
  const heard = (receivedAt: number) =>
    ({ kind: "heard", source: "dns/nat.example.com", receivedAt }) as const;
  const cluster = { kind: "heard", cluster: "eu", receivedAt: START + GRACE_MS } as const;
  const at = (...voices: Parameters<typeof departureAt>[0]["voices"]) =>
    departureAt({ list: list(), voices }, START);
  assert.equal(at(cluster, heard(START + GRACE_MS - 1)), Number.POSITIVE_INFINITY);
  assert.equal(at(cluster, heard(START + GRACE_MS + 7)), START + GRACE_MS + 7);
  const stale = { kind: "stale", source: "dns/nat.example.com", heardAt: START } as const;
  assert.equal(at(cluster, stale), Number.POSITIVE_INFINITY);
  const unread = { ...stale, kind: "not-heard", message: null, lasting: false } as const;
  assert.equal(at(cluster, unread), Number.POSITIVE_INFINITY);
});

test("backoffMs() doubles from one second to a minute, waits five for what only a person mends", () => {
  assert.deepEqual(
    [1, 2, 3, 7, 50].map((failures) => backoffMs("unavailable", failures, null)),
    [1_000, 2_000, 4_000, 60_000, 60_000],
  );
  for (const kind of ["denied", "missing", "full", "invalid"] as const) {
    assert.equal(backoffMs(kind, 1, null), 300_000);
  }
  assert.equal(backoffMs("throttled", 1, 20_000), 20_000);
  assert.equal(
    backoffMs("throttled", 1, 86_400_000),
    300_000,
    "no backend may silence us for a day",
  );
});
