import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { compareVersions, laterVersion } from "../../forwarder/version.ts";

test("compareVersions() orders decimal integers of any length", () => {
  const version = fc.bigInt({ min: 1n, max: 2n ** 128n });
  fc.assert(
    fc.property(version, version, (a, b) => {
      const order = compareVersions(String(a), String(b));
      assert.equal(Math.sign(order ?? Number.NaN), a < b ? -1 : a > b ? 1 : 0);
    }),
  );
});

test("compareVersions() tells neighbours apart that are one number to JavaScript", () => {
  const version = fc.bigInt({ min: 2n ** 53n, max: 2n ** 128n });
  fc.assert(
    fc.property(version, fc.bigInt({ min: 1n, max: 3n }), (a, more) => {
      assert.ok((compareVersions(String(a), String(a + more)) ?? 0) < 0);
      assert.ok((compareVersions(String(a + more), String(a)) ?? 0) > 0);
    }),
  );
});

test("compareVersions() compares nothing else", () => {
  for (const odd of ["", "0", "007", "1.5", "abc", "-1", "1e3"]) {
    assert.equal(compareVersions(odd, "5"), null);
    assert.equal(compareVersions(odd, odd), 0);
  }
  assert.equal(laterVersion("9", "10"), "10");
  assert.equal(laterVersion("10", "9"), "10");
  assert.equal(laterVersion("abc", "9"), "9");
});
