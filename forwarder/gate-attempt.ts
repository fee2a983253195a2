import type { Instant } from "../lib/core/record.ts";
import { patchFor } from "./gate-patch.ts";
import { type Opening, openingOf, type Wish } from "./gate-sight.ts";
import type { NamedNode } from "./journal.ts";
import { isRecord, recordAt, textAt } from "./json.ts";
import { type Kube, KubeError } from "./kube.ts";
import { errorText } from "./signal.ts";

/** What became of one attempt to write on a node. */
export type Outcome =
  /** It is as wished; `opened`: by us, and it was shut before. */
  | { readonly kind: "written"; readonly wish: Wish; readonly opened: Opening | null }
  /** There is no node of this name and uid. */
  | { readonly kind: "gone" }
  /** Nothing is wished for any more, now that the node was read. */
  | { readonly kind: "dropped" }
  | {
      readonly kind: "failed";
      readonly message: string;
      /** People are needed. */
      readonly lasting: boolean;
      /** Not even the node could be read, or the server wants to be left alone. */
      readonly isAway: boolean;
      /** The node may have been let go by us: a patch was not answered. */
      readonly unsure: Opening | null;
      readonly retryAfterMs: number | null;
    };

export interface AttemptOptions {
  readonly kube: Kube;
  readonly now: () => Instant;
  readonly signal: AbortSignal;
  /** What is wished of the node when it is as in this object; asked right before it is written. */
  readonly wishFor: (object: unknown) => Wish | null;
}

const TRIES_MAX = 5;
const REQUEST_TIMEOUT_MS = 10_000;

/**
 * Reads a node and writes what is wished of it, again and again while others write at the same
 * moment. Rejects only with the signal's reason; what the API server refuses is an outcome.
 */
export async function attempt(node: NamedNode, options: AttemptOptions): Promise<Outcome> {
  const { kube, signal } = options;
  const path = `/api/v1/nodes/${encodeURIComponent(node.name)}`;
  const request = { signal, timeoutMs: REQUEST_TIMEOUT_MS };
  let unsure: Opening | null = null;
  let last: KubeError | null = null;
  for (let tries = 0; tries < TRIES_MAX; tries += 1) {
    let isRead = false;
    try {
      const object = await kube.read(path, request);
      isRead = true;
      if (!isRecord(object) || textAt(recordAt(object, "metadata"), "uid") !== node.uid) {
        return { kind: "gone" };
      }
      const wish = options.wishFor(object);
      if (wish === null) return { kind: "dropped" };
      const patch = patchFor(object, wish, options.now());
      if (patch === null) return { kind: "dropped" };
      if (patch.opens) unsure = openingOf(wish);
      await kube.patch(patch.form, patch.path, { ...request, body: patch.body });
      return { kind: "written", wish, opened: patch.opens ? openingOf(wish) : null };
    } catch (error) {
      if (signal.aborted) throw error;
      const failure = error instanceof KubeError ? error : new KubeError(errorText(error));
      if (failure.status === 404) return { kind: "gone" };
      // A refusal was certainly not applied; silence and a server's error may hide anything.
      if (isRefusal(failure)) unsure = null;
      if (!isConflict(failure)) return failureOf(failure, { unsure, isRead });
      last = failure;
    }
  }
  const words = last === null ? "" : `; last: ${last.message}`;
  const message = `Cannot move the gate of ${node.name}: it changed ${TRIES_MAX} times meanwhile`;
  const outcome = { lasting: false, isAway: false, unsure, retryAfterMs: null };
  return { kind: "failed", message: `${message}${words}`, ...outcome };
}

/**
 * A failed test of a JSON Patch is 422, a version or a uid of the past is 409. Admission may answer
 * with any code (a ValidatingAdmissionPolicy with 422 unless it says otherwise), and says the same
 * however often it is asked.
 */
function isConflict(failure: KubeError): boolean {
  return [409, 422].includes(failure.status ?? 0) && !isDenial(failure);
}

/** "admission webhook … denied the request", "ValidatingAdmissionPolicy … denied request". */
function isDenial({ message }: KubeError): boolean {
  return /\bdenied (the )?request\b/.test(message);
}

function isRefusal({ status }: KubeError): boolean {
  return status !== null && status < 500;
}

const GRANT =
  "grant this account what the ClusterRole kube-allowlist-gate has, and see that the admission " +
  "policy of the gate names this account and taint";
const ADMIT =
  "let the policy or webhook that is named there admit what the gate writes; the gate's own " +
  "policy must name its taint";

function failureOf(
  error: KubeError,
  { unsure, isRead }: { readonly unsure: Opening | null; readonly isRead: boolean },
): Outcome {
  const { status, retryAfterMs } = error;
  // Admission that fails for one node gives 500, 403 or silence; it has no say in reading.
  const isAway = !isRead || status === 401 || status === 429;
  const wayOut = isDenial(error) ? ADMIT : status === 403 ? GRANT : null;
  const lasting = wayOut !== null;
  const message = lasting ? `${error.message}; ${wayOut}` : error.message;
  return { kind: "failed", message, lasting, isAway, unsure, retryAfterMs };
}
