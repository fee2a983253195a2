import type { CloudError } from "../clouds/error.ts";
import { parseCidr } from "../core/cidr.ts";
import { outsideName, type Subnet } from "../core/outside.ts";
import type { SourceOutcome } from "../core/reading.ts";
import type { TargetErrorKind } from "../core/report.ts";

/** A subnet as its cloud describes it. */
export interface SubnetAnswer {
  /** IPv4 and IPv6, as the cloud wrote them. */
  readonly cidrs: readonly string[];
  /** Addresses that nobody uses yet; null where the cloud did not say. */
  readonly free: number | null;
}

/**
 * The one call that a subnet needs, made by its vendor's file in `lib/clouds`: one attempt, honours
 * its signal, rejects with CloudError only. Null: there is no such subnet.
 */
export interface SubnetClient {
  describe(id: string, signal: AbortSignal): Promise<SubnetAnswer | null>;
}

const WAY_OUT: Readonly<Record<TargetErrorKind, (error: CloudError) => string>> = {
  throttled: () => "it is tried again",
  conflict: () => "it is tried again",
  busy: () => "it is tried again",
  unavailable: () => "it is tried again",
  denied: ({ operation }) => `check the credentials, and that they allow ${operation}`,
  missing: () => "check its region, id and account",
  full: () => "it is tried again",
  invalid: () => "check its region, id and endpoint",
};

/** Of codes of ours, where the way out of their kind leaves out what a person can do. */
const WAY_OUT_OF: ReadonlyMap<string, string> = new Map([
  [
    "CredentialsProviderError",
    "set AWS_ACCESS_KEY_ID, name a profile, or run under a role; it is tried again",
  ],
  [
    "MissingCredentials",
    "set ALIBABA_CLOUD_ACCESS_KEY_ID and ALIBABA_CLOUD_ACCESS_KEY_SECRET, or the subnet's " +
      "credentials; it is tried again",
  ],
  ["TimeoutError", "it is tried again, for there was no answer in time"],
]);

/**
 * What a subnet consists of, in one attempt. A subnet that vanished is as good as unread: whether
 * it is gone, or only out of sight of these credentials, is for the operator to say.
 */
export async function readSubnet(
  subnet: Subnet,
  client: SubnetClient,
  signal: AbortSignal,
): Promise<SourceOutcome> {
  const doing = `Cannot read ${outsideName(subnet)}`;
  let answer: SubnetAnswer | null;
  try {
    answer = await client.describe(subnet.id, signal);
  } catch (thrown) {
    if (!isCloudError(thrown)) throw thrown;
    // Without the number of the request: what is said twice must read the same.
    const why = `${thrown.operation} ended in ${thrown.code}`;
    const wayOut = WAY_OUT_OF.get(thrown.code) ?? WAY_OUT[thrown.kind](thrown);
    return failed(`${doing}: ${why}; ${wayOut}`);
  }
  if (answer === null) {
    return failed(
      `${doing}: there is none of this id in ${subnet.region}; correct its id, region or ` +
        'credentials, or take it out of "from"',
    );
  }
  const cidrs = answer.cidrs.map(parseCidr);
  const known = cidrs.filter((cidr) => cidr !== null);
  if (known.length === 0 || known.length < cidrs.length) {
    return failed(`${doing}: the answer cannot be understood whole; it is tried again`);
  }
  return { kind: "read", cidrs: known, free: answer.free };
}

function failed(message: string): SourceOutcome {
  return { kind: "failed", cidrs: [], message };
}

// By name: a bundle carries this class once with every vendor's file, and so may hold several.
function isCloudError(thrown: unknown): thrown is CloudError {
  return thrown instanceof Error && thrown.name === "CloudError";
}
