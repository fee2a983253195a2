import { CloudError } from "../error.ts";
import { fieldsOf, UNREADABLE } from "./errors.ts";
import { VPC } from "./products.ts";
import { type AlibabaConnection, type AlibabaContext, openRpc } from "./rpc.ts";

/** A vSwitch, which Alibaba Cloud calls what others call a subnet. */
export interface VSwitch {
  /** As written there: IPv4, and IPv6 where it has one. */
  readonly cidrs: readonly string[];
  /** How many IPv4 addresses nobody has yet; null when it does not say. */
  readonly free: number | null;
}

/** One attempt, honours its signal, takes at most `CALL_MS_MAX`, rejects only with CloudError. */
export interface VSwitchClient {
  /** Null when there is none of that id in the region. */
  describe(vSwitchId: string, signal: AbortSignal): Promise<VSwitch | null>;
}

const ACTION = "DescribeVSwitches";
const NOT_FOUND = new Set(["InvalidVSwitchId.NotFound", "InvalidVswitchID.NotFound"]);

/** Connects to nothing yet. */
export function vSwitchClient(
  connection: AlibabaConnection,
  context: AlibabaContext,
): VSwitchClient {
  const rpc = openRpc(connection, context);
  return {
    async describe(vSwitchId, signal) {
      const params = { RegionId: connection.region, VSwitchId: vSwitchId };
      try {
        const answer = await rpc.call({ product: VPC, action: ACTION, params }, signal);
        return vSwitchOf(answer, vSwitchId);
      } catch (error) {
        if (error instanceof CloudError && NOT_FOUND.has(error.code)) return null;
        throw error;
      }
    },
  };
}

function vSwitchOf(answer: Readonly<Record<string, unknown>>, vSwitchId: string): VSwitch | null {
  const rows = fieldsOf(answer.VSwitches).VSwitch;
  if (!Array.isArray(rows)) throw unreadable();
  if (rows.length === 0) return null;
  const row = rows.map(fieldsOf).find(({ VSwitchId }) => VSwitchId === vSwitchId);
  // Asked for one and given only others: that is no word about the one.
  if (row === undefined) throw unreadable();
  const { CidrBlock, Ipv6CidrBlock, AvailableIpAddressCount: free } = row;
  if (typeof CidrBlock !== "string" || CidrBlock === "") throw unreadable();
  const hasIpv6 = typeof Ipv6CidrBlock === "string" && Ipv6CidrBlock !== "";
  return {
    cidrs: hasIpv6 ? [CidrBlock, Ipv6CidrBlock] : [CidrBlock],
    free: typeof free === "number" && Number.isSafeInteger(free) && free >= 0 ? free : null,
  };
}

/** A read that is not understood whole is no read. */
function unreadable(): CloudError {
  return new CloudError("unavailable", UNREADABLE, { operation: `vpc:${ACTION}` });
}
