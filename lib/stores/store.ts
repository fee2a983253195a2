/**
 * One listed key with its age by the store's own clock, so that no two clocks are ever compared.
 */
export interface StoredKey {
  readonly key: string;
  readonly ageMs: number;
}

/**
 * Four verbs, so that any object storage will do. Keys are `[a-z0-9./-]`, bodies are UTF-8 text.
 *
 * An implementation must create atomically (a reader sees the whole body or nothing, also after a
 * kill -9), must never overwrite, and must list what it has acknowledged. A rejection means that
 * the outcome is unknown: the log settles it by reading back. Rejects with StoreError only.
 *
 * A store that waits for others must end with the signal, where one is given: `timed.ts` gives one
 * to every call.
 */
export interface Store {
  /** Creates; `exists` when the key is taken, whoever took it. */
  put(key: string, body: string, signal?: AbortSignal): Promise<"created" | "exists">;
  get(key: string, signal?: AbortSignal): Promise<string | null>;
  /** The first `limit` keys with this prefix in ascending byte order. */
  list(prefix: string, limit: number, signal?: AbortSignal): Promise<readonly StoredKey[]>;
  /** Absent keys are fine. */
  delete(key: string, signal?: AbortSignal): Promise<void>;
}

export class StoreError extends Error {
  override readonly name = "StoreError";
  /**
   * The store refused, or is not one: reading back settles nothing, and must not be taken for
   * success.
   */
  readonly isFinal: boolean;

  constructor(
    message: string,
    options: { readonly cause?: unknown; readonly isFinal?: boolean } = {},
  ) {
    super(message, "cause" in options ? { cause: options.cause } : {});
    this.isFinal = options.isFinal ?? false;
  }
}
