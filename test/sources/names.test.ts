import assert from "node:assert/strict";
import test from "node:test";
import type { Family } from "../../lib/core/cidr.ts";
import { NameError, readName } from "../../lib/sources/names.ts";
import { NAT } from "../core/cases.ts";

const never = new AbortController().signal;

type Said = Partial<Record<Family, readonly string[] | string>>;

/** Answers with addresses, or a code. */
const client = (said: Said) => ({
  async resolve(_name: string, family: Family) {
    const answer = said[family] ?? [];
    if (typeof answer === "string") throw new NameError(answer);
    return answer;
  },
});

const outcomeOf = (said: Said, source = NAT) => readName(source, client(said), never);

test("readName() takes all addresses of both families", async () => {
  assert.deepEqual(await outcomeOf({ ipv4: ["8.8.8.8"], ipv6: ["2606:4700::1111"] }), {
    kind: "read",
    cidrs: ["8.8.8.8/32", "2606:4700::1111/128"],
    free: null,
  });
  const one = await outcomeOf({ ipv4: ["8.8.8.8"] });
  assert.equal(one.kind, "read", "a name need not have both");
});

test("readName() fails for an empty answer, a missing name and a broken server, with a way out", async () => {
  const cases: readonly (readonly [Said, RegExp])[] = [
    [{}, /^Cannot read dns\/nat\.example\.com: it has no address; correct the name/],
    [{ ipv4: "ENOTFOUND", ipv6: "ENOTFOUND" }, /there is no such name; correct it/],
    [{ ipv4: "ESERVFAIL", ipv6: "ESERVFAIL" }, /ended in ESERVFAIL; it is tried again/],
    [{ ipv4: "ETIMEOUT", ipv6: [] }, /ended in ETIMEOUT; it is tried again/],
  ];
  for (const [said, message] of cases) {
    const outcome = await outcomeOf(said);
    assert(outcome.kind === "failed");
    assert.match(outcome.message, message);
    assert.deepEqual(outcome.cidrs, []);
  }
});

test("readName() keeps what one family was answered although the other failed, and is not content", async () => {
  const outcome = await outcomeOf({ ipv4: ["8.8.8.8"], ipv6: "ESERVFAIL" });
  assert(outcome.kind === "failed");
  assert.deepEqual(outcome.cidrs, ["8.8.8.8/32"]);
  assert.match(outcome.message, /only one family was answered, the other ended in ESERVFAIL/);
  const alone = await outcomeOf(
    { ipv4: ["8.8.8.8"], ipv6: "ESERVFAIL" },
    { ...NAT, families: ["ipv4"] },
  );
  assert.equal(alone.kind, "read", "who writes the family is not asked for the other");
});

test("readName() takes an answer that is no address for a failed one", async () => {
  const outcome = await outcomeOf({ ipv4: ["8.8.8.8", "8.8.8"] });
  assert(outcome.kind === "failed");
  assert.match(outcome.message, /an answer is no address/);
});

test("readName() goes on with a fault of ours", async () => {
  const broken = { resolve: () => Promise.reject(new TypeError("a bug")) };
  await assert.rejects(readName(NAT, broken, never), TypeError);
});
