import assert from "node:assert/strict";

const SOON_MS = 4_000;
const LOOK_EVERY_MS = 2;

/** The result of what ought to end at once; fails where it would else be waited for in vain. */
export async function soon<T>(work: Promise<T>, what: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    const error = new assert.AssertionError({ message: `${what}: not within ${SOON_MS} ms` });
    timer = setTimeout(() => reject(error), SOON_MS);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Waits for something to become true that ought to at once. */
export async function until(
  condition: () => boolean | Promise<boolean>,
  what: string,
): Promise<void> {
  for (let waitedMs = 0; !(await condition()); waitedMs += LOOK_EVERY_MS) {
    assert(waitedMs < SOON_MS, `${what}: not within ${SOON_MS} ms`);
    await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
  }
}
