import { alibabaConnection, alibabaSettings } from "../connection.ts";
import { kindsOfVendor } from "../registration.ts";
import { albAclKind } from "./alb-acl.ts";
import { clbAclKind } from "./clb-acl.ts";
import { databaseKind } from "./database.ts";
import { prefixListKind } from "./prefix-list.ts";
import { securityGroupKind } from "./security-group.ts";

const alibaba = kindsOfVendor(
  alibabaSettings,
  alibabaConnection,
  () => import("../../clouds/alibaba.ts"),
);

export const alibabaKinds = {
  ...alibaba("alibaba/alb-acl", albAclKind, (cloud) => cloud.openAlbAcls),
  ...alibaba("alibaba/clb-acl", clbAclKind, (cloud) => cloud.openClbAcls),
  ...alibaba("alibaba/mongodb", databaseKind("mongodb"), (cloud) => cloud.openDatabases("mongodb")),
  ...alibaba("alibaba/polardb", databaseKind("polardb"), (cloud) => cloud.openDatabases("polardb")),
  ...alibaba("alibaba/prefix-list", prefixListKind, (cloud) => cloud.openPrefixLists),
  ...alibaba("alibaba/rds", databaseKind("rds"), (cloud) => cloud.openDatabases("rds")),
  ...alibaba("alibaba/redis", databaseKind("redis"), (cloud) => cloud.openDatabases("redis")),
  ...alibaba("alibaba/security-group", securityGroupKind, (cloud) => cloud.openSecurityGroups),
};
