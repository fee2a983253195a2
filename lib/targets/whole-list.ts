import type { Revision } from "../core/observation.ts";
import { TargetError } from "./target.ts";

/** A list that its vendor takes whole and keeps no version of. */
export interface WholeList<C> {
  read(signal: AbortSignal): Promise<C>;
  /** What stands there after the write: as it was answered, or as another read shows it. */
  write(content: C, signal: AbortSignal): Promise<C>;
  /**
   * Equal for contents that mean the same, in whatever words and order. It stands for the version
   * that the vendor does not have.
   */
  digest(content: C): string;
  /** What a call rejected with, as a TargetError that begins with what was being done. */
  explain(thrown: unknown, doing: string): unknown;
}

/** One change of a whole list. */
export interface WholeChange<C> {
  /** What the change was planned on; null for whatever is there. */
  readonly revision: Revision;
  /** Must give back everything that it does not mean to change; throws what must not be tried. */
  change(before: C): C;
  /** Begins the sentence about what went wrong: `add 2 entries on …`. */
  readonly doing: string;
  readonly signal: AbortSignal;
}

/**
 * Writes by what is read right before: a list that is no longer the one that was planned on is a
 * conflict and is not written. So is, once, a read that shows what the last write replaced: it is
 * late, and to write by it would undo that write; or somebody has put the old list back. What was
 * written is compared with what stands there then.
 */
export function wholeListWriter<C>(
  list: WholeList<C>,
): (change: WholeChange<C>) => Promise<Revision> {
  let replaced: string | null = null;
  return async ({ revision, change, doing, signal }) => {
    const calling = async (call: Promise<C>) =>
      call.catch((thrown) => {
        throw list.explain(thrown, doing);
      });
    const before = await calling(list.read(signal));
    const current = list.digest(before);
    if ((revision ?? current) !== current || current === replaced) {
      replaced = null;
      throw conflict(doing, "it is not as it was read; read again");
    }
    const wanted = change(before);
    const meant = list.digest(wanted);
    if (meant === current) return current;
    const after = await calling(list.write(wanted, signal));
    replaced = current;
    if (list.digest(after) === meant) return meant;
    throw conflict(
      doing,
      "it is not what was written, so somebody else writes it, too, and a change of theirs may " +
        "be lost; let nobody else write it",
    );
  };
}

function conflict(doing: string, why: string): TargetError {
  return new TargetError("conflict", `Cannot ${doing}: ${why}`);
}
