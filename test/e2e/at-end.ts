import type { TestContext } from "node:test";

type End = () => unknown;

const ends = new WeakMap<TestContext, End[]>();

/**
 * Runs `end` after the test, the last registered first, and all of them whatever happens: the test
 * runner's own hooks run the other way round and stop at the first failure, and a server that is
 * left keeps the test process from ending. The first failure fails the test.
 */
export function atEnd(t: TestContext, end: End): void {
  const known = ends.get(t);
  if (known) {
    known.push(end);
    return;
  }
  const all = [end];
  ends.set(t, all);
  t.after(async () => {
    const failures: unknown[] = [];
    for (const next of all.toReversed()) {
      try {
        await next();
      } catch (error) {
        failures.push(error);
      }
    }
    if (failures.length > 0) throw failures[0];
  });
}
