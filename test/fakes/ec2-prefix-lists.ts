import type { Ec2PrefixListBackend } from "../../cli/embedded/ec2-prefix-list-actions.ts";
import type { Ec2PrefixListChange, Ec2PrefixLists } from "../../cli/embedded/ec2-prefix-lists.ts";
import { type FaultPlan, faultPlan } from "./ec2-faults.ts";

export type PrefixListOperation = "describe" | "entries" | "modify";

export interface FaultyPrefixLists extends Ec2PrefixListBackend, FaultPlan<PrefixListOperation> {
  /** Every change as it was asked for, whatever became of it. */
  readonly changes: readonly Ec2PrefixListChange[];
}

/** EC2 on a bad day: faults come between the lists and the caller. */
export function faultyPrefixLists(
  lists: Ec2PrefixLists,
  options: { readonly secret?: string } = {},
): FaultyPrefixLists {
  const { settings } = lists;
  const changes: Ec2PrefixListChange[] = [];
  const { call, ...plan } = faultPlan<PrefixListOperation>(["describe", "entries", "modify"], {
    secret: options.secret ?? "",
    lagging(writes, read) {
      const { lagVersions } = settings;
      settings.lagVersions = writes;
      try {
        return read();
      } finally {
        settings.lagVersions = lagVersions;
      }
    },
  });
  return {
    ...plan,
    changes,
    describe: (ids, signal) =>
      call("describe", signal, { input: ids, whole: lists.describe, halve: (whole) => whole }),
    entries: (input, signal) =>
      call("entries", signal, { input, whole: lists.entries, halve: (whole) => whole }),
    modify(change, signal) {
      changes.push(change);
      // EC2 makes a new version of all of a change or of nothing.
      return call("modify", signal, { input: change, whole: lists.modify, halve: () => change });
    },
  };
}
