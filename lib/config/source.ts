import { FAMILIES, sortCidrs } from "../core/cidr.ts";
import { digestOf } from "../core/digest.ts";
import type { List, Source } from "../core/list.ts";
import {
  type DnsName,
  type OutsideSource,
  outsideKey,
  outsideName,
  type Subnet,
} from "../core/outside.ts";
import { alibabaSubnetShape, awsSubnetShape } from "../sources/subnet-shape.ts";
import { boundsOf, refuseMixedBounds, widestOf } from "./cluster.ts";
import { type Path, type Reader, shownText, unknownMessage } from "./problems.ts";
import { isRecord, itemsOf, recordOf } from "./raw.ts";
import { dnsItemShape, dnsShape, sourceShapes, subnetsShape } from "./shape.ts";

/** The keys that say what an item of `from` is; `cluster` belongs to two of them. */
const SOURCE_KINDS = ["dns", "nodes", "pods", "static", "subnets"] as const;
const PLAIN_NAME = /^[A-Za-z0-9.-]{1,253}$/;
const DNS_INTERVAL_DEFAULT_MS = 60_000;

export interface SourceContext {
  readonly reader: Reader;
  readonly clusters: readonly string[];
}

/** One item of `from`; whatever is wrong with it is added to the reader. */
export function parseSource(raw: unknown, at: Path, context: SourceContext): Source | null {
  const { reader } = context;
  const given = recordOf(raw);
  if (isRecord(raw)) refuseUnknownCluster(given.cluster, [...at, "cluster"], context);
  const kinds = SOURCE_KINDS.filter((kind) => given[kind] !== undefined);
  if (kinds.length > 1) {
    const message =
      `Cannot take ${kinds.join(" and ")} from one item: an item is of one kind of source; write ` +
      "an item for each";
    reader.add(at, message);
    return null;
  }
  if (given.static !== undefined) {
    const parsed = reader.check(sourceShapes.static, raw, at);
    return parsed && { kind: "static", cidrs: sortCidrs(parsed.static) };
  }
  if (given.subnets !== undefined) return parseSubnets(raw, at, reader);
  if (given.dns !== undefined) return parseDns(raw, at, reader);
  if (given.pods !== undefined) return parsePods(raw, at, reader);
  const parsed = reader.check(sourceShapes.nodes, raw, at);
  if (parsed === null) return null;
  return {
    kind: "nodes",
    cluster: parsed.cluster,
    labels: sortKeys(parsed.nodes),
    addresses: [...new Set(parsed.addresses)].toSorted(),
  };
}

function parsePods(raw: unknown, at: Path, reader: Reader): Source | null {
  const { pods } = recordOf(raw);
  // As the forwarder's own setting has it.
  if (typeof pods === "string") {
    const example = "{ namespace: pay, labels: { app: api } }";
    return refuseText(pods, { at: [...at, "pods"], reader, example });
  }
  const parsed = reader.check(sourceShapes.pods, raw, at);
  if (parsed === null) return null;
  const { namespace, labels } = parsed.pods;
  return { kind: "pods", cluster: parsed.cluster, namespace, labels: sortKeys(labels) };
}

function sortKeys(labels: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  return Object.fromEntries(Object.entries(labels).toSorted(([a], [b]) => (a < b ? -1 : 1)));
}

function refuseUnknownCluster(name: unknown, at: Path, { reader, clusters }: SourceContext): void {
  if (typeof name !== "string" || clusters.includes(name)) return;
  reader.add(at, unknownMessage("cluster", name, clusters.toSorted()));
}

function parseSubnets(raw: unknown, at: Path, reader: Reader): Source | null {
  const parsed = reader.check(subnetsShape, raw, at);
  const subnets = itemsOf(recordOf(raw).subnets).map((item, index) =>
    parseSubnet(item, [...at, "subnets", index], reader),
  );
  if (parsed === null || subnets.includes(null)) return null;
  return {
    kind: "subnets",
    subnets: byKey(subnets.filter((subnet) => subnet !== null)),
    widest: widestOf(parsed.widest),
  };
}

/** The key of the id says whose subnet it is, and so which other keys there may be. */
function parseSubnet(raw: unknown, at: Path, reader: Reader): Subnet | null {
  if (typeof raw === "string") {
    const example = raw.startsWith("vsw-")
      ? "{ alibaba: vsw-…, region: cn-beijing }"
      : "{ aws: subnet-…, region: eu-west-1 }";
    return refuseText(raw, { at, reader, example });
  }
  const { alibaba, aws } = recordOf(raw);
  if (isRecord(raw) && (alibaba === undefined) === (aws === undefined)) {
    const message =
      'Cannot tell whose subnet this is: write one of alibaba: "vsw-…" and aws: "subnet-…"';
    reader.add(at, message);
    return null;
  }
  if (alibaba !== undefined) {
    const parsed = reader.check(alibabaSubnetShape, raw, at);
    if (parsed === null) return null;
    const { alibaba: id, region, ...settings } = parsed;
    return { kind: "subnet", vendor: "alibaba", region, id, settings };
  }
  const parsed = reader.check(awsSubnetShape, raw, at);
  if (parsed === null) return null;
  const { aws: id, region, ...settings } = parsed;
  return { kind: "subnet", vendor: "aws", region, id, settings };
}

function parseDns(raw: unknown, at: Path, reader: Reader): Source | null {
  const parsed = reader.check(dnsShape, raw, at);
  refuseMixedBounds(recordOf(raw).bounds, [...at, "bounds"], reader);
  const names = itemsOf(recordOf(raw).dns).map((item, index): DnsName | null => {
    if (typeof item === "string") {
      const example = `{ name: ${PLAIN_NAME.test(item) ? item : "nat.example.com"} }`;
      return refuseText(item, { at: [...at, "dns", index], reader, example });
    }
    const found = reader.check(dnsItemShape, item, [...at, "dns", index]);
    if (found === null) return null;
    const families = found.family === undefined ? FAMILIES : [found.family];
    const intervalMs = found.ttlMin ?? DNS_INTERVAL_DEFAULT_MS;
    return { kind: "name", name: found.name, families, intervalMs };
  });
  if (parsed === null || names.includes(null)) return null;
  return {
    kind: "dns",
    names: byKey(names.filter((name) => name !== null)),
    bounds: boundsOf(parsed.bounds ?? ["public"]),
  };
}

/** Where people write the name of a thing alone, whose settings have nowhere to stand then. */
function refuseText(
  text: string,
  options: { readonly at: Path; readonly reader: Reader; readonly example: string },
): null {
  const { at, reader, example } = options;
  reader.add(at, `Cannot use ${shownText(text)}: it is text alone; write it like ${example}`);
  return null;
}

/** In ascending order of key: the order of the file says nothing. */
function byKey<T extends OutsideSource>(sources: readonly T[]): readonly T[] {
  const keyed = sources.map((source) => ({ source, key: outsideKey(source) }));
  return keyed
    .toSorted((a, b) => (a.key === b.key ? 0 : a.key < b.key ? -1 : 1))
    .map(({ source }) => source);
}

/** A subnet is read once for all its lists, so it cannot be reached in two ways. */
export function refuseTwoWays(
  lists: readonly { readonly name: string; readonly list: List | null }[],
  reader: Reader,
): void {
  const first = new Map<string, { readonly list: string; readonly way: string }>();
  for (const { name, list } of lists) {
    const sources = list?.sources ?? [];
    const subnets = sources.flatMap((source) => (source.kind === "subnets" ? source.subnets : []));
    for (const subnet of subnets) {
      const own = { list: name, way: digestOf(subnet.settings) };
      const other = first.get(outsideKey(subnet)) ?? own;
      first.set(outsideKey(subnet), other);
      if (other.way === own.way) continue;
      const message =
        `Cannot reach ${outsideName(subnet)} in two ways: list "${other.list}" gives another ` +
        "endpoint, role or credentials; write the same in both places";
      reader.add(["lists", name, "from"], message);
    }
  }
}
