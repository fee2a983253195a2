import assert from "node:assert/strict";
import { test } from "node:test";
import { missingTests, readPage, sectionsOf } from "./named-tests.ts";

/*
 * docs/threats.md says of each threat what is done, what stays open, and which tests protect it.
 */

const THREATS_END = "\n## Bad input\n";
const PARTS = ["**What could happen.**", "**What we do.**", "**What stays open.**"];

/** How many tests each has, so that one that leaves the page does not leave it unseen. */
const THREATS: Readonly<Record<string, number>> = {
  "A node that lies about its address": 4,
  "Addresses or targets in labels and annotations": 4,
  "A cluster that is somebody else's": 6,
  "A stolen token": 6,
  "Replayed and reordered messages": 6,
  "One cluster against another": 10,
  "Everything removed at once": 9,
  "Requests forged through us": 11,
  "Secrets in logs and answers": 12,
  "Tokens that choose how they are verified": 8,
  "Floods and bills": 9,
  "The status page": 7,
  "What we are built from": 10,
};
const BAD_INPUT: Readonly<Record<string, number>> = {
  "Forged tokens": 2,
  "Expired tokens": 2,
  "Tokens for another audience or subject": 2,
  "Tokens of another cluster": 1,
  "Replayed deliveries": 2,
  "Key sets that are huge, slow or redirect": 4,
  "Key sets that rotate in the middle": 4,
  "Events in base64": 4,
  "Headers in odd case": 2,
  "Headers that are repeated": 4,
  "Gzip bombs": 3,
  "Missing and wrong types": 3,
  "Events that are no request": 3,
};

const [before = "", after = ""] = readPage("docs/threats.md").split(THREATS_END);
const threats = sectionsOf(before);
const inputs = sectionsOf(after);

function countsOf(sections: typeof threats): Readonly<Record<string, number>> {
  return Object.fromEntries(sections.map(({ heading, tests }) => [heading, tests.length]));
}

test("docs/threats.md has every threat and every bad input, and none has lost a test", () => {
  assert.deepEqual(countsOf(threats), THREATS);
  assert.deepEqual(countsOf(inputs), BAD_INPUT);
});

test("docs/threats.md says of every threat what is done and what stays open", () => {
  for (const { heading, text } of threats) {
    const places = PARTS.map((part) => text.indexOf(part));
    assert(places[0] !== -1, `${heading}: ${PARTS[0]}`);
    assert.deepEqual(
      places,
      places.toSorted((a, b) => a - b),
      heading,
    );
  }
});

test("docs/threats.md names tests that exist", () => {
  assert.deepEqual(missingTests([...threats, ...inputs]), []);
});

test("missingTests() tells what there is not", () => {
  const tests = [
    { file: "test/threats.test.ts", name: "missingTests() tells what there is not" },
    { file: "test/threats.test.ts", name: "a test that was renamed" },
    { file: "test/functions/event-cases.ts", name: "no type" },
    { file: "test/functions/event-cases.ts", name: "a case that was removed" },
    { file: "test/removed.test.ts", name: "a test" },
  ];
  assert.deepEqual(missingTests([{ heading: "A threat", text: "", tests }]), [
    'A threat: test/threats.test.ts has no test "a test that was renamed"',
    'A threat: test/functions/event-cases.ts has no test "a case that was removed"',
    "A threat: there is no test/removed.test.ts",
  ]);
});
