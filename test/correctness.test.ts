import assert from "node:assert/strict";
import { test } from "node:test";
import { missingTests, readPage, sectionsOf } from "./named-tests.ts";

/*
 * docs/correctness.md says of each statement which tests protect it.
 */

const STATEMENTS = 32;
/** `### 7. Sentence` */
const statements = sectionsOf(readPage("docs/correctness.md"));

test("docs/correctness.md has every statement once, in order, each with a test", () => {
  assert.deepEqual(
    statements.map(({ heading }) => Number(/^\d+/.exec(heading)?.[0])),
    Array.from({ length: STATEMENTS }, (_, index) => index + 1),
  );
  const bare = statements.filter(({ tests }) => tests.length === 0);
  assert.deepEqual(
    bare.map(({ heading }) => heading),
    [],
  );
});

test("docs/correctness.md names tests that exist", () => {
  assert.deepEqual(missingTests(statements), []);
});
