import type { AclClient } from "./alibaba/acl.ts";
import { albAclClient } from "./alibaba/alb-acls.ts";
import { clbAclClient } from "./alibaba/clb-acls.ts";
import { type DatabaseClient, type DatabaseEngine, databaseClient } from "./alibaba/databases.ts";
import { alibabaKeys } from "./alibaba/keys.ts";
import { type PrefixListClient, prefixListClient } from "./alibaba/prefix-lists.ts";
import type { AlibabaConnection, AlibabaContext } from "./alibaba/rpc.ts";
import { type SecurityGroupClient, securityGroupClient } from "./alibaba/security-groups.ts";
import { type VSwitchClient, vSwitchClient } from "./alibaba/vswitches.ts";
import type { OssKeySource } from "./oss.ts";

/*
 * The door to Alibaba Cloud, loaded once one of its targets or sources is configured, and the SDK
 * with it. Whoever opens a client connects to nothing yet; sessions of a role are shared within a
 * World.
 */

export function openSecurityGroups(
  connection: AlibabaConnection,
  context: AlibabaContext,
): SecurityGroupClient {
  return securityGroupClient(connection, context);
}

export function openPrefixLists(
  connection: AlibabaConnection,
  context: AlibabaContext,
): PrefixListClient {
  return prefixListClient(connection, context);
}

export function openVSwitches(
  connection: AlibabaConnection,
  context: AlibabaContext,
): VSwitchClient {
  return vSwitchClient(connection, context);
}

export function openAlbAcls(connection: AlibabaConnection, context: AlibabaContext): AclClient {
  return albAclClient(connection, context);
}

export function openClbAcls(connection: AlibabaConnection, context: AlibabaContext): AclClient {
  return clbAclClient(connection, context);
}

export function openDatabases(
  engine: DatabaseEngine,
): (connection: AlibabaConnection, context: AlibabaContext) => DatabaseClient {
  return databaseClient(engine);
}

/** For what signs by itself. */
export function openKeys(connection: AlibabaConnection, context: AlibabaContext): OssKeySource {
  return alibabaKeys(connection, context);
}
