import * as z from "zod/mini";
import type { AclClient } from "../../clouds/alibaba/acl.ts";
import type { Family } from "../../core/cidr.ts";
import type { Traits } from "../../core/observation.ts";
import type { TargetKind } from "../kind.ts";
import { familyShape } from "../settings.ts";
import { ACL_TRAITS, aclIdShape, aclTarget } from "./acl.ts";
import { arnOf, regionShape } from "./common.ts";

// AddAccessControlListEntry in the API reference: 50 entries a call, 300 an ACL.
const CALL_ENTRIES_MAX = 50;
const ENTRIES_MAX = 300;

const clbAclShape = z.strictObject({
  region: regionShape,
  id: aclIdShape,
  family: z.optional(familyShape),
});

type Settings = z.output<typeof clbAclShape>;

function familyOf({ family = "ipv4" }: Settings): Family {
  return family;
}

function traitsOf(settings: Settings): Traits {
  return { ...ACL_TRAITS, families: [familyOf(settings)], batchMax: CALL_ENTRIES_MAX };
}

/** `alibaba/clb-acl`, without its SDK: an access control list of Classic Load Balancer. */
export const clbAclKind: TargetKind<Settings, AclClient> = {
  shape: clbAclShape,
  traits: traitsOf,
  parts: ({ region, id }) => ({ object: [region, id] }),
  permissions: ({ region, id }, account) => {
    const resources = [arnOf("slb", { region, account, resource: `acl/${id}` })];
    return {
      dialect: "ram",
      read: [{ actions: ["slb:DescribeAccessControlListAttribute"], resources }],
      add: [{ actions: ["slb:AddAccessControlListEntry"], resources }],
      remove: [{ actions: ["slb:RemoveAccessControlListEntry"], resources }],
    };
  },
  make: (config, settings, client) => {
    const family = familyOf(settings);
    const rules = { traits: traitsOf(settings), family, entriesMax: ENTRIES_MAX };
    return aclTarget(config, { id: settings.id, rules }, client);
  },
};
