import assert from "node:assert/strict";
import { test } from "node:test";
import { findDrift } from "../../cli/drift.ts";
import { blankReport, type ListReport } from "../../lib/core/report.ts";
import type { Status } from "../../lib/survey.ts";

const NOW = "2026-11-20T21:00:00.000Z";
const LATER = "2026-11-20T21:05:00.000Z";
const EARLIER = "2026-11-20T20:55:00.000Z";
const ENTRY = "203.0.113.1/32";

function report(given: Partial<ListReport>): ListReport {
  return { ...blankReport("db", "memory/one"), state: "converged", reason: null, ...given };
}

function status(...lists: readonly ListReport[]): Status {
  return { version: 1, installation: "acme", at: NOW, clusters: [], sources: [], lists };
}

const leaves = (until: string) => [{ cidr: ENTRY, since: EARLIER, until }];

test("findDrift() finds nothing where a target is what its list says", () => {
  assert.deepEqual(findDrift(status(report({})), status()), []);
});

test("findDrift() finds what is missing and what may go", () => {
  const seen = report({ add: ["203.0.113.2/32"], remove: [ENTRY] });
  assert.deepEqual(findDrift(status(seen), status()), [
    {
      list: "db",
      target: "memory/one",
      missing: ["203.0.113.2/32"],
      unexpected: [ENTRY],
      failure: null,
    },
  ]);
});

test("findDrift() expects an entry in its grace, but not one whose clock nobody started", () => {
  const seen = status(report({ state: "pending", reason: "grace", leaving: leaves(LATER) }));
  assert.deepEqual(findDrift(seen, status(report({ leaving: leaves(LATER) }))), []);
  assert.deepEqual(findDrift(seen, status(report({})))[0]?.unexpected, [ENTRY]);
  const other = report({ target: "memory/two", leaving: leaves(LATER) });
  assert.deepEqual(findDrift(seen, status(other))[0]?.unexpected, [ENTRY], "of another target");
});

test("findDrift() expects no entry that outlived its grace because removals are withheld", () => {
  const remembered = status(report({ leaving: leaves(EARLIER) }));
  const overdue = { leaving: leaves(EARLIER) };
  const withheld = status(report({ ...overdue, state: "withheld", reason: "stale" }));
  assert.deepEqual(findDrift(withheld, remembered)[0]?.unexpected, [ENTRY]);
  // The next snapshot, which lets it go, may be on its way.
  const pending = status(report({ ...overdue, state: "pending", reason: "grace" }));
  assert.deepEqual(findDrift(pending, remembered), []);
});

test("findDrift() counts what could not be compared, and not the surplus of lists that only add", () => {
  const failed = report({ state: "failed", reason: "denied", message: "Cannot read" });
  assert.equal(findDrift(status(failed), status())[0]?.failure, "Cannot read");
  const surplus = report({ state: "converged", reason: "add-only", owned: 3, desired: 2 });
  assert.deepEqual(findDrift(status(surplus), status()), []);
});
