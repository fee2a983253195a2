import assert from "node:assert/strict";
import { test } from "node:test";
import { jsonResponse } from "../../functions/http.ts";
import { PAYLOAD_BYTES_MAX, withinPayload } from "../../functions/payload.ts";
import { blankReport, type ListReport } from "../../lib/core/report.ts";
import { parseAnswer } from "../../lib/wire/reply.ts";
import { virtualWorld } from "../virtual-world.ts";

/** A report of a list that refuses so many nodes. */
function report(list: string, refused: number): ListReport {
  return {
    ...blankReport(list, `memory/${list}`),
    desired: refused,
    add: Array.from({ length: 5 }, (_, index) => `203.0.113.${index}/32`),
    refused: Array.from({ length: refused }, (_, index) => ({
      address: `10.0.${index >> 8}.${index & 255}`,
      cluster: "eu",
      node: `node-${index}`,
      reason: "out-of-bounds" as const,
    })),
  };
}

function answer(lists: readonly ListReport[]) {
  const ready = ["uid-1", "uid-2"];
  const generation = { epoch: 7, sequence: 1_042 };
  return jsonResponse(200, { generation, readyNodes: ready, unlisted: [], again: 5, lists });
}

function sizeOf(response: unknown): number {
  return Buffer.byteLength(JSON.stringify(response));
}

test("withinPayload() hands on what fits as it is, whatever it is", () => {
  const { log, lines } = virtualWorld();
  const fitting = answer([report("db", 10_000)]);
  for (const value of [fitting, { lists: [] }, undefined, null, "text", { body: 1 }]) {
    assert.equal(withinPayload(value, log), value);
  }
  assert.deepEqual(lines, []);
});

test("withinPayload() shortens reports that no platform would hand over, and nothing else", () => {
  const { log, lines } = virtualWorld();
  const whole = answer(Array.from({ length: 20 }, (_, index) => report(`db-${index}`, 8_000)));
  assert(sizeOf(whole) > 6 * 1024 * 1024, "Lambda would answer 502");
  const response = withinPayload(whole, log) as typeof whole;
  assert(sizeOf(response) <= PAYLOAD_BYTES_MAX);
  assert.deepEqual([response.statusCode, response.headers], [200, whole.headers]);
  const document = JSON.parse(response.body);
  assert.equal(document.shortened, 1_000);
  const parsed = parseAnswer(document);
  assert.deepEqual(parsed?.readyNodes, ["uid-1", "uid-2"]);
  assert.equal(parsed?.again, 5);
  assert.equal(parsed?.lists.length, 20);
  for (const [index, shown] of (parsed?.lists ?? []).entries()) {
    const before = report(`db-${index}`, 8_000);
    assert.deepEqual(shown, { ...before, refused: before.refused.slice(0, 1_000) });
  }
  assert.deepEqual(
    lines.map(({ level, fields }) => [level, fields.shortened]),
    [["warn", 1_000]],
  );
});

test("withinPayload() shows no entry at all where there are very many reports", () => {
  const { log } = virtualWorld();
  const whole = answer(Array.from({ length: 9_000 }, (_, index) => report(`db-${index}`, 20)));
  const response = withinPayload(whole, log) as typeof whole;
  assert(sizeOf(response) <= PAYLOAD_BYTES_MAX);
  const { lists, shortened } = JSON.parse(response.body);
  assert.deepEqual([lists.length, shortened], [9_000, 0]);
});

test("withinPayload() answers 503 where a feed is too long, so that readers keep what they have", () => {
  const { log, lines } = virtualWorld();
  for (const line of ["203.0.113.1/32\n", '"203.0.113.1/32",']) {
    const body = line.repeat(400_000);
    const feed = { statusCode: 200, headers: { etag: '"1"' }, body };
    const response = withinPayload(feed, log) as typeof feed & { headers: object };
    assert.equal(response.statusCode, 503);
    assert.deepEqual(response.headers, {
      "content-type": "application/problem+json",
      "cache-control": "no-store",
      "retry-after": "300",
    });
    assert.match(JSON.parse(response.body).detail, /^Cannot answer: \d+ bytes/);
  }
  assert.deepEqual(
    lines.map(({ level }) => level),
    ["error", "error"],
  );
});
