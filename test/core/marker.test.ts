import assert from "node:assert/strict";
import test from "node:test";
import { markerOf, markerText, ownership } from "../../lib/core/marker.ts";

const OWNER = { installation: "acme", list: "db", formerly: ["database"] };

test("markerOf() gives fifteen characters of the alphabet that every vendor takes", () => {
  for (const name of ["db", "a", "z".repeat(32), "0-0"]) {
    assert.match(markerOf("acme", name), /^ka1[a-z2-7]{12}$/);
  }
});

test("markerOf() is constant: what stands on targets today must be recognised tomorrow", () => {
  assert.equal(markerOf("acme", "payments-db"), "ka1qivthbj4srqw");
});

test("markerOf() tells installations apart, and lists within one", () => {
  assert.equal(markerOf("acme", "db").slice(0, 8), markerOf("acme", "web").slice(0, 8));
  assert.notEqual(markerOf("acme", "db"), markerOf("acme", "web"));
  assert.notEqual(markerOf("acme", "db").slice(0, 8), markerOf("other", "db").slice(0, 8));
});

test("ownership() reads the marker only, as a whole word at the beginning", () => {
  const whose = ownership(OWNER);
  const marker = markerOf("acme", "db");
  assert.equal(whose(markerText("acme", "db")), "owned");
  assert.equal(whose(marker), "owned");
  assert.equal(whose(`${marker} text that people changed`), "owned");
  assert.equal(whose(` ${marker}`), "foreign");
  assert.equal(whose(`${marker}x`), "foreign");
  assert.equal(whose(`not ${marker}`), "foreign");
  assert.equal(whose("acme/db"), "foreign");
  assert.equal(whose(""), "foreign");
  assert.equal(whose(null), "foreign");
});

test("ownership() claims former names, leaves other lists orphaned and other installations alone", () => {
  const whose = ownership(OWNER);
  assert.equal(whose(markerText("acme", "database")), "owned");
  assert.equal(whose(markerText("acme", "web")), "orphaned");
  assert.equal(whose(markerText("other", "db")), "foreign");
});
