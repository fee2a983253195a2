import type { Instant } from "../lib/core/record.ts";
import type { Node, Pod, Scope } from "../lib/core/snapshot.ts";

/** What is known of the cluster. Exists only after a first complete list of its nodes. */
export interface Truth {
  readonly clusterUid: string;
  /**
   * What `nodes` and `pods` are all of. Pods whose selector could not be listed since the Lease was
   * acquired, that are refused, or that are not heard of for minutes, are not in it, so that a
   * receiver does not take them for gone.
   */
  readonly scope: Scope;
  /** In ascending order of uid. */
  readonly nodes: readonly Node[];
  /** In ascending order of uid. */
  readonly pods: readonly Pod[];
  /**
   * Up to when this is known to be complete: of everything in the scope the earliest of its last
   * events, bookmarks that moved on, or the beginnings of its consistent lists.
   */
  readonly observedAt: Instant;
}
