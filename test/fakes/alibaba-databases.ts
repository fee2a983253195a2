import { type DatabaseNames, RDS_NAMES } from "../../cli/embedded/alibaba-databases.ts";

/** RDS with instances that may keep a list for each kind of network. */
const RDS: DatabaseNames = { ...RDS_NAMES, network: "WhitelistNetworkType" };

const GROUPS = ["SecurityIpGroupName", "SecurityIpGroupAttribute", "SecurityIpList"] as const;

const MONGODB: DatabaseNames = {
  ...RDS_NAMES,
  version: "2015-12-01",
  list: "DescribeSecurityIps",
  members: GROUPS,
  group: "SecurityIpGroupName",
  listAnswer: (rows) => ({
    SecurityIps: "127.0.0.1",
    SecurityIpGroups: { SecurityIpGroup: rows },
  }),
  stateAnswer: (isBusy) => {
    const DBInstanceStatus = isBusy ? "NodeChanging" : "Running";
    return { DBInstances: { DBInstance: [{ DBInstanceStatus }] } };
  },
};

const POLARDB: DatabaseNames = {
  ...RDS_NAMES,
  version: "2017-08-01",
  instance: "DBClusterId",
  list: "DescribeDBClusterAccessWhitelist",
  write: "ModifyDBClusterAccessWhitelist",
  state: "DescribeDBClusterAttribute",
  members: ["DBClusterIPArrayName", "DBClusterIPArrayAttribute", "SecurityIps"],
  group: "DBClusterIPArrayName",
  groupPattern: /^[a-z][a-z0-9]{0,118}[a-z0-9]$/,
  missing: "InvalidDBClusterId.NotFound",
  busy: "OperationDenied.DBClusterStatus",
  listAnswer: (rows) => ({
    Items: { DBClusterIPArray: rows },
    DBClusterSecurityGroups: { DBClusterSecurityGroup: [] },
  }),
  stateAnswer: (isBusy) => ({ DBClusterStatus: isBusy ? "NetAddressModifying" : "Running" }),
};

const REDIS: DatabaseNames = {
  ...RDS_NAMES,
  version: "2015-01-01",
  instance: "InstanceId",
  list: "DescribeSecurityIps",
  state: "DescribeInstanceAttribute",
  members: GROUPS,
  group: "SecurityIpGroupName",
  missing: "InvalidInstanceId.NotFound",
  listAnswer: (rows) => ({ SecurityIpGroups: { SecurityIpGroup: rows } }),
  stateAnswer: (isBusy) => {
    const InstanceStatus = isBusy ? "Changing" : "Normal";
    return { Instances: { DBInstanceAttribute: [{ InstanceStatus }] } };
  },
};

export const DATABASE_NAMES = { mongodb: MONGODB, polardb: POLARDB, rds: RDS, redis: REDIS };
