import type { List } from "./list.ts";
import type { WithheldReason } from "./report.ts";
import {
  type ClusterVoice,
  isMissingMembers,
  isUnsaid,
  type SourceVoice,
  type Voice,
} from "./voice.ts";

/*
 * What is said where somebody who gives members to a list does not.
 */

/** Why a list waits for somebody, with a way out. */
export interface Silence {
  readonly reason: WithheldReason;
  readonly message: string;
}

/** The first who is silent, as the reason why so many entries stay; null when all were heard. */
export function silenceOf(list: List, voices: readonly Voice[], count: number): Silence | null {
  return silenceAmong(voices, `Cannot remove ${count} entries from "${list.name}"`);
}

function silenceAmong(voices: readonly Voice[], what: string): Silence | null {
  for (const voice of voices) {
    if (voice.kind === "heard" || voice.kind === "retired") continue;
    return "cluster" in voice ? clusterSilence(voice, what) : sourceSilence(voice, what);
  }
  return null;
}

/**
 * A list that could not be looked at is converged only as far as anybody looked: it must say so,
 * with nothing to remove, too. Null when nothing can be missing.
 */
export function missingOf(list: List, voices: readonly Voice[]): Silence | null {
  const voice = voices.find(isMissingMembers);
  if (voice === undefined || voice.kind === "heard" || voice.kind === "retired") return null;
  if ("source" in voice) return sourceSilence(voice, `Cannot tell all members of "${list.name}"`);
  if (voice.kind !== "out-of-scope") return null;
  const message =
    `The forwarder of "${voice.cluster}" does not look at all that this list asks for; ` +
    `${voice.setting}`;
  return { reason: "out-of-scope", message };
}

/** The first who has not said yet what it has for the list; null when all have. */
export function unheardOf(list: List, voices: readonly Voice[]): Silence | null {
  const what = `Cannot begin "${list.name}" with a part of it`;
  return silenceAmong(voices.filter(isUnsaid), what);
}

function clusterSilence(
  voice: Exclude<ClusterVoice, { kind: "heard" | "retired" }>,
  what: string,
): Silence {
  const wayOut = `look at the forwarder there, or set clusters.${voice.cluster}.retired`;
  switch (voice.kind) {
    case "not-heard": {
      const message = `${what}: cluster "${voice.cluster}" was never heard; ${wayOut}`;
      return { reason: "not-heard", message };
    }
    case "stale": {
      const heard = new Date(voice.heardAt).toISOString();
      const message = `${what}: cluster "${voice.cluster}" was last heard at ${heard}; ${wayOut}`;
      return { reason: "stale", message };
    }
    case "out-of-scope": {
      const message =
        `${what}: the forwarder of "${voice.cluster}" does not look there; ` + `${voice.setting}`;
      return { reason: "out-of-scope", message };
    }
    default:
      throw new Error(`Unreachable: ${JSON.stringify(voice satisfies never)}`);
  }
}

function sourceSilence(voice: Exclude<SourceVoice, { kind: "heard" }>, what: string): Silence {
  const { kind: reason, source, heardAt } = voice;
  const read = heardAt === null ? "never read" : `last read at ${new Date(heardAt).toISOString()}`;
  const known = voice.kind === "not-heard" ? voice.message : null;
  const why =
    known === null ? '; see that the resync runs, or take it out of "from"' : `. ${known}`;
  return { reason, message: `${what}: ${source} was ${read}${why}` };
}
