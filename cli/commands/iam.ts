import { accountNotes } from "../../lib/roles/account.ts";
import { FUNCTION_NAMES } from "../../lib/roles/needs.ts";
import type { Dialect } from "../../lib/roles/policy.ts";
import { regionNotes } from "../../lib/roles/regions.ts";
import { type Place, type Roles, rolesOf } from "../../lib/roles.ts";
import { loadConfig } from "../configuration.ts";
import { printable, type Shell, UsageError } from "../shell.ts";
import { writeJson } from "../stored.ts";

export interface IamOptions {
  readonly config?: string;
  readonly platform?: "aws" | "alibaba";
  readonly account?: string;
  readonly partition?: string;
  readonly region?: string;
  readonly json?: boolean;
}

const DIALECTS = { aws: "iam", alibaba: "ram" } as const;
const NAMES: Readonly<Record<Dialect, string>> = { iam: "AWS IAM", ram: "Alibaba Cloud RAM" };
const AWS_ACCOUNT = /^[0-9]{12}$/;
const ALIBABA_ACCOUNT = /^[0-9]{16}$/;
const PARTITION = /^aws(-[a-z]+)*$/;

/** Prints exactly what each function may do, and the roles and tokens behind it. Calls nobody. */
export async function runIam(options: IamOptions, shell: Shell): Promise<number> {
  const place = placeOf(options);
  const { config } = loadConfig(options.config, shell);
  const roles = ofPlatform(rolesOf(config, place), options.platform);
  if (options.json) writeJson(shell, roles);
  else shell.stdout.write(renderRoles(roles));
  for (const note of [...roles.notes, ...accountNotes(roles), ...regionNotes(config)]) {
    shell.stderr.write(`${printable(note)}\n`);
  }
  return 0;
}

function placeOf({ account, partition, region, platform }: IamOptions): Place {
  if (partition !== undefined && !PARTITION.test(partition)) {
    throw new UsageError(
      `Cannot use partition ${JSON.stringify(partition)}: aws, aws-cn, aws-us-gov or another one ` +
        "of AWS",
    );
  }
  const place = { partition, region };
  if (account === undefined) return place;
  if (AWS_ACCOUNT.test(account) && platform !== "alibaba") return { ...place, account };
  if (ALIBABA_ACCOUNT.test(account) && platform !== "aws") {
    return { ...place, alibabaAccount: account };
  }
  throw new UsageError(
    `Cannot use account ${JSON.stringify(account)}: 12 digits for AWS, 16 for Alibaba Cloud`,
  );
}

function ofPlatform(roles: Roles, platform: IamOptions["platform"]): Roles {
  if (platform === undefined) return roles;
  const kept = DIALECTS[platform];
  const other = kept === "iam" ? { ram: null } : { iam: null };
  const { webhook, resync, read } = roles.functions;
  return {
    ...roles,
    functions: {
      webhook: { ...webhook, ...other },
      resync: { ...resync, ...other },
      read: { ...read, ...other },
    },
    assumed: roles.assumed.filter(({ dialect }) => dialect === kept),
    keys: kept === "ram" ? roles.keys : [],
    bucketPolicy: kept === "iam" ? roles.bucketPolicy : null,
  };
}

function renderRoles(roles: Roles): string {
  const own = FUNCTION_NAMES.flatMap((name) => {
    const role = roles.functions[name];
    return (["iam", "ram"] as const).flatMap((dialect) =>
      role[dialect] === null ? [] : [section(`${role.name} (${NAMES[dialect]})`, role[dialect])],
    );
  });
  const assumed = roles.assumed.flatMap(({ arn, functions, policy, trust }) => [
    section(`${arn}, assumed by ${functions.join(" and ")}`, policy),
    section(`${arn} trusts`, trust),
  ]);
  const keys = roles.keys.flatMap(({ references, functions }) =>
    FUNCTION_NAMES.flatMap((name) =>
      functions[name] === undefined
        ? []
        : [section(`${references.join(" and ")}, used by ${name} (${NAMES.ram})`, functions[name])],
    ),
  );
  const tokens = roles.tokens.map(({ vendor, references, functions }) => {
    const lines = FUNCTION_NAMES.flatMap((name) =>
      functions[name] === undefined ? [] : [`  ${name}: ${functions[name].join(", ")}`],
    );
    return [`# ${vendor}, ${references.join(" and ")}`, ...lines].join("\n");
  });
  const bucket =
    roles.bucketPolicy === null ? [] : [section("The bucket's own policy", roles.bucketPolicy)];
  const all = [...own, ...assumed, ...keys, ...tokens, ...bucket];
  if (all.length === 0) return "Nothing: no target, subnet or store needs a permission\n";
  return `${all.join("\n\n")}\n`;
}

/** Lists of one stand on one line. */
function section(title: string, policy: object): string {
  const text = JSON.stringify(policy, null, 2).replace(/\[\n\s+("[^"\n]*")\n\s+\]/g, "[$1]");
  return `# ${title}\n${text}`;
}
