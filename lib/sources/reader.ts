import { type OutsideSource, outsideName, type Subnet } from "../core/outside.ts";
import type { SourceOutcome } from "../core/reading.ts";
import { alibabaConnection, awsConnection, type ConnectionContext } from "../targets/connection.ts";
import { type NameClient, readName } from "./names.ts";
import { alibabaSubnetShape, awsSubnetShape } from "./subnet-shape.ts";
import { readSubnet, type SubnetClient } from "./subnets.ts";

/** Asks one outside source once. Rejects for faults of ours only; honours its signal. */
export type ReadSource = (source: OutsideSource, signal: AbortSignal) => Promise<SourceOutcome>;

/** Reads every kind of outside source. Opens nothing, and loads no SDK, before it is needed. */
export function sourceReader(context: ConnectionContext, names: NameClient): ReadSource {
  return async (source, signal) => {
    switch (source.kind) {
      case "name":
        return readName(source, names, signal);
      case "subnet": {
        let client: SubnetClient;
        try {
          client = await openSubnet(source, context);
        } catch (error) {
          // A variable that is not set, or a cloud that these functions were packaged without.
          const reason = error instanceof Error ? error.message : "unknown error";
          const message = `Cannot read ${outsideName(source)}: it cannot be reached. ${reason}`;
          return { kind: "failed", cidrs: [], message };
        }
        return readSubnet(source, client, signal);
      }
      default:
        throw new Error(`Unreachable: ${JSON.stringify(source satisfies never)}`);
    }
  };
}

// Sessions are shared and kept by the clouds' files; a client is a few closures around one.
async function openSubnet(subnet: Subnet, context: ConnectionContext): Promise<SubnetClient> {
  const { vendor, id, region, settings } = subnet;
  const named = { name: outsideName(subnet) };
  switch (vendor) {
    case "aws": {
      const parsed = awsSubnetShape.parse({ ...settings, aws: id, region });
      const { openSubnets } = await import("../clouds/aws.ts");
      return openSubnets(awsConnection("EC2")(parsed, named, context), context);
    }
    case "alibaba": {
      const parsed = alibabaSubnetShape.parse({ ...settings, alibaba: id, region });
      const { openVSwitches } = await import("../clouds/alibaba.ts");
      return openVSwitches(alibabaConnection(parsed, named, context), context);
    }
    default:
      throw new Error(`Unreachable: ${JSON.stringify(vendor satisfies never)}`);
  }
}
