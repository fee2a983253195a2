import { aclStage } from "./alibaba-acl-stage.ts";
import { databaseStage as alibabaDatabaseStage } from "./alibaba-database-stage.ts";
import {
  prefixListStage as alibabaPrefixListStage,
  securityGroupStage as alibabaSecurityGroupStage,
} from "./alibaba-stage.ts";
import { accessListStage } from "./atlas-access-list-stage.ts";
import { trustedSourcesStage } from "./digitalocean-database-stage.ts";
import { stageOverHttp } from "./ec2-stage.ts";
import { feedStage } from "./feed-stage.ts";
import { databaseStage, firewallStage } from "./linode-stage.ts";
import { prefixListStage } from "./prefix-list-stage.ts";
import type { Stage, StageOptions } from "./target.ts";
import { ipSetStage } from "./waf-ip-set-stage.ts";

/** A stage of every kind that reaches beyond this process or its store, by its name. */
export const STAGES: Readonly<Record<string, (options: StageOptions) => Promise<Stage>>> = {
  "alibaba/alb-acl": (options) => aclStage("alb", options),
  "alibaba/clb-acl": (options) => aclStage("clb", options),
  "alibaba/mongodb": (options) => alibabaDatabaseStage("mongodb", options),
  "alibaba/polardb": (options) => alibabaDatabaseStage("polardb", options),
  "alibaba/prefix-list": alibabaPrefixListStage,
  "alibaba/rds": (options) => alibabaDatabaseStage("rds", options),
  "alibaba/redis": (options) => alibabaDatabaseStage("redis", options),
  "alibaba/security-group": alibabaSecurityGroupStage,
  "atlas/access-list": accessListStage,
  "aws/prefix-list": prefixListStage,
  "aws/security-group": stageOverHttp,
  "aws/waf-ip-set": (options) => ipSetStage("allow", options),
  "digitalocean/database": trustedSourcesStage,
  feed: (options) => feedStage(options, { open: true }),
  "linode/database": databaseStage,
  "linode/firewall": firewallStage,
};
