import assert from "node:assert/strict";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { pathToFileURL } from "node:url";
import type { acquireLease, lookAt } from "../../lib/stores/lease.ts";
import type { openLog } from "../../lib/stores/log.ts";

export interface Modules {
  readonly openLog: typeof openLog;
  readonly acquireLease: typeof acquireLease;
  readonly lookAt: typeof lookAt;
}

/** What to replace in the source, each exactly once: `[before, after]`. */
export interface Mutation {
  readonly log?: readonly (readonly [string, string])[];
  readonly lease?: readonly (readonly [string, string])[];
}

/**
 * The log and the lease with a bug. Made from the source as it stands, so that the product carries
 * no switches for tests, and a mutant cannot drift away from what it is a mutant of.
 */
export async function mutate(context: TestContext, mutation: Mutation): Promise<Modules> {
  const folder = await mkdtemp(join(tmpdir(), "kube-allowlist-mutant-"));
  context.after(() => rm(folder, { recursive: true, force: true }));
  const load = async (name: "log" | "lease"): Promise<Modules> => {
    const original = new URL(`../../lib/stores/${name}.ts`, import.meta.url);
    let source = await readFile(original, "utf8");
    for (const [before, after] of mutation[name] ?? []) {
      assert.equal(source.split(before).length, 2, `${name}.ts has not exactly one "${before}"`);
      source = source.replace(before, () => after);
    }
    const absolute = source.replace(/ from "([^"]+)"/g, (_, specifier: string) => {
      const url = specifier.startsWith(".")
        ? new URL(specifier, original).href
        : import.meta.resolve(specifier);
      return ` from ${JSON.stringify(url)}`;
    });
    const file = join(folder, `${name}.mts`);
    await writeFile(file, absolute);
    return import(pathToFileURL(file).href);
  };
  const { openLog } = await load("log");
  const { acquireLease, lookAt } = await load("lease");
  return { openLog, acquireLease, lookAt };
}
