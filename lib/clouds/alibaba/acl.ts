import { withTimeout } from "../../world.ts";
import { CloudError } from "../error.ts";
import type { AlibabaContext } from "./rpc.ts";

/** An entry of an ACL of a load balancer, as the vendor wrote it. */
export interface AclEntry {
  readonly address: string;
  /** What stands beside it; empty where nothing does. */
  readonly text: string;
  /** `arriving`: taken, not in effect yet. `leaving`: still listed, as good as gone. */
  readonly state: "arriving" | "leaving" | "there";
}

export interface Acl {
  /** `ipv4` or `ipv6` as the vendor says; null where it does not. */
  readonly family: string | null;
  /** Listeners that turn away whoever is on the list; 0 where the vendor does not tell. */
  readonly denying: number;
  /** Each address once. */
  readonly entries: readonly AclEntry[];
}

/** An entry to write: a CIDR, also of a single host, and the text beside it. */
export interface AclChange {
  readonly cidr: string;
  readonly text: string;
}

/** The three calls that an ACL needs. Each makes one attempt and rejects only with CloudError. */
export interface AclClient {
  /** Every entry, over all pages, within {@link ACL_READ_MS_MAX}. */
  read(id: string, signal: AbortSignal): Promise<Acl>;
  /**
   * One call, and the wait for its end where the vendor works in the background, both within
   * {@link ACL_WRITE_MS_MAX}. Work that goes on after that is no error: the write was taken.
   */
  add(id: string, entries: readonly AclChange[], signal: AbortSignal): Promise<void>;
  /** As `add`. The texts are those that stand beside the entries. */
  remove(id: string, entries: readonly AclChange[], signal: AbortSignal): Promise<void>;
}

export const ACL_READ_MS_MAX = 3_500;
export const ACL_WRITE_MS_MAX = 4_000;

/** All pages of one read together. */
export function withinReadTime<T>(
  { world }: AlibabaContext,
  options: { readonly operation: string; readonly signal: AbortSignal },
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const { operation, signal } = options;
  const reason = () => new CloudError("unavailable", "TimeoutError", { operation });
  return withTimeout(world, ACL_READ_MS_MAX, { signal, reason }, work);
}
