import type { Grant } from "../targets/kind.ts";
import { groupsBy } from "./group.ts";

/*
 * Policies as AWS IAM and Alibaba RAM write them, put together from grants: the union of what was
 * granted, and nothing that was not.
 */

export type Dialect = "iam" | "ram";

type Condition = Readonly<Record<string, Readonly<Record<string, string | readonly string[]>>>>;

export interface Statement {
  readonly Effect: "Allow";
  readonly Action: readonly string[];
  readonly Resource: readonly string[];
  readonly Condition?: Condition;
}

export interface PolicyDocument {
  readonly Version: string;
  readonly Statement: readonly Statement[];
}

/** One action on one resource: what grants consist of, and can be compared by. */
export interface Atom {
  readonly action: string;
  readonly resource: string;
  readonly condition: Condition;
}

export const POLICY_VERSIONS: Readonly<Record<Dialect, string>> = { iam: "2012-10-17", ram: "1" };

export function atomsOf(grants: readonly Grant[]): readonly Atom[] {
  return grants.flatMap(({ actions, resources, condition = {} }) =>
    actions.flatMap((action) => resources.map((resource) => ({ action, resource, condition }))),
  );
}

/** Equal for the same action on the same resource under the same condition. */
export function atomKey({ action, resource, condition }: Atom): string {
  return JSON.stringify([action, resource, condition]);
}

/** The shortest document that allows exactly these, or null for none; the same for any order. */
export function policyOf(dialect: Dialect, atoms: readonly Atom[]): PolicyDocument | null {
  if (atoms.length === 0) return null;
  // Actions on one resource are put together first, then resources with the same actions. Neither
  // allows a pair of the two that was not there.
  const rows = groupsBy(atoms, ({ resource, condition }) => [resource, condition]).map((same) => {
    const [{ resource, condition }] = same;
    return { actions: sorted(same.map(({ action }) => action)), resource, condition };
  });
  const statements = groupsBy(rows, ({ actions, condition }) => [actions, condition]).map(
    (same) => {
      const [{ actions, condition }] = same;
      return statementOf(actions, sorted(same.map(({ resource }) => resource)), condition);
    },
  );
  return { Version: POLICY_VERSIONS[dialect], Statement: statements };
}

function statementOf(
  actions: readonly string[],
  resources: readonly string[],
  condition: Condition,
): Statement {
  const statement = { Effect: "Allow", Action: actions, Resource: resources } as const;
  return Object.keys(condition).length === 0 ? statement : { ...statement, Condition: condition };
}

/** The same under one more condition. */
export function under(atom: Atom, operator: string, more: Condition[string]): Atom {
  const own = atom.condition[operator] ?? {};
  return { ...atom, condition: { ...atom.condition, [operator]: { ...own, ...more } } };
}

function sorted(texts: readonly string[]): readonly string[] {
  return [...new Set(texts)].toSorted();
}
