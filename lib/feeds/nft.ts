import { aggregate } from "../core/aggregate.ts";
import { type Cidr, FAMILIES, type Family, familyOf } from "../core/cidr.ts";
import { FEED_ENTRIES_MAX } from "../core/feed.ts";
import { type FeedFormat, fileOf, PLAIN_TEXT } from "./feed.ts";
import { NFT_TABLE, nftSetName } from "./names.ts";

/**
 * A file for `nft -f`, which carries it out as one transaction: makes the table and the list's two
 * sets where they are missing, and replaces what is in the sets. Rules stay as they are.
 */
export const nft: FeedFormat = {
  contentType: PLAIN_TEXT,
  // A set has no limit of its own; 100,000 elements take about a second, measured with nft 1.0.6.
  entriesMax: FEED_ENTRIES_MAX,
  sets: (entries) => FAMILIES.map((family) => elementsOf(entries, family)),
  render({ list, entries }) {
    const sets = FAMILIES.map((family) => ({
      name: nftSetName(list, family),
      type: family === "ipv4" ? "ipv4_addr" : "ipv6_addr",
      elements: elementsOf(entries, family),
    }));
    return fileOf([
      `add table ${NFT_TABLE}`,
      ...sets.map(({ name, type }) => {
        return `add set ${NFT_TABLE} ${name} { type ${type}; flags interval; }`;
      }),
      ...sets.map(({ name }) => `flush set ${NFT_TABLE} ${name}`),
      // One block around everything that is added: a file that was cut short within it is refused.
      `table ${NFT_TABLE} {`,
      ...sets.flatMap(blockOf),
      "}",
    ]);
  },
};

// Intervals of a set may not overlap, and the kernel's own merging would make what was read back
// differ from what was written.
function elementsOf(entries: readonly Cidr[], family: Family): readonly Cidr[] {
  return aggregate(entries.filter((cidr) => familyOf(cidr) === family));
}

interface NftSet {
  readonly name: string;
  readonly type: string;
  readonly elements: readonly Cidr[];
}

function blockOf({ name, type, elements }: NftSet): readonly string[] {
  const last = elements.length - 1;
  const lines = elements.map((cidr, index) => `      ${cidr}${index === last ? "" : ","}`);
  // An empty pair of braces is a syntax error.
  const filled = lines.length === 0 ? [] : ["    elements = {", ...lines, "    }"];
  return [`  set ${name} {`, `    type ${type}`, "    flags interval", ...filled, "  }"];
}
