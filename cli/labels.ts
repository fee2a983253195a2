/** What a target is called where there is little room, by its name. */
export type Labels = ReadonlyMap<string, string>;

/**
 * Of several targets as much of their names as tells them apart: the vendors, where each has
 * another; of targets that have all that in common, what comes after it. One alone needs none.
 */
export function labelsOf(names: readonly string[]): Labels {
  const parts = names.map((name) => name.split("/"));
  const longest = Math.max(1, ...parts.map(({ length }) => length));
  const same = sharedParts(parts);
  for (let count = same + 1; count <= longest; count += 1) {
    const labels = parts.map((some) => some.slice(same, count).join("/"));
    if (new Set(labels).size === names.length && !labels.includes("")) {
      return new Map(names.map((name, index) => [name, labels[index] ?? name]));
    }
  }
  return new Map(names.map((name) => [name, name]));
}

/** How many parts all of them begin with. */
function sharedParts(names: readonly (readonly string[])[]): number {
  const [first = []] = names;
  const end = first.findIndex((part, index) => names.some((name) => name[index] !== part));
  return end < 0 || names.length < 2 ? 0 : end;
}
