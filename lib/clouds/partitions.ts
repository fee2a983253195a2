/*
 * The parts of AWS that know nothing of each other: what each is called in ARNs, and under which
 * name its services are found. As the SDK's own table of partitions has them.
 */

interface Partition {
  /** What the names of its regions begin with. */
  readonly regions: string;
  readonly name: string;
  readonly domain: string;
}

const COMMERCIAL: Partition = { regions: "", name: "aws", domain: "amazonaws.com" };
const OTHERS: readonly Partition[] = [
  { regions: "cn-", name: "aws-cn", domain: "amazonaws.com.cn" },
  { regions: "us-gov-", name: "aws-us-gov", domain: "amazonaws.com" },
  { regions: "us-iso-", name: "aws-iso", domain: "c2s.ic.gov" },
  { regions: "us-isob-", name: "aws-iso-b", domain: "sc2s.sgov.gov" },
  { regions: "eu-isoe-", name: "aws-iso-e", domain: "cloud.adc-e.uk" },
  { regions: "us-isof-", name: "aws-iso-f", domain: "csp.hci.ic.gov" },
  { regions: "eusc-", name: "aws-eusc", domain: "amazonaws.eu" },
];

/** The partition that a region's ARNs begin with: its own for China, GovCloud and the like. */
export function partitionOf(region: string): string {
  return partitionIn(region).name;
}

/** What the names of a region's services end in. */
export function domainOf(region: string): string {
  return partitionIn(region).domain;
}

function partitionIn(region: string): Partition {
  return OTHERS.find(({ regions }) => region.startsWith(regions)) ?? COMMERCIAL;
}
