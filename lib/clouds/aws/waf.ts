import { GetIPSetCommand, UpdateIPSetCommand, WAFV2Client } from "@aws-sdk/client-wafv2";
import type { Family } from "../../core/cidr.ts";
import { unreadable } from "./errors.ts";
import { type AwsConnection, type AwsContext, calling, sessionsOf } from "./session.ts";

/** Which set: WAF wants all three, and refuses any that does not go with the others. */
export interface IpSetKey {
  readonly id: string;
  readonly name: string;
  readonly scope: "REGIONAL" | "CLOUDFRONT";
}

/** A set, as WAF wrote it. */
export interface IpSet {
  readonly family: Family;
  readonly addresses: readonly string[];
  /** Null where there is none. */
  readonly description: string | null;
  /** Stands for this very content: an update that names another one is refused. */
  readonly lockToken: string;
}

/**
 * The two calls that a set needs. Each makes one attempt, honours its signal, takes at most
 * {@link IP_SET_MS_MAX} and rejects only with CloudError.
 */
export interface IpSetClient {
  get(key: IpSetKey, signal: AbortSignal): Promise<IpSet>;
  /** Replaces all addresses and the description; resolves with the token of the new content. */
  update(key: IpSetKey, content: Omit<IpSet, "family">, signal: AbortSignal): Promise<string>;
}

/** A write may need a read before it: twice this is the time of an `apply`. */
export const IP_SET_MS_MAX = 4_000;

const GET = "wafv2:GetIPSet";
const UPDATE = "wafv2:UpdateIPSet";
const FAMILIES: Readonly<Record<string, Family>> = { IPV4: "ipv4", IPV6: "ipv6" };

const wafSession = sessionsOf((settings) => new WAFV2Client(settings));

/** Connects to nothing yet. The connection's region must be us-east-1 for CloudFront's sets. */
export function openIpSets(connection: AwsConnection, context: AwsContext): IpSetClient {
  const { world } = context;
  const options = { session: wafSession(connection, context), world, msMax: IP_SET_MS_MAX };
  return {
    get: (key, signal) =>
      calling(GET, { ...options, signal }, async (client, inner) => {
        const command = new GetIPSetCommand(keyOf(key));
        const { IPSet, LockToken } = await client.send(command, { abortSignal: inner });
        const { Id, Addresses, Description, IPAddressVersion } = IPSet ?? {};
        const family = FAMILIES[IPAddressVersion ?? ""];
        if (Id !== key.id || family === undefined || !LockToken) throw unreadable(GET);
        // The SDK takes the answer's types on trust.
        if (!Array.isArray(Addresses) || !Addresses.every((one) => typeof one === "string")) {
          throw unreadable(GET);
        }
        const description = Description || null;
        return { family, addresses: Addresses, description, lockToken: LockToken };
      }),
    update: (key, { addresses, description, lockToken }, signal) =>
      calling(UPDATE, { ...options, signal }, async (client, inner) => {
        const command = new UpdateIPSetCommand({
          ...keyOf(key),
          Addresses: [...addresses],
          // Left out it would be cleared: an update replaces all that can change.
          ...(description === null ? {} : { Description: description }),
          LockToken: lockToken,
        });
        const { NextLockToken } = await client.send(command, { abortSignal: inner });
        if (!NextLockToken) throw unreadable(UPDATE);
        return NextLockToken;
      }),
  };
}

function keyOf({ id, name, scope }: IpSetKey) {
  return { Id: id, Name: name, Scope: scope };
}
