import { tokenConnection, tokenSettings } from "../connection.ts";
import { kindsOfVendor } from "../registration.ts";
import { databaseKind } from "./database.ts";
import { firewallKind } from "./firewall.ts";

const linode = kindsOfVendor(
  tokenSettings,
  tokenConnection({ endpoint: "https://api.linode.com/v4", variables: ["LINODE_TOKEN"] }),
  () => import("../../clouds/linode.ts"),
);

export const linodeKinds = {
  ...linode("linode/database", databaseKind, (cloud) => cloud.openDatabases),
  ...linode("linode/firewall", firewallKind, (cloud) => cloud.openFirewalls),
};
