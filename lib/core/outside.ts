import type { Family } from "./cidr.ts";
import { digestOf } from "./digest.ts";

/*
 * What is no cluster and gives addresses all the same: it never speaks by itself, so it is asked.
 */

/** A subnet of a cloud; Alibaba Cloud calls it a vSwitch. */
export interface Subnet {
  readonly kind: "subnet";
  readonly vendor: "alibaba" | "aws";
  readonly region: string;
  readonly id: string;
  /**
   * How its cloud is reached, as the vendor's schema parsed it. May hold references to secrets,
   * never secrets.
   */
  readonly settings: Readonly<Record<string, unknown>>;
}

/** A name whose addresses are looked up. */
export interface DnsName {
  readonly kind: "name";
  /** Absolute, lower case, without the last dot. */
  readonly name: string;
  /** At least one. */
  readonly families: readonly Family[];
  /** It is asked again at most this often. */
  readonly intervalMs: number;
}

export type OutsideSource = Subnet | DnsName;

const SUBNET_INTERVAL_MS = 300_000;
const PRODUCTS = { alibaba: "vswitch", aws: "subnet" } as const;
// A name has at most 253 characters, one segment of a store's keys 255.
const KEY_CHARACTERS_MAX = 255;

/** How it is called in reports: `aws/subnet/subnet-0a1b`, `dns/nat.example.com`. */
export function outsideName(source: OutsideSource): string {
  switch (source.kind) {
    case "subnet":
      return `${source.vendor}/${PRODUCTS[source.vendor]}/${source.id}`;
    case "name":
      return ["dns", source.name, ...onlyFamily(source)].join("/");
    default:
      throw new Error(`Unreachable: ${JSON.stringify(source satisfies never)}`);
  }
}

/** The name of its log in the store: equal for the same thing, however it is reached. */
export function outsideKey(source: OutsideSource): string {
  switch (source.kind) {
    case "subnet":
      return `${source.vendor}-${PRODUCTS[source.vendor]}.${source.region}.${source.id}`;
    case "name": {
      const place = ["dns", ...onlyFamily(source)].join("-");
      const key = `${place}.${source.name}`;
      return key.length <= KEY_CHARACTERS_MAX ? key : `${place}.${digestOf(source.name)}`;
    }
    default:
      throw new Error(`Unreachable: ${JSON.stringify(source satisfies never)}`);
  }
}

function onlyFamily({ families }: DnsName): readonly Family[] {
  return families.length === 1 ? families : [];
}

/** How long what it said is not asked for again. */
export function intervalOf(source: OutsideSource): number {
  return source.kind === "name" ? source.intervalMs : SUBNET_INTERVAL_MS;
}
