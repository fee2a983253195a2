import { groupsBy } from "./group.ts";
import { FUNCTION_NAMES, type FunctionName, type Need } from "./needs.ts";
import {
  type Atom,
  atomKey,
  type Dialect,
  POLICY_VERSIONS,
  type PolicyDocument,
  policyOf,
  under,
} from "./policy.ts";

/*
 * Roles that the functions assume: what each must allow, and whom it must trust.
 */

/** Who may assume a role, as that role's account writes it. */
export interface TrustPolicy {
  readonly Version: string;
  readonly Statement: readonly object[];
}

export interface AssumedRole {
  readonly dialect: Dialect;
  readonly arn: string;
  /** The words that its trust policy asks for, mostly one; empty for none. */
  readonly externalIds: readonly string[];
  /** The functions that assume it, in the order of FUNCTION_NAMES. */
  readonly functions: readonly FunctionName[];
  readonly policy: PolicyDocument;
  readonly trust: TrustPolicy;
}

/** Who the functions are. */
export interface Assumers {
  /** Of the function, its role and its sessions. */
  nameOf(name: FunctionName): string;
  /** Of the function's role, or of a user who stands in for it. */
  principalOf(name: FunctionName, need: Need): string;
}

/** Every role that is assumed, in ascending order of its ARN. */
export function assumedRoles(needs: readonly Need[], assumers: Assumers): readonly AssumedRole[] {
  const through = needs.filter(({ way }) => way.role !== null);
  return groupsBy(through, ({ way }) => way.role?.arn).flatMap((own) => {
    const [{ dialect, way }] = own;
    const words = own.flatMap(({ way }) => way.role?.externalId ?? []);
    const externalIds = [...new Set(words)].toSorted();
    const functions = FUNCTION_NAMES.filter((name) => own.some((need) => need.function === name));
    const policy = policyOf(dialect, dialect === "iam" ? apart(own, assumers) : allOf(own));
    if (policy === null || way.role === null) return [];
    const trust = trustOf(own, { dialect, externalIds, assumers });
    return [{ dialect, arn: way.role.arn, externalIds, functions, policy, trust }];
  });
}

function allOf(needs: readonly Need[]): readonly Atom[] {
  return needs.flatMap(({ atoms }) => atoms);
}

/**
 * What not all of a role's functions need is allowed to the sessions of those that do. The trust
 * policy lets each function name its sessions by its own name alone, and `aws:userid` ends in that
 * name ("AWS global condition context keys" in the IAM user guide); so a role that both assume does
 * not let the webhook remove.
 */
function apart(needs: readonly Need[], { nameOf }: Assumers): readonly Atom[] {
  const functions = new Set(needs.map((need) => need.function));
  const holders = new Map<string, { readonly atom: Atom; readonly names: Set<FunctionName> }>();
  for (const need of needs) {
    for (const atom of need.atoms) {
      const holder = holders.get(atomKey(atom)) ?? { atom, names: new Set() };
      holder.names.add(need.function);
      holders.set(atomKey(atom), holder);
    }
  }
  return [...holders.values()].map(({ atom, names }) => {
    if (names.size === functions.size) return atom;
    const sessions = FUNCTION_NAMES.filter((name) => names.has(name)).map(
      (name) => `*:${nameOf(name)}`,
    );
    return under(atom, "StringLike", { "aws:userid": sessions });
  });
}

function trustOf(
  needs: readonly Need[],
  options: {
    readonly dialect: Dialect;
    readonly externalIds: readonly string[];
    readonly assumers: Assumers;
  },
): TrustPolicy {
  const { dialect, externalIds, assumers } = options;
  const statements = FUNCTION_NAMES.flatMap((name) => {
    const own = needs.filter((need) => need.function === name);
    const principals = [...new Set(own.map((need) => assumers.principalOf(name, need)))];
    if (principals.length === 0) return [];
    const asked = {
      ...(dialect === "iam" ? { "sts:RoleSessionName": assumers.nameOf(name) } : {}),
      ...(externalIds.length === 0 ? {} : { "sts:ExternalId": externalIds }),
    };
    return [
      {
        Effect: "Allow",
        Principal: { [dialect === "iam" ? "AWS" : "RAM"]: principals.toSorted() },
        Action: "sts:AssumeRole",
        ...(Object.keys(asked).length === 0 ? {} : { Condition: { StringEquals: asked } }),
      },
    ];
  });
  // Those of one user who stands in for several functions are the same.
  const unlike = new Map(statements.map((statement) => [JSON.stringify(statement), statement]));
  return { Version: POLICY_VERSIONS[dialect], Statement: [...unlike.values()] };
}
