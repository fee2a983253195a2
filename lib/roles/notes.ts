import { partitionOf } from "../clouds/partitions.ts";
import type { Config } from "../config.ts";
import type { AssumedRole } from "./assumed.ts";
import {
  endpointOf,
  FUNCTION_NAMES,
  type FunctionName,
  type Need,
  subnetsOf,
  vendorOf,
  wayOf,
  worksOf,
} from "./needs.ts";
import type { PolicyDocument } from "./policy.ts";

/*
 * Sentences about what cannot be as exact as it should, or cannot work.
 */

/** What was made of a configuration, as far as there is something to say about it. */
export interface Judged {
  readonly config: Config;
  /** Of the credentials that the functions have at AWS. */
  readonly partition: string;
  readonly functions: Readonly<
    Record<FunctionName, { readonly name: string; readonly iam: PolicyDocument | null }>
  >;
  readonly assumed: readonly AssumedRole[];
  /** What the functions' platform gives them no role for, with the user who stands in for it. */
  readonly foreign: readonly (Need & { readonly user: string })[];
}

/**
 * "IAM and AWS STS quotas" in the IAM user guide: of all inline policies of a role together, and of
 * one managed policy, since inline ones of a user hold less.
 */
const CHARACTERS_MAX = { role: 10_240, user: 6_144 } as const;

/** In ascending order, each once. */
export function notesOn(judged: Judged): readonly string[] {
  const notes = [...strangers(judged), ...sharedRoles(judged), ...users(judged), ...long(judged)];
  return [...new Set(notes)].toSorted();
}

function strangers({ config, partition }: Judged): readonly string[] {
  return thingsOf(config).flatMap(({ name, vendor, settings, region }) => {
    const { role } = wayOf(settings);
    if (vendor !== "aws" || endpointOf(settings) !== null) return [];
    if (role !== null && partitionOfArn(role.arn) !== partition) {
      return [
        `Cannot assume ${role.arn} for ${name}: the functions' credentials are of partition ` +
          `${partition}; they never cross partitions`,
      ];
    }
    if (region === null || partitionOf(region) === partition) return [];
    return [
      `Cannot reach ${name} from partition ${partition}: its region ${region} is in ` +
        `${partitionOf(region)}; run functions there, too`,
    ];
  });
}

function sharedRoles({ assumed }: Judged): readonly string[] {
  return assumed.flatMap(({ dialect, arn, functions: names }) =>
    dialect === "ram" && names.includes("webhook")
      ? [
          `Cannot keep the webhook from removing through ${arn}: RAM cannot tell apart who ` +
            "assumed a role; it never does, but its credentials could",
        ]
      : [],
  );
}

const VENDORS = {
  iam: { at: "AWS", id: "AWS_ACCESS_KEY_ID", secret: "AWS_SECRET_ACCESS_KEY" },
  ram: {
    at: "Alibaba Cloud",
    id: "ALIBABA_CLOUD_ACCESS_KEY_ID",
    secret: "ALIBABA_CLOUD_ACCESS_KEY_SECRET",
  },
} as const;

/** Another cloud than the platform's is reached by the keys of users, who are yours to make. */
function users({ foreign }: Judged): readonly string[] {
  return (["iam", "ram"] as const).flatMap((dialect) => {
    const own = foreign.filter((need) => need.dialect === dialect);
    const functions = new Set(own.map((need) => need.function));
    const names = [...new Set(own.map(({ user }) => user))].toSorted();
    if (names.length === 0) return [];
    const { at, id, secret } = VENDORS[dialect];
    const start = `Cannot give the functions a role at ${at}, where they do not run: make there`;
    if (names.length > 1) {
      return [
        `${start} the users ${names.join(" and ")} with the policies of these names, and put the ` +
          `keys of each into ${id} and ${secret} of its own function; with the keys of one user ` +
          "in both, nobody can tell them apart, and the webhook's may do what the resync's may",
      ];
    }
    const shared =
      functions.size > 1
        ? "; both functions have them, so the webhook's may do what the resync's may"
        : "";
    return [
      `${start} the user ${names.join("")} with the policy of this name, and put its keys into ` +
        `${id} and ${secret}${shared}`,
    ];
  });
}

function long({ functions, foreign }: Judged): readonly string[] {
  const holder = foreign.some(({ dialect }) => dialect === "iam") ? "user" : "role";
  return FUNCTION_NAMES.flatMap((name) => {
    const characters = JSON.stringify(functions[name].iam ?? "").length;
    if (characters <= CHARACTERS_MAX[holder]) return [];
    return [
      `Cannot put the policy of ${functions[name].name} into its ${holder}: ${characters} ` +
        `characters, at most ${CHARACTERS_MAX[holder]}; split the installation, or reach some ` +
        "of its targets through a role",
    ];
  });
}

/**
 * Of the keys that users at AWS give to functions elsewhere: that of what they reach, the first in
 * ascending order.
 */
export function ownPartition(config: Config): string {
  const partitions = thingsOf(config).flatMap(({ vendor, settings, region }) => {
    const { role } = wayOf(settings);
    if (vendor !== "aws") return [];
    return role === null ? partitionOf(region ?? "") : partitionOfArn(role.arn);
  });
  return partitions.toSorted()[0] ?? partitionOf("");
}

/** Everything of vendors that the configuration names. */
function thingsOf(config: Config) {
  const targets = worksOf(config).map(({ target }) => ({
    name: target.name,
    vendor: vendorOf(target),
    settings: target.settings,
    region: typeof target.settings.region === "string" ? target.settings.region : null,
  }));
  const subnets = subnetsOf(config).map(({ id, vendor, settings, region }) => ({
    name: `${vendor}/subnet/${id}`,
    vendor,
    settings,
    region,
  }));
  return [...targets, ...subnets];
}

function partitionOfArn(arn: string): string {
  return arn.split(":")[1] ?? "";
}
