import { writeSync } from "node:fs";
import { fileStore } from "../../lib/stores/file.ts";

// Puts in a tight loop, several at a time, until somebody kills it. One line for every acknowledged
// put, written at once: what is still in a buffer when the kill comes would look like a lie.
const [folder = "", round = ""] = process.argv.slice(2);
const store = fileStore(folder, { random: () => Math.random() });

async function putForever(lane: number): Promise<never> {
  for (let count = 0; ; count += 1) {
    const key = `v1/crash/${round}-${lane}-${count}.json`;
    const body = JSON.stringify({ key, filling: key.repeat(3_000), end: true });
    if ((await store.put(key, body)) === "created") writeSync(1, `${key}\n`);
  }
}

await Promise.all([0, 1, 2].map(putForever));
