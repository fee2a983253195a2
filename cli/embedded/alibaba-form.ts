/*
 * Parameters of Alibaba Cloud's RPC style are flat on the wire: `Permissions.1.Policy=accept`.
 */

export type AlibabaValue = string | readonly AlibabaValue[] | AlibabaParams;

export interface AlibabaParams {
  readonly [name: string]: AlibabaValue;
}

interface Branch {
  text: string | null;
  readonly under: Map<string, Branch>;
}

const INDEX = /^[1-9][0-9]{0,4}$/;

/**
 * Lists where all names are numbers, in the order of those; else objects. Null when a name stands
 * twice, is both a text and more, or numbers do not count from one.
 */
export function unflatten(pairs: readonly (readonly [string, string])[]): AlibabaParams | null {
  const root: Branch = { text: null, under: new Map() };
  for (const [name, text] of pairs) {
    let branch = root;
    for (const part of name.split(".")) {
      const next = branch.under.get(part) ?? { text: null, under: new Map() };
      branch.under.set(part, next);
      branch = next;
    }
    if (branch.text !== null) return null;
    branch.text = text;
  }
  const members = [...root.under].map(([name, branch]) => [name, branchValue(branch)] as const);
  if (members.some(([, value]) => value === null)) return null;
  return Object.fromEntries(members) as AlibabaParams;
}

function branchValue({ text, under }: Branch): AlibabaValue | null {
  if (text !== null) return under.size === 0 ? text : null;
  const members = [...under].map(([name, branch]) => [name, branchValue(branch)] as const);
  if (members.some(([, value]) => value === null)) return null;
  if (!members.every(([name]) => INDEX.test(name))) {
    return Object.fromEntries(members) as AlibabaParams;
  }
  const ordered = members.toSorted(([a], [b]) => Number(a) - Number(b));
  if (ordered.some(([name], index) => Number(name) !== index + 1)) return null;
  return ordered.map(([, value]) => value as AlibabaValue);
}
