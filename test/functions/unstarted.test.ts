import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { CARRIERS, fixture } from "./carriers.ts";
import { responseOf, startFunction } from "./platform-process.ts";
import { sourceFile } from "./platform-suite.ts";

/*
 * Function Compute gives the message and the stack of what a handler throws to whoever asked, so a
 * function that cannot start must throw nothing at strangers.
 */

const CANARY = "acme-internal-canary";
const CONFIG = { version: 1, installation: "acme", store: { kind: "memory" }, clusters: {} };

const BROKEN: Readonly<Record<string, readonly [text: string | null, level: string, RegExp]>> = {
  "a level that is none": [
    JSON.stringify({ ...CONFIG, lists: {} }),
    `verbose-${CANARY}`,
    /LOG_LEVEL: .*canary/,
  ],
  "no configuration": [null, "info", /ENOENT.*canary/],
  "a configuration of strange members": [
    JSON.stringify({ ...CONFIG, [CANARY]: 1 }),
    "info",
    /canary/,
  ],
  "a configuration that is no JSON": [`{ "${CANARY}": `, "info", /Cannot read JSON/],
};

const TEST_MS = 60_000;

for (const name of ["webhook", "read", "resync"] as const) {
  test(`${name} tells its log alone why it cannot start, and starts once that is mended`, {
    timeout: TEST_MS,
  }, async (t) => {
    const folder = mkdtempSync(join(tmpdir(), `kube-allowlist-${CANARY}-`));
    t.after(() => rmSync(folder, { recursive: true, force: true }));
    const path = join(folder, "allowlist.json");
    for (const [what, [text, level, reason]] of Object.entries(BROKEN)) {
      rmSync(path, { force: true });
      if (text !== null) writeFileSync(path, text);
      const env = { KUBE_ALLOWLIST_CONFIG: path, KUBE_ALLOWLIST_LOG_LEVEL: level };
      const begun = await startFunction(sourceFile(name), { node: process.execPath, folder, env });
      try {
        const lines = () => begun.lines().map((line) => JSON.parse(line));
        const invoke = () => {
          const carrier = CARRIERS.find(({ asBytes }) => asBytes);
          assert(carrier !== undefined);
          const request = { method: "GET", path: "/v1/none", headers: [], body: Buffer.alloc(0) };
          const event = name === "resync" ? {} : carrier.eventOf(request);
          const bytes = Buffer.from(JSON.stringify(event));
          return begun.invoke({ event: bytes, context: fixture("fc-context") });
        };
        for (const count of [1, 2]) {
          if (name === "resync") {
            await assert.rejects(invoke(), {
              message: "Cannot start: the function's log says why",
            });
          } else {
            const response = responseOf(await invoke()) as { readonly headers?: object };
            assertUnavailable(response);
            assert(!JSON.stringify(response).includes(CANARY), what);
          }
          // The pipe is read by another process than wrote it.
          for (let turn = 0; turn < 400 && lines().length < count; turn += 1) {
            await new Promise((resolve) => setTimeout(resolve, 5));
          }
        }
        for (const { level: said, error, message, ...more } of lines()) {
          assert.deepEqual([said, message], ["ERROR", "Cannot start: mend the configuration"]);
          assert.match(error, reason, what);
          assert.equal(more.function_request_id, "1-64f6cd87-0123456789abcdef");
          assert.equal(more.cold_start, true);
        }
        assert.equal(lines().length, 2, "one line for each event");
        if (level !== "info") continue;
        writeFileSync(path, JSON.stringify({ ...CONFIG, lists: {} }));
        const mended = await invoke();
        if (name === "resync") assert.deepEqual(mended, { lists: [] });
        else assert.notEqual(responseOf(mended).statusCode, 503);
      } finally {
        await begun.stop();
      }
    }
  });
}

function assertUnavailable(response: object): void {
  const { statusCode, headers, body } = response as {
    readonly statusCode: number;
    readonly headers: Readonly<Record<string, string>>;
    readonly body: string;
  };
  assert.equal(statusCode, 503);
  assert.deepEqual(headers, {
    "content-type": "application/problem+json",
    "cache-control": "no-store",
    "retry-after": "5",
  });
  const { type, detail, ...rest } = JSON.parse(body);
  assert.match(type, /unavailable/);
  assert.equal(detail, "Cannot answer: an internal error; see the receiver's log");
  assert.deepEqual(Object.keys(rest).toSorted(), ["status", "title"]);
}
