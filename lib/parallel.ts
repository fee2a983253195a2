/** Objects worked on, or sources asked, at the same time. */
const PARALLEL_MAX = 8;

/** Some at a time, in the given order. Rejects with the first rejection, if `work` does. */
export async function inParallel<T>(
  items: readonly T[],
  work: (item: T) => Promise<void>,
): Promise<void> {
  const queue = [...items];
  const worker = async () => {
    for (let item = queue.shift(); item !== undefined; item = queue.shift()) await work(item);
  };
  await Promise.all(Array.from({ length: Math.min(PARALLEL_MAX, queue.length) }, worker));
}
