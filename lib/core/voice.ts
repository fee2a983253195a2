import { heardAt } from "./admission.ts";
import { type Cluster, clusterOf, clustersOf, type List, outsidesOf } from "./list.ts";
import type { MembersOptions, Snapshots } from "./members.ts";
import { type OutsideSource, outsideKey, outsideName } from "./outside.ts";
import { type SourceReading, staleAfterMs } from "./reading.ts";
import type { Instant } from "./record.ts";
import type { Refusal } from "./report.ts";
import { missingSettings } from "./scope.ts";

/**
 * What is known of one cluster or outside source of a list. Everything but `heard` and `retired`
 * makes removals wait.
 */
export type Voice = ClusterVoice | SourceVoice;

export type ClusterVoice =
  | { readonly kind: "heard"; readonly cluster: string; readonly receivedAt: Instant }
  | { readonly kind: "retired"; readonly cluster: string }
  | { readonly kind: "not-heard"; readonly cluster: string }
  | { readonly kind: "stale"; readonly cluster: string; readonly heardAt: Instant }
  | { readonly kind: "out-of-scope"; readonly cluster: string; readonly setting: string };

/** Of an outside source, by its name in reports. */
export type SourceVoice =
  /** The good answer that was asked for at `receivedAt` is the last word. */
  | { readonly kind: "heard"; readonly source: string; readonly receivedAt: Instant }
  /** Never read, vanished, the last attempt failed, or it gave nothing that the list may hold. */
  | {
      readonly kind: "not-heard";
      readonly source: string;
      readonly heardAt: Instant | null;
      readonly message: string | null;
      /** For so long that members may be missing, and not only too many. */
      readonly lasting: boolean;
      /** It answers, and the list may hold none of its answers. */
      readonly refused?: true;
    }
  /** Nobody has asked for too long. */
  | { readonly kind: "stale"; readonly source: string; readonly heardAt: Instant };

/**
 * Whether members may be missing that nobody knows of. A list must say so even where it has nothing
 * to remove: or nobody would learn what to mend.
 */
export function isMissingMembers(voice: Voice): boolean {
  if ("cluster" in voice) return voice.kind === "out-of-scope";
  return voice.kind === "stale" || (voice.kind === "not-heard" && voice.lasting);
}

/**
 * Whether it has not said what it has for the list, so that members may be missing which it gave
 * before. One that is stale, or failed after a good answer, still gives what it said last.
 */
export function isUnsaid(voice: Voice): boolean {
  if (voice.kind === "heard" || voice.kind === "retired" || voice.kind === "stale") return false;
  // What was read once counts, whatever failed since; what the list may not hold does not.
  return "cluster" in voice || voice.heardAt === null || voice.refused === true;
}

/**
 * One for each cluster of a list, in ascending order, then for each outside source. `refused` are
 * the answers of those, by key, of which the list may hold none.
 */
export function voicesOf(
  list: List,
  snapshots: Snapshots,
  options: MembersOptions & { readonly refused: ReadonlyMap<string, readonly Refusal[]> },
): readonly Voice[] {
  const { policy, readings, refused, now } = options;
  const clusters = clustersOf(list).map((name) =>
    clusterVoiceOf(list, clusterOf(policy, name), { snapshots, now }),
  );
  const sources = outsidesOf([list]).map((source) => {
    const key = outsideKey(source);
    const voice = sourceVoiceOf(source, readings[key] ?? null, now);
    const refusals = refused.get(key) ?? [];
    return refusals.length === 0 ? voice : refusedVoice(voice, { list, source, refusals });
  });
  return [...clusters, ...sources];
}

function clusterVoiceOf(
  list: List,
  cluster: Cluster,
  options: { readonly snapshots: Snapshots; readonly now: Instant },
): ClusterVoice {
  const name = cluster.name;
  if (cluster.retired) return { kind: "retired", cluster: name };
  const snapshot = options.snapshots[name] ?? null;
  if (snapshot === null) return { kind: "not-heard", cluster: name };
  // Before its age: what an old truth never looked at is not known from it either.
  const setting = missingSettings(list, name, snapshot.scope);
  if (setting !== null) return { kind: "out-of-scope", cluster: name, setting };
  const heard = heardAt(snapshot);
  if (options.now - heard > cluster.staleAfterMs) {
    return { kind: "stale", cluster: name, heardAt: heard };
  }
  return { kind: "heard", cluster: name, receivedAt: snapshot.receivedAt };
}

function sourceVoiceOf(
  source: OutsideSource,
  reading: SourceReading | null,
  now: Instant,
): SourceVoice {
  const name = outsideName(source);
  const heard = reading?.readAt ?? null;
  const trouble = reading?.trouble ?? null;
  // A time from a clock that ran ahead must not count for ever.
  const isOld = heard === null || Math.abs(now - heard) > staleAfterMs(source);
  if (heard === null || trouble !== null) {
    const message = trouble?.message ?? null;
    return { kind: "not-heard", source: name, heardAt: heard, message, lasting: isOld };
  }
  if (isOld) return { kind: "stale", source: name, heardAt: heard };
  return { kind: "heard", source: name, receivedAt: heard };
}

const REFUSALS_SHOWN_MAX = 3;

/**
 * A name whose servers answer 0.0.0.0 or addresses of another network, or a subnet that is too
 * wide, has said nothing that tells what may go: what it gave before stays.
 */
function refusedVoice(
  voice: SourceVoice,
  found: {
    readonly list: List;
    readonly source: OutsideSource;
    readonly refusals: readonly Refusal[];
  },
): SourceVoice {
  const { list, source, refusals } = found;
  const shown = refusals.slice(0, REFUSALS_SHOWN_MAX);
  const more = refusals.length > shown.length ? ", …" : "";
  const answers = shown.map(({ address, reason }) => `${address} (${reason})`).join(", ");
  const setting = source.kind === "name" ? "bounds" : "widest";
  const message =
    `Cannot take any of its addresses for "${list.name}": ${answers}${more}; see who answers ` +
    `there, or correct "${setting}"`;
  const known = voice.kind === "not-heard" ? voice.message : null;
  const heard = voice.kind === "heard" ? voice.receivedAt : voice.heardAt;
  return {
    kind: "not-heard",
    source: voice.source,
    heardAt: heard,
    message: known ?? message,
    lasting: true,
    refused: true,
  };
}
