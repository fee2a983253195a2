import { CloudError } from "../error.ts";
import { optionalTextIn, rowsAt, textIn, unreadable, valueAt } from "./answer.ts";
import { alibabaErrorOf } from "./errors.ts";
import { type Kinds, withKinds } from "./kinds.ts";
import { DDS, POLARDB, type Product, R_KVSTORE, RDS } from "./products.ts";
import { type AlibabaConnection, type AlibabaContext, openRpc, type Rpc } from "./rpc.ts";

export type DatabaseEngine = "mongodb" | "polardb" | "rds" | "redis";

/** What of an instance a list is for, where the instance keeps one for each kind of network. */
export type DatabaseNetwork = "classic" | "vpc";

/** One named group of addresses of an instance, as the vendor wrote it. */
export interface AddressGroup {
  readonly name: string;
  /** `hidden` for groups of the vendor's own; empty for others. */
  readonly attribute: string;
  /** Null where one list is for all networks. */
  readonly network: DatabaseNetwork | null;
  readonly addresses: readonly string[];
}

/** The content that one group is to have. */
export interface GroupContent {
  readonly group: string;
  readonly network: DatabaseNetwork | null;
  /** At least one, each once. */
  readonly addresses: readonly string[];
}

/** The two calls that a list of an instance needs. Both reject only with CloudError. */
export interface DatabaseClient {
  /**
   * Every group of the instance, of all kinds of networks; at least one, since every instance has
   * `default`. One call of at most {@link READ_MS_MAX}.
   */
  groups(id: string, signal: AbortSignal): Promise<readonly AddressGroup[]>;
  /**
   * Replaces the content of one group, which is made if there is none, then waits until the
   * instance takes writes again; both within {@link WRITE_MS_MAX}. An instance that is still busy
   * then is no error: the write was taken.
   */
  cover(id: string, content: GroupContent, signal: AbortSignal): Promise<void>;
  /** Milliseconds since the Unix epoch. */
  now(): number;
}

const READ_MS_MAX = 3_500;
const WRITE_MS_MAX = 4_000;
const LOOK_FIRST_MS = 125;
const LOOK_EVERY_MS_MAX = 1_000;

/** What the products call the same things. */
interface Engine {
  readonly product: Product;
  /** Before the colon of its RAM actions. */
  readonly ram: string;
  /** Parameter that names the instance. */
  readonly instance: string;
  readonly read: {
    readonly action: string;
    readonly groups: readonly string[];
    readonly name: string;
    readonly attribute: string;
    readonly addresses: string;
    readonly network?: string;
  };
  readonly write: { readonly action: string; readonly group: string; readonly network?: string };
  readonly state: {
    readonly action: string;
    readonly path: readonly string[];
    readonly good: string;
  };
  /** What its codes say, besides those of all. */
  readonly kinds?: Kinds;
}

// Sources: the API references of rds 2014-08-15, r-kvstore 2015-01-01, dds 2015-12-01 and polardb
// 2017-08-01.
const ENGINES: Readonly<Record<DatabaseEngine, Engine>> = {
  mongodb: {
    product: DDS,
    ram: "dds",
    instance: "DBInstanceId",
    read: {
      action: "DescribeSecurityIps",
      groups: ["SecurityIpGroups", "SecurityIpGroup"],
      name: "SecurityIpGroupName",
      attribute: "SecurityIpGroupAttribute",
      addresses: "SecurityIpList",
    },
    write: { action: "ModifySecurityIps", group: "SecurityIpGroupName" },
    state: {
      action: "DescribeDBInstanceAttribute",
      path: ["DBInstances", "DBInstance", "0", "DBInstanceStatus"],
      good: "Running",
    },
    // Its text says that the quota is exceeded. What is written never names an address twice.
    kinds: { "InvalidInstanceIp.Duplicate": "full" },
  },
  polardb: {
    product: POLARDB,
    ram: "polardb",
    instance: "DBClusterId",
    read: {
      action: "DescribeDBClusterAccessWhitelist",
      groups: ["Items", "DBClusterIPArray"],
      name: "DBClusterIPArrayName",
      attribute: "DBClusterIPArrayAttribute",
      addresses: "SecurityIps",
    },
    write: { action: "ModifyDBClusterAccessWhitelist", group: "DBClusterIPArrayName" },
    state: {
      action: "DescribeDBClusterAttribute",
      path: ["DBClusterStatus"],
      good: "Running",
    },
  },
  rds: {
    product: RDS,
    ram: "rds",
    instance: "DBInstanceId",
    read: {
      action: "DescribeDBInstanceIPArrayList",
      groups: ["Items", "DBInstanceIPArray"],
      name: "DBInstanceIPArrayName",
      attribute: "DBInstanceIPArrayAttribute",
      addresses: "SecurityIPList",
      network: "WhitelistNetworkType",
    },
    write: {
      action: "ModifySecurityIps",
      group: "DBInstanceIPArrayName",
      network: "WhitelistNetworkType",
    },
    state: {
      action: "DescribeDBInstanceAttribute",
      path: ["Items", "DBInstanceAttribute", "0", "DBInstanceStatus"],
      good: "Running",
    },
  },
  redis: {
    product: R_KVSTORE,
    ram: "kvstore",
    instance: "InstanceId",
    read: {
      action: "DescribeSecurityIps",
      groups: ["SecurityIpGroups", "SecurityIpGroup"],
      name: "SecurityIpGroupName",
      attribute: "SecurityIpGroupAttribute",
      addresses: "SecurityIpList",
    },
    write: { action: "ModifySecurityIps", group: "SecurityIpGroupName" },
    state: {
      action: "DescribeInstanceAttribute",
      path: ["Instances", "DBInstanceAttribute", "0", "InstanceStatus"],
      good: "Normal",
    },
  },
};

// More than 1,000, or no addresses, or some that overlap those of another group. The first was
// counted before the call; what is left needs a person, and no second try within minutes.
const KINDS: Kinds = { "InvalidSecurityIPListLength.Malformed": "invalid" };

/** Connects to nothing yet. */
export function databaseClient(engine: DatabaseEngine) {
  const row = ENGINES[engine];
  return (connection: AlibabaConnection, context: AlibabaContext): DatabaseClient => {
    const rpc = withKinds(openRpc(connection, context), { ...KINDS, ...row.kinds });
    const { world } = context;
    return {
      now: world.now,
      groups: (id, signal) => readGroups(rpc, row, { id, signal }),
      async cover(id, content, signal) {
        const until = world.now() + WRITE_MS_MAX;
        await writeGroup(rpc, row, { id, content, signal });
        await untilGood(rpc, row, { id, until, world, signal });
      },
    };
  };
}

interface Errand {
  readonly id: string;
  readonly signal: AbortSignal;
}

async function readGroups(
  rpc: Rpc,
  row: Engine,
  { id, signal }: Errand,
): Promise<readonly AddressGroup[]> {
  const { product, instance, read } = row;
  const operation = `${row.ram}:${read.action}`;
  const params = { [instance]: id };
  const request = { product, action: read.action, params, operation, timeoutMs: READ_MS_MAX };
  const answer = await rpc.call(request, signal);
  const groups = rowsAt(answer, read.groups, operation).map((found) => ({
    name: textIn(found, read.name, operation),
    attribute: optionalTextIn(found, read.attribute, operation),
    network:
      read.network === undefined
        ? null
        : networkOf(optionalTextIn(found, read.network, operation), operation),
    addresses: addressesOf(textIn(found, read.addresses, operation)),
  }));
  const names = new Set(groups.map(({ name, network }) => `${name} ${network}`));
  // The same list twice, or not even `default`: this is not the whole truth about an instance.
  if (names.size < groups.length || groups.length === 0) throw unreadable(operation);
  return groups;
}

/** Older answers leave it out: then it is the one for all networks. */
function networkOf(text: string, operation: string): DatabaseNetwork | null {
  switch (text.toLowerCase()) {
    case "":
    case "mix":
      return null;
    case "classic":
      return "classic";
    case "vpc":
      return "vpc";
    default:
      throw unreadable(operation);
  }
}

function addressesOf(list: string): readonly string[] {
  return list
    .split(",")
    .map((address) => address.trim())
    .filter((address) => address !== "");
}

const NETWORK_TYPES: Readonly<Record<DatabaseNetwork, string>> = {
  classic: "Classic",
  vpc: "VPC",
};

async function writeGroup(
  rpc: Rpc,
  row: Engine,
  { id, content, signal }: Errand & { readonly content: GroupContent },
): Promise<void> {
  const { product, write } = row;
  const operation = `${row.ram}:${write.action}`;
  const network =
    write.network === undefined || content.network === null
      ? {}
      : { [write.network]: NETWORK_TYPES[content.network] };
  const params = {
    [row.instance]: id,
    [write.group]: content.group,
    SecurityIps: content.addresses.join(","),
    ModifyMode: "Cover",
    ...network,
  };
  const request = { product, action: write.action, params, operation, timeoutMs: WRITE_MS_MAX };
  await rpc.call(request, signal);
}

/** Returns when the time is over, or when the state cannot be read: the write was taken. */
async function untilGood(
  rpc: Rpc,
  row: Engine,
  options: Errand & { readonly until: number; readonly world: AlibabaContext["world"] },
): Promise<void> {
  const { id, until, world, signal } = options;
  const { product, instance, state } = row;
  const operation = `${row.ram}:${state.action}`;
  let pauseMs = LOOK_FIRST_MS;
  for (let left = until - world.now(); left > 0; left = until - world.now()) {
    const request = { product, action: state.action, params: { [instance]: id }, operation };
    try {
      const answer = await rpc.call({ ...request, timeoutMs: left }, signal);
      const found = valueAt(answer, state.path);
      if (found === state.good || found === undefined) return;
      await world.sleep(Math.min(pauseMs, Math.max(0, until - world.now())), signal);
      pauseMs = Math.min(2 * pauseMs, LOOK_EVERY_MS_MAX);
    } catch (thrown) {
      if (signal.aborted) throw alibabaErrorOf(thrown, { operation, now: world.now() });
      if (thrown instanceof CloudError) return;
      throw thrown;
    }
  }
}
