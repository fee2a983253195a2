import { FAMILIES, type Family, familyOf } from "../core/cidr.ts";
import type { Bounds, Cluster, List, Source } from "../core/list.ts";
import { scopeOf } from "../core/scope.ts";
import { LABELS_MAX, SCOPE_PODS_MAX } from "../core/snapshot.ts";
import type { Kinds, ParsedList } from "./list.ts";
import type { Reader } from "./problems.ts";

/*
 * What is right part by part and cannot work together. Found here, before anything is called.
 */

/** A target that holds none of the families that its list can ever have. */
export function refuseStrangeFamilies(
  lists: readonly ParsedList[],
  clusters: Readonly<Record<string, Cluster>>,
  options: { readonly kinds: Kinds; readonly reader: Reader },
): void {
  for (const { name, list, targets } of lists) {
    if (list === null) continue;
    const possible = familiesOf(list, clusters);
    if (possible.size === 0) {
      const message =
        `Cannot keep list "${name}": nothing that its sources can give lies within their bounds; ` +
        "correct the bounds";
      options.reader.add(["lists", name, "from"], message);
      continue;
    }
    for (const { index, target } of targets) {
      const held = options.kinds[target.kind]?.traits(target.settings).families ?? FAMILIES;
      if (held.some((family) => possible.has(family))) continue;
      const message =
        `Cannot keep list "${name}" on ${target.name}: it holds ${textOf(held)} only, and the ` +
        `list can only ever have ${textOf([...possible])}${becauseOf(list, clusters)}; take the ` +
        `target out, or give the list's sources addresses of that family`;
      options.reader.add(["lists", name, "targets", index], message);
    }
  }
}

/** What people do not see at once: that bounds of nodes are none of their pods. */
function becauseOf(list: List, clusters: Readonly<Record<string, Cluster>>): string {
  const source = list.sources.find(
    (one) => one.kind === "pods" && clusters[one.cluster]?.bounds === "public",
  );
  if (source?.kind !== "pods") return "";
  return ` (bounds [public] of "${source.cluster}" take no pod with a private address)`;
}

/** What no message has room for: no forwarder could ever answer for these lists. */
export function refuseUnsayableScopes(
  lists: readonly ParsedList[],
  clusters: readonly string[],
  reader: Reader,
): void {
  const whole = lists.flatMap(({ list }) => (list === null ? [] : [list]));
  for (const name of clusters) {
    const { labels, pods } = scopeOf(whole, name);
    const keys = new Set([...labels, ...pods.flatMap((selector) => Object.keys(selector.labels))]);
    const what = `Cannot ask the forwarder of "${name}" for`;
    if (pods.length > SCOPE_PODS_MAX) {
      const wayOut = `at most ${SCOPE_PODS_MAX} fit into a message; select the pods by fewer`;
      reader.add(["clusters", name], `${what} ${pods.length} selectors of pods: ${wayOut}`);
    }
    if (keys.size > LABELS_MAX) {
      const wayOut = `at most ${LABELS_MAX} fit into a message; select by fewer labels`;
      reader.add(["clusters", name], `${what} ${keys.size} labels: ${wayOut}`);
    }
  }
}

function textOf(families: readonly Family[]): string {
  return families.map((family) => (family === "ipv4" ? "IPv4" : "IPv6")).join(" and ");
}

function familiesOf(list: List, clusters: Readonly<Record<string, Cluster>>): ReadonlySet<Family> {
  return new Set(list.sources.flatMap((source) => familiesOfSource(source, clusters)));
}

/** Those that bounds or the addresses themselves leave open; both where nothing is known. */
function familiesOfSource(
  source: Source,
  clusters: Readonly<Record<string, Cluster>>,
): readonly Family[] {
  switch (source.kind) {
    case "static":
      return source.cidrs.map(familyOf);
    case "subnets":
      return FAMILIES;
    case "dns": {
      const allowed = within(source.bounds);
      return source.names.flatMap((one) => one.families.filter((each) => allowed.includes(each)));
    }
    case "pods": {
      const bounds = clusters[source.cluster]?.bounds ?? "public";
      // Pods have private addresses in IPv4; in IPv6 the whole internet can route to theirs.
      return bounds === "public" ? ["ipv6"] : within(bounds);
    }
    case "nodes": {
      const bounds = clusters[source.cluster]?.bounds ?? "public";
      const isOfNetworks = source.addresses.every((each) => each === "podCidrs");
      // Public bounds take single hosts only, and a node's pods have a network.
      return bounds === "public" && isOfNetworks ? [] : within(bounds);
    }
    default:
      throw new Error(`Unreachable: ${JSON.stringify(source satisfies never)}`);
  }
}

function within(bounds: Bounds): readonly Family[] {
  return bounds === "public" ? FAMILIES : bounds.map(familyOf);
}
