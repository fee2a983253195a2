import { AsyncLocalStorage } from "node:async_hooks";
import { type Store, StoreError } from "../lib/stores/store.ts";
import type { LogFields, Logger } from "../lib/world.ts";
import type { MetricName } from "./metrics.ts";

/*
 * What is said and counted of one event that a function works on. It follows the work, so that also
 * those who know nothing of events, as a vendor's file, log under the delivery that they act for;
 * and events that are worked on at the same time, as in `serve`, are told apart.
 */

interface Run {
  fields: LogFields;
  readonly values: Map<MetricName, number>;
}

const runs = new AsyncLocalStorage<Run>();

/** Works on one event. What its lines say, and those of the run around it, begins with `fields`. */
export function inRun<T>(fields: LogFields, work: () => T): T {
  const outer = runs.getStore()?.fields;
  return runs.run({ fields: { ...outer, ...fields }, values: new Map() }, work);
}

/** From now on every line of this run says `fields`, too. They must have been authenticated. */
export function tellRun(fields: LogFields): void {
  const run = runs.getStore();
  if (run !== undefined) run.fields = { ...run.fields, ...fields };
}

/** What every line of this run says. */
export function runFields(): LogFields {
  return runs.getStore()?.fields ?? {};
}

/** Adds to what has happened in this run. */
export function countInRun(name: MetricName, by = 1): void {
  const values = runs.getStore()?.values;
  if (by > 0) values?.set(name, (values.get(name) ?? 0) + by);
}

/** Measured in this run; what was said before of the same is forgotten. */
export function measureInRun(name: MetricName, value: number): void {
  runs.getStore()?.values.set(name, value);
}

export function runValues(): ReadonlyMap<MetricName, number> {
  return runs.getStore()?.values ?? new Map();
}

/**
 * The same log, which says of each line what is said of its run, and counts what audit lines tell.
 */
export function runLog(log: Logger): Logger {
  const say =
    (level: "debug" | "info" | "warn" | "error") => (fields: LogFields, message: string) =>
      log[level]({ ...runFields(), ...fields }, message);
  return {
    debug: say("debug"),
    info: say("info"),
    warn: say("warn"),
    error: say("error"),
    audit(fields) {
      countWrite(fields);
      log.audit({ ...runFields(), ...fields });
    },
  };
}

function countWrite({ action, entries, instead, result }: LogFields): void {
  if (result !== "done") {
    countInRun("WritesFailed");
    return;
  }
  const added = action === "add" ? entries : instead;
  countInRun("EntriesAdded", Array.isArray(added) ? added.length : 0);
  const removed = action === "remove" ? entries : [];
  countInRun("EntriesRemoved", Array.isArray(removed) ? removed.length : 0);
}

/** The same store, whose failures are counted. */
export function countedStore(store: Store): Store {
  const watch = async <T>(work: () => Promise<T>): Promise<T> => {
    try {
      return await work();
    } catch (error) {
      if (error instanceof StoreError) countInRun("StoreFailures");
      throw error;
    }
  };
  return {
    put: (key, body, signal) => watch(() => store.put(key, body, signal)),
    get: (key, signal) => watch(() => store.get(key, signal)),
    list: (prefix, limit, signal) => watch(() => store.list(prefix, limit, signal)),
    delete: (key, signal) => watch(() => store.delete(key, signal)),
  };
}
