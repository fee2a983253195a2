import type { ForwarderEvent } from "../forwarder/journal.ts";
import type { Cidr } from "../lib/core/cidr.ts";
import type { ListReport } from "../lib/core/report.ts";
import { makeLogger } from "../lib/logger.ts";
import { type LogFields, type Logger, makeWorld, type World } from "../lib/world.ts";
import { advance, concernsNodes, type Journey, type JourneyEvent, START } from "./journey.ts";
import type { Screen } from "./screen.ts";
import type { Output } from "./shell.ts";

/** One run of `dev`: everything that happens is told to it, and it tells the screen. */
export interface Session {
  /** Its log goes to the screen, its audit lines become part of the journey. */
  readonly world: World;
  hear(event: JourneyEvent): void;
  hearForwarder(event: ForwarderEvent): void;
  /** Lists of an answer or a resync: what became of a list is noted when it changes. */
  hearReports(lists: readonly ListReport[]): void;
  /** What is wrong at each target that failed when it was last heard of. */
  failed(): readonly string[];
  note(text: string): void;
  /** Resolves when the first answer has come: what was there at the start is known by then. */
  readonly begun: Promise<void>;
  journey(): Journey;
  /** Where to show it from now on; what was noted before is not lost. */
  showOn(screen: Screen): void;
}

/**
 * Of somebody's own clusters and targets the audit lines also go to `auditTo`, where that is not
 * null.
 */
export function makeSession(options: {
  readonly isEmbedded: boolean;
  readonly auditTo: Output | null;
}): Session {
  const { isEmbedded, auditTo } = options;
  let journey = START;
  let isFollowing = false;
  let screen: Screen | null = null;
  let waiting: string[] = [];
  const troubled = new Map<string, string>();
  let begin = () => {};
  const begun = new Promise<void>((resolve) => {
    begin = resolve;
  });

  const note = (text: string) => {
    if (screen === null) waiting = [...waiting, text];
    else screen.note(text);
  };
  const hear = (event: JourneyEvent) => {
    const before = journey;
    journey = advance(journey, event);
    screen?.show(before, journey);
  };
  const world: World = makeWorld(
    sessionLogger({ note, isEmbedded }, (fields) => {
      const written = writtenOf(fields, world.now());
      if (written !== null) hear(written);
      // Of a node its trip tells; of members of other kinds nothing else does.
      const isTold = isFollowing && (written === null || concernsNodes(journey, written.cidrs));
      if (!isTold) note(writeText(fields));
      if (auditTo !== null) makeLogger("error", { log: auditTo, audit: auditTo }).audit(fields);
    }),
  );
  const latest = new Map<string, ListReport>();
  const hearReports = (lists: readonly ListReport[]) => {
    for (const report of lists) {
      latest.set(report.target, report);
      const text = newsOf(report, troubled);
      if (text !== null) note(text);
    }
  };
  return {
    world,
    hear,
    hearReports,
    failed: () =>
      [...latest.values()].flatMap(({ state, message }) => (state === "failed" ? message : [])),
    hearForwarder(event) {
      isFollowing = true;
      const heard = journeyEventOf(event);
      if (heard !== null) hear(heard);
      if (event.kind !== "answered") return;
      hearReports(event.answer.lists);
      begin();
    },
    note,
    begun,
    journey: () => journey,
    showOn(given) {
      screen = given;
      for (const text of waiting) given.note(text);
      waiting = [];
      given.show(START, journey);
    },
  };
}

function journeyEventOf(event: ForwarderEvent): JourneyEvent | null {
  switch (event.kind) {
    case "seen":
      return { kind: "seen", at: event.at, changes: event.changes };
    case "listed":
      return { kind: "listed", at: event.at };
    case "delivered":
      return { kind: "delivered", at: event.at };
    case "answered": {
      const { readyNodes: ready, lists } = event.answer;
      return { kind: "answered", at: event.at, ready, lists };
    }
    default:
      // The rest is told by the log.
      return null;
  }
}

function writeText({ action, entries, list, target, result }: LogFields): string {
  const count = Array.isArray(entries) ? entries.length : 0;
  return `${action} ${count} on ${target} for ${list}: ${result}`;
}

function writtenOf(
  fields: LogFields,
  at: number,
): Extract<JourneyEvent, { kind: "written" }> | null {
  const { action, entries, result } = fields;
  if (result !== "done" || (action !== "add" && action !== "remove")) return null;
  const { target } = fields;
  return {
    kind: "written",
    at,
    target: String(target),
    verb: action,
    cidrs: entries as readonly Cidr[],
  };
}

/** A list's trouble when it begins, changes or ends; null as long as all is as it was. */
function newsOf(report: ListReport, troubled: Map<string, string>): string | null {
  const { list, target, state, reason, message } = report;
  const key = JSON.stringify([list, target]);
  const before = troubled.get(key);
  if (state === "withheld" || state === "failed") {
    troubled.set(key, `${state} ${reason}`);
    return before === `${state} ${reason}` ? null : `${state}, ${reason}: ${message}`;
  }
  if (before === undefined) return null;
  troubled.delete(key);
  return `${list} on ${target} is ${state} again`;
}

function sessionLogger(
  to: { readonly note: (text: string) => void; readonly isEmbedded: boolean },
  audit: (fields: LogFields) => void,
): Logger {
  const say = (fields: LogFields, message: string) => {
    // States are shown as such when they change, not with every run.
    if ("state" in fields) return;
    // An API server of this process needs no encryption.
    if (to.isEmbedded && fields.event === "warning") return;
    const { error } = fields;
    to.note(typeof error === "string" ? `${message}: ${error}` : message);
  };
  return { debug: () => undefined, info: () => undefined, warn: say, error: say, audit };
}
