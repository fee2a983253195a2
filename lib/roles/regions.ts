import type { Config } from "../config.ts";
import { endpointOf, subnetsOf, vendorOf, worksOf } from "./needs.ts";

/*
 * Names of regions that are probably misspelt. Only AWS' follow a rule.
 */

const AREAS = "af|ap|ca|cn|eu|eu-isoe|eusc-de|il|me|mx|sa|us|us-gov|us-iso|us-isob|us-isof";
const DIRECTIONS = "central|east|north|northeast|northwest|south|southeast|southwest|west";
/** As every region in the SDK's own table of partitions is named. */
const AWS_REGION = new RegExp(`^(${AREAS})-(${DIRECTIONS})-[1-9]$`);

/**
 * Sentences about regions that AWS seems not to have, in ascending order. New ones appear, and who
 * has an endpoint of their own names theirs as they like, so nothing is ever refused for it.
 */
export function regionNotes(config: Config): readonly string[] {
  const { store } = config;
  const named = [
    ...(store.kind === "s3" ? [{ name: "the store", settings: store, region: store.region }] : []),
    ...worksOf(config)
      .filter(({ target }) => vendorOf(target) === "aws")
      .map(({ target: { name, settings } }) => ({ name, settings, region: settings.region })),
    ...subnetsOf(config)
      .filter(({ vendor }) => vendor === "aws")
      .map(({ id, settings, region }) => ({ name: `aws/subnet/${id}`, settings, region })),
  ];
  const notes = named.flatMap(({ name, settings, region }) =>
    typeof region !== "string" || endpointOf(settings) !== null || AWS_REGION.test(region)
      ? []
      : [`Cannot tell where ${name} is: AWS seems to have no region ${region}; look for a typo`],
  );
  return [...new Set(notes)].toSorted();
}
