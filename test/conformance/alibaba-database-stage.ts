import assert from "node:assert/strict";
import { type AlibabaCall, startEmbeddedAlibaba } from "../../cli/embedded/alibaba.ts";
import {
  type AlibabaDatabases,
  alibabaDatabases,
  type DatabaseGroup,
  type DatabaseNames,
} from "../../cli/embedded/alibaba-databases.ts";
import type { DatabaseEngine } from "../../lib/clouds/alibaba/databases.ts";
import { parseCidr } from "../../lib/core/cidr.ts";
import { containerOf } from "../../lib/core/marker.ts";
import { faultyAlibaba } from "../fakes/alibaba.ts";
import { DATABASE_NAMES } from "../fakes/alibaba-databases.ts";
import { watchSpecs } from "../fakes/alibaba-specs.ts";
import { makeTarget, OWNER } from "../targets/making.ts";
import { ENVIRONMENT, KEYS, SECRETS } from "./alibaba-stage.ts";
import { RACER } from "./play.ts";
import type { Skip, Stage, StageOptions, Verb } from "./target.ts";

const IDS: Readonly<Record<DatabaseEngine, string>> = {
  mongodb: "dds-bp1366caac83",
  polardb: "pc-bp1s826a1up",
  rds: "rm-2ze704f67h9",
  redis: "r-bp1zxszhcgatn",
};
const QUOTED = "canary-in-the-answer";
const GROUP = containerOf(OWNER);

/** Other groups, and what in a group of ours counts as nothing of it. */
const BESIDE: readonly DatabaseGroup[] = [
  { name: "office", attribute: "", network: "MIX", addresses: ["192.0.2.1", "198.51.100.0/24"] },
  { name: "dts", attribute: "hidden", network: "MIX", addresses: ["100.104.0.0/16"] },
];

export const DATABASE_SKIPS: readonly Skip[] = [
  {
    reason: "all groups of an instance come in one answer without pages",
    cases: [
      "observe() reads all pages",
      "observe() rejects when one page fails, rather than show the others",
    ],
  },
  {
    reason: "the vendor's limit is the same for every instance, and so always known",
    cases: ["observe() knows no capacity without a limit"],
  },
  {
    reason: "a group is replaced whole, or not at all",
    cases: [
      "half a batch is seen by the next read, and the rest can be written",
      "what fits of a batch that does not may stay, and is seen by the next read",
    ],
  },
  {
    reason:
      "another's write to our own group within the one round trip between our read and our write " +
      "is lost in silence: the vendor keeps no version, and everything in that group is ours",
    cases: ["somebody else's write just before ours is kept, or said to be lost"],
  },
];

/** The target as the product makes it, its SDK included, against the embedded endpoint. */
export async function databaseStage(engine: DatabaseEngine, options: StageOptions): Promise<Stage> {
  const names = DATABASE_NAMES[engine];
  const id = IDS[engine];
  const databases = databasesOf(names, id, options);
  const verbOf = (call: AlibabaCall) => verbOfCall(call, { names, databases });
  const faults = faultyAlibaba({
    verbOf,
    halve: (call) => call,
    stale: (read) => late(databases, read),
    race: () => put(RACER),
    busy: { code: names.busy, status: 403 },
    secret: QUOTED,
  });
  // How the state is read is not among the vendor's descriptions.
  const { between, problems } = watchSpecs(faults.between, [names.state]);
  const products = [databases.product];
  const server = await startEmbeddedAlibaba({ products, between, keys: KEYS });
  const settings = { region: "cn-beijing", id, endpoint: server.url };
  // The vendor's own limit is far above what a case fills: it is played by a configured one.
  const limit = options.limit ?? options.quota;
  const target = await makeTarget(`alibaba/${engine}`, settings, { env: ENVIRONMENT, limit });
  const change = (edit: (addresses: readonly string[]) => readonly string[]) => {
    const groups = databases.groups(id);
    const own = groups.find(({ name }) => name === GROUP);
    const rest = groups.filter((group) => group !== own);
    const addresses = edit(own?.addresses ?? []);
    databases.set(id, [...rest, { name: GROUP, attribute: "", network: "MIX", addresses }]);
  };
  const put = (address: string) => change((addresses) => [...addresses, address]);
  return {
    target,
    secrets: [...SECRETS, QUOTED],
    shown: () => GROUP,
    lines: () => databases.groups(id).map((group) => JSON.stringify(group)),
    put,
    drop: (cidr) => change((all) => all.filter((one) => parseCidr(one) !== cidr)),
    surround: () => databases.set(id, [...databases.groups(id), ...BESIDE]),
    inject: faults.inject,
    calls: faults.calls,
    readsBefore: { add: 1, remove: 1 },
    async close() {
      await server.close();
      assert.deepEqual(problems, []);
    },
  };
}

function databasesOf(names: DatabaseNames, id: string, options: StageOptions): AlibabaDatabases {
  const given = { entriesMax: options.quota ?? 1_000, overlap: false };
  const databases = alibabaDatabases(options.missing ? [] : [id], names, given);
  // Without the vendor's 127.0.0.1, so that a case may count from none.
  const empty = databases.groups(id).map((group) => ({ ...group, addresses: [] }));
  if (!options.missing) databases.set(id, empty);
  return databases;
}

function late<T>(databases: AlibabaDatabases, read: () => T): T {
  databases.settings.lagWrites = 1;
  try {
    return read();
  } finally {
    databases.settings.lagWrites = 0;
  }
}

/** A write that leaves something out removes; waiting for a state counts as nothing. */
function verbOfCall(
  { action, params }: AlibabaCall,
  options: { readonly names: DatabaseNames; readonly databases: AlibabaDatabases },
): Verb | null {
  const { names, databases } = options;
  if (action === names.list) return "read";
  if (action !== names.write) return null;
  const groups = databases.groups(String(params[names.instance]));
  const before = groups.find(({ name }) => name === params[names.group])?.addresses ?? [];
  const after = new Set(String(params.SecurityIps).split(",").map(parseCidr));
  return before.every((address) => after.has(parseCidr(address))) ? "add" : "remove";
}
