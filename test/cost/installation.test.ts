import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { memoryStore } from "../../lib/stores/memory.ts";
import type { World } from "../../lib/world.ts";
import { vendors } from "../stores/buckets.ts";
import {
  type Counts,
  countDay,
  countedStore,
  difference,
  KINDS,
  openInstallation,
} from "./installation.ts";

/*
 * What an installation asks for in a month stands in the README. It is counted here, at every run.
 */

const LIMIT = { timeout: 240_000 };
const README = join(import.meta.dirname, "../../README.md");
/** All of a day comes again every day: the resync, its looks, trims, heartbeats on average. */
const DAYS = 30;
const MINUTE_MS = 60_000;
const HOUR_MS = 3_600_000;
const CHANGES = 50;

function table(quiet: Counts, busy: Counts): string {
  const days = [quiet, busy];
  const row = (name: string, cells: readonly string[]) => `| ${name} | ${cells.join(" | ")} |`;
  const month = (count: number) => (count * DAYS).toLocaleString("en-US");
  const counted = (name: string, of: (day: Counts) => number) =>
    row(
      name,
      days.map((day) => month(of(day))),
    );
  return [
    row("30 days, one cluster, five targets", ["no node changes", `${CHANGES} changes a day`]),
    "|---|--:|--:|",
    counted("invocations of the webhook", ({ webhook }) => webhook),
    counted("invocations of the resync", ({ resync }) => resync),
    counted("store: PUT", ({ store }) => store.put),
    counted("store: LIST", ({ store }) => store.list),
    counted("store: GET", ({ store }) => store.get),
    counted("store: DELETE", ({ store }) => store.put),
    ...KINDS.map((kind) =>
      row(
        `\`${kind}\`: reads + writes`,
        days.map(({ reads, writes }) => `${month(reads[kind] ?? 0)} + ${month(writes[kind] ?? 0)}`),
      ),
    ),
  ].join("\n");
}

test(
  "README.md says what an installation asks for in a month, as it is counted",
  LIMIT,
  async () => {
    const counted = table(await countDay(0), await countDay(CHANGES));
    const written = /<!-- cost -->\n([\s\S]*?)\n<!-- \/cost -->/.exec(
      readFileSync(README, "utf8"),
    )?.[1];
    assert.equal(written, counted, `between the marks must stand:\n${counted}\n`);
  },
);

const sum = (counts: Readonly<Record<string, number>>) =>
  Object.values(counts).reduce((all, one) => all + one, 0);

test(
  "resync without news asks once for each log, and writes twice for each look at a target",
  LIMIT,
  async () => {
    const installation = await openInstallation();
    try {
      await installation.live(HOUR_MS + 1, 0);
      const logs = 1 + KINDS.length;
      let looks = 0;
      for (let minute = 0; minute < 15; minute += 1) {
        const before = installation.counts();
        await installation.live(MINUTE_MS, 0);
        const { webhook, reads, store } = difference(installation.counts(), before);
        // In others a heartbeat came.
        if (webhook > 0) continue;
        looks += sum(reads);
        assert.deepEqual(store, { put: 2 * sum(reads), list: logs, get: logs });
      }
      assert(looks >= KINDS.length, `${looks} looks`);
    } finally {
      await installation.close();
    }
  },
);

/** The product's own S3 store over the embedded storage, where each request is counted. */
function bucket(world: World): ReturnType<typeof countedStore> {
  const [vendor] = vendors;
  assert(vendor !== undefined);
  const storage = vendor.storage({ now: world.now });
  const calls = (verb: string) =>
    storage.requests.filter((one) => one.split(" ")[0] === verb).length;
  const own = { ...world, fetch: storage.fetch };
  return {
    store: vendor.store({ endpoint: "http://127.0.0.1:9", world: own }),
    counts: () => ({ put: calls("put"), list: calls("list"), get: calls("get") }),
  };
}

test("countedStore() counts what a bucket of S3 is asked for", LIMIT, async () => {
  const hour = async (open: Parameters<typeof openInstallation>[0]) => {
    const installation = await openInstallation(open);
    try {
      await installation.live(10 * MINUTE_MS, 0);
      const before = installation.counts();
      await installation.live(HOUR_MS, 4);
      return difference(installation.counts(), before);
    } finally {
      await installation.close();
    }
  };
  const counted = await hour((world) => countedStore(memoryStore(world)));
  assert.deepEqual(await hour(bucket), counted);
});
