import type { TargetErrorKind } from "../../core/report.ts";
import { CloudError } from "../error.ts";
import type { Rpc } from "./rpc.ts";

/** By code; a key that ends in a dot stands for every code that begins so. */
export type Kinds = Readonly<Record<string, TargetErrorKind>>;

/**
 * The same calls, their errors read as this product means them: some codes say different things in
 * different products. What the product does not name keeps its kind.
 */
export function withKinds(rpc: Rpc, kinds: Kinds): Rpc {
  return {
    async call(request, signal) {
      try {
        return await rpc.call(request, signal);
      } catch (thrown) {
        throw thrown instanceof CloudError ? readAs(thrown, kinds) : thrown;
      }
    },
  };
}

function readAs(error: CloudError, kinds: Kinds): CloudError {
  const family = `${error.code.split(".")[0]}.`;
  const kind = [error.code, family].flatMap((key) =>
    Object.hasOwn(kinds, key) ? (kinds[key] ?? []) : [],
  )[0];
  if (kind === undefined || kind === error.kind) return error;
  const { operation, retryAfterMs } = error;
  const other = new CloudError(kind, error.code, { operation, retryAfterMs });
  // Status and request stand in the sentence only.
  other.message = error.message;
  return other;
}
