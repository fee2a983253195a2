import {
  type Cidr,
  familyOf,
  parseCidr,
  prefixLengthOf,
  rangeOf,
  sortCidrs,
} from "../../lib/core/cidr.ts";
import { AlibabaError, type AlibabaProduct, requiredParam, textParam } from "./alibaba.ts";
import type { AlibabaParams } from "./alibaba-form.ts";

/** One named group of addresses, as it was written. */
export interface DatabaseGroup {
  readonly name: string;
  /** `hidden` where the vendor made it for itself. */
  readonly attribute: string;
  /** `MIX`, or `Classic` and `VPC` where an instance keeps a list for each. */
  readonly network: string;
  readonly addresses: readonly string[];
}

/** What differs between instances and moments. Read at every call: it may be changed. */
export interface DatabaseSettings {
  /** Of all groups together. */
  entriesMax: number;
  /** Whether an address inside a network of the same group is refused, as RDS for MySQL does. */
  overlap: boolean;
  /**
   * Looks at the state after a write that show an instance at work; meanwhile writes are refused.
   */
  busyLooks: number;
  /** How many of the newest writes a read does not show yet. */
  lagWrites: number;
}

/** Instances of one product, each with its groups; its actions throw AlibabaError. */
export interface AlibabaDatabases {
  readonly settings: DatabaseSettings;
  readonly product: AlibabaProduct;
  /** Everything there now; empty for an instance that does not exist. */
  groups(id: string): readonly DatabaseGroup[];
  /** Somebody else's hand: replaces all groups of an instance, unchecked. */
  set(id: string, groups: readonly DatabaseGroup[]): void;
}

/** What a product calls its actions, parameters and members. */
export interface DatabaseNames {
  readonly version: string;
  readonly instance: string;
  readonly list: string;
  readonly write: string;
  readonly state: string;
  /** Name, attribute and addresses of a group in an answer. */
  readonly members: readonly [string, string, string];
  /** Parameter that names a group. */
  readonly group: string;
  /** Parameter and member for the kind of network, where the product knows one. */
  readonly network: string | null;
  readonly groupPattern: RegExp;
  readonly missing: string;
  readonly busy: string;
  readonly listAnswer: (rows: readonly object[]) => Readonly<Record<string, unknown>>;
  readonly stateAnswer: (isBusy: boolean) => Readonly<Record<string, unknown>>;
}

export const RDS_NAMES: DatabaseNames = {
  version: "2014-08-15",
  instance: "DBInstanceId",
  list: "DescribeDBInstanceIPArrayList",
  write: "ModifySecurityIps",
  state: "DescribeDBInstanceAttribute",
  members: ["DBInstanceIPArrayName", "DBInstanceIPArrayAttribute", "SecurityIPList"],
  group: "DBInstanceIPArrayName",
  network: null,
  groupPattern: /^[a-z][a-z0-9_]{0,30}[a-z0-9]$/,
  missing: "InvalidDBInstanceId.NotFound",
  busy: "IncorrectDBInstanceState",
  listAnswer: (rows) => ({ Items: { DBInstanceIPArray: rows } }),
  stateAnswer: (isBusy) => {
    const DBInstanceStatus = isBusy ? "NET_CREATING" : "Running";
    return { Items: { DBInstanceAttribute: [{ DBInstanceStatus }] } };
  },
};

/** What the vendor puts into every new instance: nobody but itself may connect. */
const DEFAULT_GROUP: DatabaseGroup = {
  name: "default",
  attribute: "",
  network: "MIX",
  addresses: ["127.0.0.1"],
};

const VERSIONS_KEPT_MAX = 16;
const MIX = "MIX";

/** Allow lists of database instances in memory, strict where the vendor is. */
export function alibabaDatabases(
  ids: readonly string[],
  names: DatabaseNames = RDS_NAMES,
  given: Partial<DatabaseSettings> = {},
): AlibabaDatabases {
  const settings = { entriesMax: 1_000, overlap: false, busyLooks: 0, lagWrites: 0, ...given };
  // Newest first; what a lagging read shows is an older one.
  const versions = new Map<string, readonly (readonly DatabaseGroup[])[]>(
    ids.map((id) => [id, [[DEFAULT_GROUP]]]),
  );
  const looksLeft = new Map<string, number>();
  const groups = (id: string, lag = 0): readonly DatabaseGroup[] => {
    const known = versions.get(id) ?? [];
    return known[Math.min(lag, known.length - 1)] ?? [];
  };
  const set = (id: string, next: readonly DatabaseGroup[]) => {
    versions.set(id, [next, ...(versions.get(id) ?? [])].slice(0, VERSIONS_KEPT_MAX));
  };
  const instanceOf = (params: AlibabaParams) => {
    const id = requiredParam(params, names.instance);
    if (versions.has(id)) return id;
    const message = "The specified instance does not exist.";
    throw new AlibabaError(names.missing, message, { status: 404 });
  };
  const actions = {
    [names.list]: ({ params }: { readonly params: AlibabaParams }) => {
      const shown = groups(instanceOf(params), settings.lagWrites);
      return names.listAnswer(shown.map((group) => rowOf(group, names)));
    },
    [names.state]: ({ params }: { readonly params: AlibabaParams }) => {
      const id = instanceOf(params);
      const left = looksLeft.get(id) ?? 0;
      looksLeft.set(id, Math.max(0, left - 1));
      return names.stateAnswer(left > 0);
    },
    [names.write]: ({ params }: { readonly params: AlibabaParams }) => {
      const id = instanceOf(params);
      const left = looksLeft.get(id) ?? 0;
      if (left > 0) {
        // Counts as a look: nobody may be there any more to wait for the end of the last write.
        looksLeft.set(id, left - 1);
        const message = "Current DB instance state does not support this operation.";
        throw new AlibabaError(names.busy, message, { status: 403 });
      }
      set(id, written(groups(id), params, { names, settings }));
      looksLeft.set(id, settings.busyLooks);
      return { TaskId: 1 };
    },
  };
  return { settings, product: { version: names.version, actions }, groups, set };
}

function rowOf({ name, attribute, network, addresses }: DatabaseGroup, names: DatabaseNames) {
  const [nameMember, attributeMember, addressesMember] = names.members;
  return {
    [nameMember]: name,
    [attributeMember]: attribute,
    [addressesMember]: addresses.join(","),
    ...(names.network === null ? {} : { [names.network]: network }),
  };
}

/** The groups of an instance after a write that names one of them. */
function written(
  groups: readonly DatabaseGroup[],
  params: AlibabaParams,
  options: { readonly names: DatabaseNames; readonly settings: DatabaseSettings },
): readonly DatabaseGroup[] {
  const { names, settings } = options;
  const name = textParam(params, names.group) ?? "default";
  if (!names.groupPattern.test(name)) {
    throw new AlibabaError("InvalidGroupName.Format", "Specified group name is not valid.");
  }
  const network = (names.network && textParam(params, names.network)) || MIX;
  const isThis = (group: DatabaseGroup) => group.name === name && group.network === network;
  const before = groups.find(isThis);
  const addresses = contentOf(before?.addresses ?? [], {
    asked: requiredParam(params, "SecurityIps").split(","),
    mode: textParam(params, "ModifyMode") ?? "Cover",
  });
  const others = groups.filter((group) => !isThis(group));
  const total = others.reduce((sum, group) => sum + group.addresses.length, addresses.length);
  const cidrs = addresses.map(cidrOf);
  if (total > settings.entriesMax || (!settings.overlap && doOverlap(cidrs))) throw malformed();
  const after = { name, attribute: before?.attribute ?? "", network, addresses };
  return before === undefined
    ? [...groups, after]
    : groups.map((group) => (isThis(group) ? after : group));
}

function contentOf(
  before: readonly string[],
  options: { readonly asked: readonly string[]; readonly mode: string },
): readonly string[] {
  const { asked, mode } = options;
  const present = new Set(before);
  const duplicate = () =>
    new AlibabaError("InvalidInstanceIp.Duplicate", "Specified instance IP already exists.");
  if (new Set(asked).size < asked.length) throw duplicate();
  switch (mode) {
    case "Cover":
      return asked;
    case "Append":
      if (asked.some((address) => present.has(address))) throw duplicate();
      return [...before, ...asked];
    case "Delete": {
      const left = before.filter((address) => !asked.includes(address));
      if (left.length > 0 && left.length === before.length - asked.length) return left;
      const message = "Specified IP does not exist, or at least one is needed.";
      throw new AlibabaError("InvalidSecurityIPs.NotFound", message, { status: 404 });
    }
    default:
      throw new AlibabaError("InvalidParameter", "The specified ModifyMode is not valid.");
  }
}

/** IPv4 only, without blanks; of all networks only the whole one may be broader than /1. */
function cidrOf(address: string): Cidr {
  const cidr = parseCidr(address);
  if (cidr === null || familyOf(cidr) !== "ipv4") throw malformed();
  if (prefixLengthOf(cidr) === 0 && address !== "0.0.0.0/0") throw malformed();
  return cidr;
}

function doOverlap(cidrs: readonly Cidr[]): boolean {
  const ranges = sortCidrs(cidrs).map(rangeOf);
  return ranges.some(({ first }, index) => {
    const before = ranges[index - 1];
    return before !== undefined && first <= before.last;
  });
}

// One code for three mistakes, as the vendor has it.
function malformed(): AlibabaError {
  const message = "The list is too long, or has an illegal or an overlapping address.";
  return new AlibabaError("InvalidSecurityIPListLength.Malformed", message);
}
