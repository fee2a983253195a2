import type { Cidr } from "../../lib/core/cidr.ts";
import { parseCidr } from "../../lib/core/cidr.ts";
import type { Removal } from "../../lib/core/list.ts";
import type { Node } from "../../lib/core/snapshot.ts";
import { cidrs, cluster, list, node, policy as policyOf, REMOVAL } from "../core/cases.ts";
import { type Corridor, corridor } from "../corridor.ts";
import type { Stage } from "./target.ts";

const ENTRIES_MAX = 5_000;

/** The receiver's inside over real kinds of targets and their backends: one list, one cluster. */
export function vendorCorridor(
  stages: readonly Stage[],
  options: { readonly limit?: number; readonly removal?: Partial<Removal> } = {},
): Corridor {
  const targets = stages.map(({ target }) => target);
  const configs = targets.map(({ name, object }) => ({
    kind: name.split("/").slice(0, 2).join("/"),
    name,
    object,
    owner: { installation: "acme", list: "payments-db", formerly: [] },
    exclusive: true,
    limit: options.limit ?? null,
    settings: {},
  }));
  const removal = { ...REMOVAL, ...options.removal };
  const one = list({ name: "payments-db", targets: configs, removal });
  const bounds = cidrs("10.0.0.0/8");
  const eu = cluster("eu", { bounds, maxEntries: ENTRIES_MAX });
  return corridor({ policy: policyOf([one], [eu]), targets });
}

/** `count` nodes no two of whose addresses aggregate, from the `first` on. */
export function scattered(count: number, first = 0): Node[] {
  return Array.from({ length: count }, (_, index) => nodeAt(2 * (first + index) + 1));
}

/** `count` nodes whose addresses lie side by side, from the `first` on. */
export function adjacent(count: number, first = 0): Node[] {
  return Array.from({ length: count }, (_, index) => nodeAt(first + index));
}

function nodeAt(number: number): Node {
  const address = `10.${number >> 16}.${(number >> 8) & 255}.${number & 255}`;
  return node(`n${number}`, [address]);
}

/** What a target shows of all these nodes, as texts of CIDRs. */
export function addressesOf(nodes: readonly Node[]): readonly Cidr[] {
  return nodes.flatMap((one) => one.addresses.flatMap(({ address }) => parseCidr(address) ?? []));
}
