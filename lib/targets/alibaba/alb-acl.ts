import * as z from "zod/mini";
import type { AclClient } from "../../clouds/alibaba/acl.ts";
import type { Traits } from "../../core/observation.ts";
import type { TargetKind } from "../kind.ts";
import { ACL_TRAITS, aclIdShape, aclTarget } from "./acl.ts";
import { arnOf, regionShape } from "./common.ts";

// AddEntriesToAcl in the API reference: 20 entries a call. Of an ACL its English page says 1,000
// entries and its Chinese one 500: where that holds, the error says so.
const CALL_ENTRIES_MAX = 20;
const ENTRIES_MAX = 1_000;

const TRAITS: Traits = {
  ...ACL_TRAITS,
  // Whether an ACL takes IPv6 is written nowhere: UNVERIFIED, so none is written.
  families: ["ipv4"],
  batchMax: CALL_ENTRIES_MAX,
};

const albAclShape = z.strictObject({ region: regionShape, id: aclIdShape });

type Settings = z.output<typeof albAclShape>;

/** `alibaba/alb-acl`, without its SDK: an access control list of Application Load Balancer. */
export const albAclKind: TargetKind<Settings, AclClient> = {
  shape: albAclShape,
  traits: () => TRAITS,
  parts: ({ region, id }) => ({ object: [region, id] }),
  permissions: ({ region, id }, account) => {
    const resources = [arnOf("alb", { region, account, resource: `acl/${id}` })];
    return {
      dialect: "ram",
      read: [{ actions: ["alb:ListAclEntries"], resources }],
      add: [{ actions: ["alb:AddEntriesToAcl"], resources }],
      remove: [{ actions: ["alb:RemoveEntriesFromAcl"], resources }],
    };
  },
  make: (config, { id }, client) => {
    const rules = { traits: TRAITS, family: "ipv4", entriesMax: ENTRIES_MAX } as const;
    return aclTarget(config, { id, rules }, client);
  },
};
