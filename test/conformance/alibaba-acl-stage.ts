import assert from "node:assert/strict";
import { type AlibabaCall, startEmbeddedAlibaba } from "../../cli/embedded/alibaba.ts";
import { parseCidr } from "../../lib/core/cidr.ts";
import { markerOf } from "../../lib/core/marker.ts";
import { faultyAlibaba, firstHalf } from "../fakes/alibaba.ts";
import { type AclSettings, type AlibabaAcls, alibabaAcls } from "../fakes/alibaba-acls.ts";
import { watchSpecs } from "../fakes/alibaba-specs.ts";
import { makeTarget, OWNER } from "../targets/making.ts";
import { ENVIRONMENT, KEYS, SECRETS } from "./alibaba-stage.ts";
import { FOREIGN, RACER, TEXT } from "./play.ts";
import type { Skip, Stage, StageOptions, Verb } from "./target.ts";

const ID = "acl-bp1l0kk4gxce43k";
const QUOTED = "canary-in-the-answer";

const VERBS: Readonly<Record<string, Verb>> = {
  AddAccessControlListEntry: "add",
  AddEntriesToAcl: "add",
  DescribeAccessControlListAttribute: "read",
  ListAclEntries: "read",
  RemoveAccessControlListEntry: "remove",
  RemoveEntriesFromAcl: "remove",
};

export const ACL_SKIPS: readonly Skip[] = [
  {
    reason: "the vendor's limit is the same for every ACL, and so always known",
    cases: ["observe() knows no capacity without a limit"],
  },
];

/** The target as the product makes it, its SDK included, against the embedded endpoint. */
export async function aclStage(kind: "alb" | "clb", options: StageOptions): Promise<Stage> {
  const acls = alibabaAcls(options.missing ? [] : [ID], settingsOf(options));
  const put = (address: string, text: string | null) =>
    // People's entries come through the same API, which keeps networks in one form.
    acls.set(ID, [
      ...acls.rows(ID),
      { address: parseCidr(address) ?? address, text: text ?? "", status: "Available" },
    ]);
  const faults = faultyAlibaba({
    verbOf: ({ action }) => VERBS[action] ?? null,
    halve,
    stale: (read) => late(acls, read),
    race: () => put(RACER, FOREIGN),
    busy: { code: kind === "clb" ? "AclEntryProcessing" : "IncorrectStatus.Acl", status: 400 },
    secret: QUOTED,
  });
  const products = [acls.clb, acls.alb];
  const { between, problems } = watchSpecs(faults.between);
  const server = await startEmbeddedAlibaba({ products, between, keys: KEYS });
  const settings = { region: "cn-beijing", id: ID, endpoint: server.url };
  const target = await makeTarget(`alibaba/${kind}-acl`, settings, {
    env: ENVIRONMENT,
    limit: options.limit,
  });
  return {
    target,
    secrets: [...SECRETS, QUOTED],
    shown: (text) => (text === TEXT ? markerOf(OWNER.installation, OWNER.list) : text || null),
    lines: () => acls.rows(ID).map((row) => JSON.stringify(row)),
    put,
    drop: (cidr) =>
      acls.set(
        ID,
        acls.rows(ID).filter(({ address }) => parseCidr(address) !== cidr),
      ),
    // An ACL is its own slot: there is nothing beside it.
    surround: () => undefined,
    inject: faults.inject,
    calls: faults.calls,
    readsBefore: { add: 0, remove: 1 },
    async close() {
      await server.close();
      assert.deepEqual(problems, []);
    },
  };
}

function settingsOf({ quota, page, batch }: StageOptions): Partial<AclSettings> {
  return {
    entriesMax: quota ?? 1_000,
    pageEntriesMax: page ?? 100,
    batch: batch === "partial" ? "up-to-the-refused" : "all-or-nothing",
  };
}

function halve(call: AlibabaCall): AlibabaCall {
  const { AclEntrys, AclEntries, Entries } = call.params;
  const params = {
    ...call.params,
    ...(typeof AclEntrys === "string"
      ? { AclEntrys: JSON.stringify(firstHalf(JSON.parse(AclEntrys))) }
      : {}),
    ...(Array.isArray(AclEntries) ? { AclEntries: firstHalf(AclEntries) } : {}),
    ...(Array.isArray(Entries) ? { Entries: firstHalf(Entries) } : {}),
  };
  return { ...call, params };
}

function late<T>(acls: AlibabaAcls, read: () => T): T {
  acls.settings.lagWrites = 1;
  try {
    return read();
  } finally {
    acls.settings.lagWrites = 0;
  }
}
