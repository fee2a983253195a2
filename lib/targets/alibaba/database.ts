import * as z from "zod/mini";
import type { DatabaseClient, DatabaseEngine } from "../../clouds/alibaba/databases.ts";
import type { TargetKind } from "../kind.ts";
import { arnOf, regionShape } from "./common.ts";
import {
  DATABASE_TRAITS,
  type DatabaseSettings,
  databaseTarget,
  groupOf,
  type LimitOf,
} from "./database-group.ts";

const NETWORKS = ["classic", "vpc"] as const;

/** What tells the engines apart. */
interface Engine {
  /** As RAM names the product, and its type of resource. */
  readonly ram: string;
  readonly resource: string;
  readonly actions: { readonly list: string; readonly state: string; readonly write: string };
  readonly group: RegExp;
  readonly groupExample: string;
  readonly idExample: string;
  readonly limitOf: LimitOf;
  /** Whether an instance may keep a list for each kind of network. */
  readonly networks: boolean;
}

// Where a product's pages give no rule for names of groups, that of RDS, the strictest.
const GROUP = /^[a-z][a-z0-9_]{0,30}[a-z0-9]$/;

const ENGINES: Readonly<Record<DatabaseEngine, Engine>> = {
  mongodb: {
    ram: "dds",
    resource: "dbinstance",
    actions: {
      list: "DescribeSecurityIps",
      state: "DescribeDBInstanceAttribute",
      write: "ModifySecurityIps",
    },
    group: GROUP,
    groupExample: "k8s_prod",
    idExample: "dds-bp1366caac83****",
    limitOf: "instance",
    networks: false,
  },
  polardb: {
    ram: "polardb",
    resource: "dbcluster",
    actions: {
      list: "DescribeDBClusterAccessWhitelist",
      state: "DescribeDBClusterAttribute",
      write: "ModifyDBClusterAccessWhitelist",
    },
    // DBClusterIPArrayName knows letters and digits only.
    group: /^[a-z][a-z0-9]{0,118}[a-z0-9]$/,
    groupExample: "k8sprod",
    idExample: "pc-bp1s826a1up****",
    limitOf: "instance",
    networks: false,
  },
  rds: {
    ram: "rds",
    resource: "dbinstance",
    actions: {
      list: "DescribeDBInstanceIPArrayList",
      state: "DescribeDBInstanceAttribute",
      write: "ModifySecurityIps",
    },
    group: GROUP,
    groupExample: "k8s_prod",
    idExample: "rm-2ze704f67h9****",
    limitOf: "instance",
    networks: true,
  },
  redis: {
    ram: "kvstore",
    resource: "instance",
    actions: {
      list: "DescribeSecurityIps",
      state: "DescribeInstanceAttribute",
      write: "ModifySecurityIps",
    },
    group: GROUP,
    groupExample: "k8s_prod",
    idExample: "r-bp1zxszhcgatn****",
    limitOf: "group",
    networks: false,
  },
};

// Made by the vendor: for everybody, and for its own migration and diagnosis.
const SYSTEM_GROUPS = new Set(["ali_dms_group", "default", "dms", "dts", "hdm_security_ips"]);
const INSTANCE_ID = /^[a-z]{1,8}-[a-z0-9]{1,60}$/;

/** `alibaba/rds`, `alibaba/redis`, `alibaba/mongodb` and `alibaba/polardb`, without their SDK. */
export function databaseKind(engine: DatabaseEngine): TargetKind<DatabaseSettings, DatabaseClient> {
  const row = ENGINES[engine];
  return {
    shape: shapeOf(row),
    traits: () => DATABASE_TRAITS,
    parts: (settings, owner) => ({
      object: [settings.region, settings.id],
      slot: [groupOf(settings, owner), ...(settings.network ? [settings.network] : [])].join("/"),
    }),
    permissions: ({ region, id }, account) => {
      const resource = arnOf(row.ram, { region, account, resource: `${row.resource}/${id}` });
      const grant = (...actions: readonly string[]) => [
        { actions: actions.map((action) => `${row.ram}:${action}`), resources: [resource] },
      ];
      const { list, state, write } = row.actions;
      // One action adds and removes: here the vendor cannot tell them apart.
      return {
        dialect: "ram",
        read: grant(list, state),
        add: grant(write),
        remove: grant(write),
      };
    },
    make: (config, settings, client) =>
      databaseTarget({ config, settings, client, limitOf: row.limitOf }),
  };
}

function shapeOf(row: Engine) {
  const group = z.string().check(
    z.regex(row.group, {
      error: ({ input }) =>
        `Cannot use group ${JSON.stringify(input)}: write a name like "${row.groupExample}"`,
    }),
    z.refine((name) => !SYSTEM_GROUPS.has(name), {
      error: ({ input }) =>
        `Cannot use group ${JSON.stringify(input)}: it is the vendor's own; take another name`,
    }),
  );
  const network = z.enum(NETWORKS, {
    error: ({ input }) => `Cannot use network ${JSON.stringify(input)}: write vpc or classic`,
  });
  return z.strictObject({
    region: regionShape,
    id: z.string().check(
      z.regex(INSTANCE_ID, {
        error: ({ input }) =>
          `Cannot use id ${JSON.stringify(input)}: write an instance's id like "${row.idExample}"`,
      }),
    ),
    group: z.optional(group),
    ...(row.networks ? { network: z.optional(network) } : {}),
  });
}
