import assert from "node:assert/strict";
import test from "node:test";
import { missingOf, silenceOf, unheardOf } from "../../lib/core/silence.ts";
import type { SourceVoice } from "../../lib/core/voice.ts";
import { START } from "../virtual-world.ts";
import { list } from "./cases.ts";

const source = "dns/nat.example.com";
const HEARD = { kind: "heard", cluster: "eu", receivedAt: START } as const;

function unread(given: Partial<Extract<SourceVoice, { kind: "not-heard" }>> = {}): SourceVoice {
  const message = "Cannot read it: no answer";
  return { kind: "not-heard", source, heardAt: START, message, lasting: true, ...given };
}

test("unheardOf() lets a list begin with what a source said once, whatever failed since", () => {
  assert.equal(unheardOf(list(), [HEARD, unread()]), null);
  assert.equal(unheardOf(list(), [HEARD, { kind: "stale", source, heardAt: START }]), null);
  const never = unheardOf(list(), [HEARD, unread({ heardAt: null })]);
  assert.equal(never?.reason, "not-heard");
  assert.equal(
    never.message,
    'Cannot begin "db" with a part of it: dns/nat.example.com was never read. Cannot read it: ' +
      "no answer",
  );
});

test("unheardOf() lets no list begin while all that a source says is refused", () => {
  assert.equal(unheardOf(list(), [HEARD, unread({ refused: true })])?.reason, "not-heard");
});

test("silenceOf() and missingOf() say what is refused of a source", () => {
  const voices = [HEARD, unread({ refused: true, message: "Cannot take any: 0.0.0.0" })];
  for (const silence of [silenceOf(list(), voices, 1), missingOf(list(), voices)]) {
    assert.equal(silence?.reason, "not-heard");
    assert.match(silence.message, /2026.*Z\. Cannot take any: 0\.0\.0\.0$/);
  }
});
