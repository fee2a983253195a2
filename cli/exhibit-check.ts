import type { Cidr } from "../lib/core/cidr.ts";
import type { Instant } from "../lib/core/record.ts";
import type { Exhibit } from "./exhibits.ts";
import { countText } from "./report-text.ts";
import type { Finding } from "./stage.ts";

/** An address that no node of the cluster has any more. */
export interface Departure {
  readonly at: Instant;
  /** Names of the exhibits that held it then: those must keep it for the grace. */
  readonly heldBy: ReadonlySet<string>;
}

/** What the cluster is, and was: nothing of it comes from the product. */
export interface Expected {
  readonly wanted: ReadonlySet<Cidr>;
  readonly departed: ReadonlyMap<Cidr, Departure>;
  /** What the exhibit held of others when everything began. */
  readonly others: string;
  readonly now: Instant;
  readonly graceMs: number;
  /** An address may stand for this long after it left. */
  readonly staysMsMax: number;
}

/**
 * Compares what a place holds with the cluster: every node, every address in its grace, nothing
 * else of ours, and what is somebody else's as it was.
 */
export function checkExhibit(exhibit: Exhibit, expected: Expected): Finding {
  const { wanted, departed, now } = expected;
  const own = new Set(exhibit.own());
  const missing = [...wanted].filter((cidr) => !own.has(cidr));
  const early = [...departed].flatMap(([cidr, { at, heldBy }]) =>
    now - at < expected.graceMs && heldBy.has(exhibit.name) && !own.has(cidr) ? [cidr] : [],
  );
  const leaving = [...own].filter((cidr) => !wanted.has(cidr));
  const strange = leaving.filter((cidr) => !departed.has(cidr));
  const overdue = leaving.filter((cidr) => {
    const departure = departed.get(cidr);
    return departure !== undefined && now - departure.at > expected.staysMsMax;
  });
  const faults = [
    ...faultOf(missing, "missing"),
    ...faultOf(early, "gone before the grace was over"),
    ...faultOf(strange, "of no node that ever was"),
    ...faultOf(overdue, "still there long after the grace"),
    ...(exhibit.others() === expected.others ? [] : [`${exhibit.foreign} not as before`]),
  ];
  if (faults.length > 0) {
    const sentence = `The ${exhibit.name} is not what the cluster says: ${faults.join("; ")}`;
    return { isGood: false, sentence };
  }
  const grace = `${countText(leaving.length, "address", "addresses")} in grace`;
  const nodes = countText(wanted.size, "node");
  const sentence = `${exhibit.name}: ${nodes}, ${grace}, ${exhibit.foreign} untouched`;
  return { isGood: true, sentence };
}

function faultOf(cidrs: readonly Cidr[], what: string): readonly string[] {
  return cidrs.length === 0 ? [] : [`${cidrs.join(", ")} ${what}`];
}
