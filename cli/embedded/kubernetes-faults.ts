/** What a request is about, for faults and counts; a `page` is what follows the first of a list. */
export type RequestKind = "list" | "page" | "watch" | "lease" | "namespace" | "node" | "other";

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
   * it.
   */
  add(on: RequestKind | "any", fault: Fault, options?: { readonly times?: number }): () => void;
  clear(): void;
  /** Cuts every connection, in the middle of whatever it carries. */
  cut(): void;
  /** Ends every watch in good order. */
  closeWatches(): void;
  /** Writes bytes into every open watch, as they are. */
  write(bytes: string | Uint8Array): void;
  /** While on, open watches and those opened meanwhile stay open and silent, for good. */
  silence(on: boolean): void;
  /** Sends watches in pieces of so many bytes; 0 sends them whole. */
  shred(bytes: number): void;
  /** Refuses connections, and takes them again on the same port. */
  refuse(): Promise<void>;
  accept(): Promise<void>;
}

/** Faults by request kind: the oldest that applies is taken. */
export interface FaultTable {
  take(kind: RequestKind): Fault | null;
  add: Faults["add"];
  clear(): void;
}

export function makeFaultTable(): FaultTable {
  interface Planned {
    readonly on: RequestKind | "any";
    readonly fault: Fault;
    left: number;
  }
  let planned: readonly Planned[] = [];
  return {
    take(kind) {
      const found = planned.find(({ on, left }) => left > 0 && (on === "any" || on === kind));
      if (found === undefined) return null;
      found.left -= 1;
      return found.fault;
    },
    add(on, fault, options) {
      const added: Planned = { on, fault, left: options?.times ?? Number.POSITIVE_INFINITY };
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
