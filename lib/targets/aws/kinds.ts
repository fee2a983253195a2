import { awsConnection, awsSettings } from "../connection.ts";
import { kindsOfVendor } from "../registration.ts";
import { prefixListKind } from "./prefix-list.ts";
import { securityGroupKind } from "./security-group.ts";
import { ipSetKind, ipSetRegion } from "./waf-ip-set.ts";

const aws = kindsOfVendor(awsSettings, awsConnection("EC2"), () => import("../../clouds/aws.ts"));
const waf = kindsOfVendor(awsSettings, awsConnection("WAFV2", ipSetRegion), async () => {
  const { loadWaf } = await import("../../clouds/aws.ts");
  return loadWaf();
});

export const awsKinds = {
  ...aws("aws/prefix-list", prefixListKind, (cloud) => cloud.openPrefixLists),
  ...aws("aws/security-group", securityGroupKind, (cloud) => cloud.openSecurityGroups),
  ...waf("aws/waf-ip-set", ipSetKind, (cloud) => cloud.openIpSets),
};
