import { parse } from "yaml";

/** One value of the chart, as its file describes it. */
export interface DescribedValue {
  /** With dots, as `--set` takes it. */
  readonly path: string;
  readonly value: unknown;
  readonly description: string;
}

const COMMENT = /^\s*# (-- )?(.*)$/;
const MEMBER = /^(\s*)([A-Za-z]+):/;

/**
 * Every value that has a comment `# -- …` above it, in the order of the file. A comment may go on
 * in the next lines. Values within one that is described are part of it.
 */
export function describedValues(valuesYaml: string): readonly DescribedValue[] {
  const values: unknown = parse(valuesYaml);
  const found: DescribedValue[] = [];
  let comment: readonly string[] | null = null;
  let parents: readonly { readonly indent: number; readonly name: string }[] = [];
  for (const line of valuesYaml.split("\n")) {
    const [, begins, words = ""] = COMMENT.exec(line) ?? [];
    if (begins !== undefined) comment = [words];
    else if (line.trim().startsWith("#")) comment = comment === null ? null : [...comment, words];
    const [, blanks, name] = MEMBER.exec(line) ?? [];
    if (blanks === undefined || name === undefined) continue;
    parents = [...parents.filter(({ indent }) => indent < blanks.length)].concat({
      indent: blanks.length,
      name,
    });
    if (comment === null) continue;
    const path = parents.map((one) => one.name);
    found.push({
      path: path.join("."),
      value: memberAt(values, path),
      description: comment.join(" "),
    });
    comment = null;
  }
  return found;
}

/** The value at a path; undefined where there is none. */
export function memberAt(values: unknown, path: readonly string[]): unknown {
  return path.reduce<unknown>(
    (inner, name) =>
      typeof inner === "object" && inner !== null ? Reflect.get(inner, name) : undefined,
    values,
  );
}

/** The table of all values for people, in Markdown. */
export function valuesTable(values: readonly DescribedValue[]): string {
  const rows = values.map(({ path, value, description }) => {
    const shown = JSON.stringify(value).replaceAll("|", "\\|");
    return `| \`${path}\` | \`${shown}\` | ${description.replaceAll("|", "\\|")} |`;
  });
  return ["| value | default | |", "|---|---|---|", ...rows].join("\n");
}
