import { type List, matchesLabels, type Source } from "./list.ts";
import type { Node, PodSelector, Scope, Snapshot } from "./snapshot.ts";

/*
 * What lists ask a cluster's forwarder to look at, and whether it did. A list is answered for only
 * where whatever it selects must have been sent, with every label that it asks for.
 */

type PodSource = Extract<Source, { kind: "pods" }>;

/** A selector as people write it, and as the API's `labelSelector` has it behind the slash. */
export function selectorText({ namespace, labels }: PodSelector): string {
  const pairs = Object.entries(labels).map(([key, value]) => `${key}=${value}`);
  return pairs.length === 0 ? namespace : `${namespace}/${pairs.toSorted().join(",")}`;
}

/** All that these lists ask the forwarder of one cluster for; ascending, each once. */
export function scopeOf(lists: readonly List[], cluster: string): Scope {
  const sources = lists.flatMap((list) => list.sources);
  const keys = sources.flatMap((source) =>
    source.kind === "nodes" && source.cluster === cluster ? Object.keys(source.labels) : [],
  );
  const selectors = sources.flatMap((source) =>
    source.kind === "pods" && source.cluster === cluster ? [selectorOf(source)] : [],
  );
  return { labels: [...new Set(keys)].toSorted(), pods: eachOnce(selectors) };
}

function selectorOf({ namespace, labels }: PodSource): PodSelector {
  return { namespace, labels };
}

function eachOnce(selectors: readonly PodSelector[]): readonly PodSelector[] {
  const byText = new Map(selectors.map((selector) => [selectorText(selector), selector]));
  return [...byText].toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([, selector]) => selector);
}

/**
 * What must be set at a cluster's forwarder before it answers for a list; null when what it looked
 * at suffices. A forwarder whose settings are right leaves a selector out as long as it may not
 * list the pods, so its role is named, too.
 */
export function missingSettings(list: List, cluster: string, scope: Scope): string | null {
  const keys = new Set<string>();
  const selectors: PodSelector[] = [];
  for (const source of list.sources) {
    if (source.kind !== "nodes" && source.kind !== "pods") continue;
    if (source.cluster !== cluster) continue;
    const missing = source.kind === "nodes" ? missingKeys(source, scope) : unseen(source, scope);
    if (missing === "unselected" && source.kind === "pods") selectors.push(selectorOf(source));
    else for (const key of missing) keys.add(key);
  }
  const parts = [
    ...(keys.size > 0 ? [`KUBE_ALLOWLIST_LABELS must name ${quoted([...keys])}`] : []),
    ...(selectors.length > 0 ? [selectionText(eachOnce(selectors))] : []),
  ];
  return parts.length === 0 ? null : parts.join(", and ");
}

/**
 * Whether nobody can tell that a list leaves a node out, because a label that it asks for was not
 * sent, and none that was says so. False where all labels are known, whatever they say.
 */
export function maySelectNode(
  list: List,
  { cluster, scope }: Pick<Snapshot, "cluster" | "scope">,
  { labels }: Pick<Node, "labels">,
): boolean {
  const isUnknown = (key: string) => !Object.hasOwn(labels, key) && !scope.labels.includes(key);
  return list.sources.some((source) => {
    if (source.kind !== "nodes" || source.cluster !== cluster) return false;
    const unknown = Object.keys(source.labels).filter(isUnknown);
    const known = Object.entries(source.labels).filter(([key]) => !isUnknown(key));
    return unknown.length > 0 && matchesLabels(Object.fromEntries(known), labels);
  });
}

function missingKeys(source: { readonly labels: object }, scope: Scope): readonly string[] {
  return Object.keys(source.labels).filter((key) => !scope.labels.includes(key));
}

/**
 * Of a pod only those labels are sent that the scope names, or the selector that found it. So a
 * selector that is broad enough is not enough: without the labels that a list asks for, none of its
 * pods would be told from the others, and the list would look empty. `unselected` where pods of the
 * list may have been left out altogether.
 */
function unseen(source: PodSource, scope: Scope): readonly string[] | "unselected" {
  const broad = scope.pods.filter(
    ({ namespace, labels }) =>
      namespace === source.namespace && matchesLabels(labels, source.labels),
  );
  const missing = broad.map(({ labels }) =>
    missingKeys(source, scope).filter((key) => !Object.hasOwn(labels, key)),
  );
  const [fewest] = missing.toSorted((a, b) => a.length - b.length);
  return fewest ?? "unselected";
}

function selectionText(selectors: readonly PodSelector[]): string {
  const namespaces = selectors.map(({ namespace }) => namespace);
  return (
    `KUBE_ALLOWLIST_PODS must select ${quoted(selectors.map(selectorText))}, and its role ` +
    `let it list and watch pods in ${quoted(namespaces)}`
  );
}

function quoted(texts: readonly string[]): string {
  const unique = [...new Set(texts)].toSorted();
  return unique.map((text) => JSON.stringify(text)).join(", ");
}
