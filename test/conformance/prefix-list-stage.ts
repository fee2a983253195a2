import { startEmbeddedEc2 } from "../../cli/embedded/ec2.ts";
import { ec2Groups } from "../../cli/embedded/ec2-groups.ts";
import { ec2PrefixLists } from "../../cli/embedded/ec2-prefix-lists.ts";
import { faultyPrefixLists, type PrefixListOperation } from "../fakes/ec2-prefix-lists.ts";
import { briskWorld } from "../fakes/ec2-world.ts";
import { makeTarget } from "../targets/making.ts";
import { ENVIRONMENT, FAULTS, QUOTED, SECRETS } from "./ec2-stage-faults.ts";
import { FOREIGN, RACER } from "./play.ts";
import type { Stage, StageOptions } from "./target.ts";

const LIST = "pl-0a1b2c3d4e5f60718";
// Waiting for a change means looks at the list, which are not the reads that are meant.
const OPERATIONS = { read: "entries", add: "modify", remove: "modify" } as const;

/** The target as the product makes it, its SDK included, against the embedded endpoint. */
export async function prefixListStage(options: StageOptions): Promise<Stage> {
  const lists = ec2PrefixLists(
    options.missing ? [] : [{ id: LIST, maxEntries: options.quota ?? 100 }],
    { pendingLooks: 0, pageEntriesMax: options.page ?? 100 },
  );
  const backend = faultyPrefixLists(lists, { secret: QUOTED });
  const server = await startEmbeddedEc2({ groups: ec2Groups([]), prefixLists: backend });
  const settings = { region: "eu-west-1", id: LIST, endpoint: server.url };
  const context = { world: briskWorld() };
  const made = { env: ENVIRONMENT, limit: options.limit, context };
  const entries = () => (options.missing ? [] : lists.list(LIST));
  function put(cidr: string, description: string | null) {
    lists.set(LIST, [...entries(), { cidr, description }]);
  }
  return {
    target: await makeTarget("aws/prefix-list", settings, made),
    secrets: SECRETS,
    shown: (text) => text,
    lines: () => entries().map((entry) => JSON.stringify(entry)),
    put,
    drop(cidr) {
      lists.set(
        LIST,
        entries().filter((entry) => entry.cidr !== cidr),
      );
    },
    // A list holds nothing but entries.
    surround: () => undefined,
    inject(verb, fault) {
      const by = () => put(RACER, FOREIGN);
      const kind = fault === "raced" ? ({ kind: "preceded", by } as const) : FAULTS[fault];
      const operation: PrefixListOperation = fault === "stale" ? "describe" : OPERATIONS[verb];
      backend.inject(operation, kind);
    },
    calls(verb) {
      if (verb === "read") return backend.calls.entries;
      const changes = backend.changes.filter(({ add }) => add.length > 0 === (verb === "add"));
      return changes.length;
    },
    close: server.close,
  };
}
