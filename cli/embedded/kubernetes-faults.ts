/**
 * What a request is about, for faults and counts; a `page` is what follows the first of a list. The
 * first three are of nodes.
 */
export type RequestKind =
  | "list"
  | "page"
  | "watch"
  | "pods-list"
  | "pods-page"
  | "pods-watch"
  | "lease"
  | "namespace"
  | "node"
  | "pod"
  | "event"
  | "other";

/** Whose watches are meant. */
export type Watched = "nodes" | "pods";

/** What happens to a request instead of its answer. */
export type Fault =
  /** A Status of failure. */
  | { readonly kind: "status"; readonly status: number; readonly retryAfterS?: number }
  /** No headers, ever: a server that accepts and hangs. */
  | { readonly kind: "stall" }
  /** The connection is cut before an answer. */
  | { readonly kind: "cut" }
  /** What was asked for is done, and then the connection is cut. */
  | { readonly kind: "lose-reply" }
  /** Headers of success, then the end of the stream. */
  | { readonly kind: "close" }
  /** Headers of success, an ERROR event, then the end of the stream. */
  | { readonly kind: "error-event"; readonly status: number }
  /** Headers of success and this, as it is. */
  | { readonly kind: "body"; readonly contentType: string; readonly body: string };

/** What goes wrong; everything stays so until it is lifted. */
export interface Faults {
  /**
   * Requests of this kind, the next `times` of them, meet this fault; returns a function that lifts
   * it. `path` says which of them: those whose path and query hold it.
   */
  add(on: RequestKind | "any", fault: Fault, options?: FaultOptions): () => void;
  clear(): void;
  /** Cuts every connection, in the middle of whatever it carries. */
  cut(): void;
  /** Ends every watch in good order. */
  closeWatches(): void;
  /** Writes bytes into every open watch of these (nodes), as they are. */
  write(bytes: string | Uint8Array, on?: Watched): void;
  /** While on, open watches of these (all) and those opened meanwhile stay silent, for good. */
  silence(on: boolean, of?: Watched): void;
  /**
   * While on, watches are served from a cache that no longer hears of writes: they show none, and
   * bookmarks stay where they were. Ends them when it is lifted.
   */
  freeze(on: boolean): void;
  /** Sends watches in pieces of so many bytes; 0 sends them whole. */
  shred(bytes: number): void;
  /** Refuses connections, and takes them again on the same port. */
  refuse(): Promise<void>;
  accept(): Promise<void>;
}

export interface FaultOptions {
  readonly times?: number;
  readonly path?: string;
}

/** Faults by request kind: the oldest that applies is taken. */
export interface FaultTable {
  take(kind: RequestKind, path: string): Fault | null;
  add: Faults["add"];
  clear(): void;
}

export function makeFaultTable(): FaultTable {
  interface Planned {
    readonly on: RequestKind | "any";
    readonly fault: Fault;
    readonly path: string;
    left: number;
  }
  let planned: readonly Planned[] = [];
  return {
    take(kind, path) {
      const applies = ({ on, left, ...other }: Planned) =>
        left > 0 && (on === "any" || on === kind) && path.includes(other.path);
      const found = planned.find(applies);
      if (found === undefined) return null;
      found.left -= 1;
      return found.fault;
    },
    add(on, fault, options) {
      const { times = Number.POSITIVE_INFINITY, path = "" } = options ?? {};
      const added: Planned = { on, fault, path, left: times };
      planned = [...planned, added];
      return () => {
        planned = planned.filter((other) => other !== added);
      };
    },
    clear() {
      planned = [];
    },
  };
}
