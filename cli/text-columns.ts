/** Cut to its column, with a blank between it and the next. */
export function pad(text: string, width: number): string {
  return `${cut(text, width - 1)} `.padEnd(width);
}

export function cut(text: string, width: number): string {
  return text.length <= width ? text : `${text.slice(0, Math.max(0, width - 1))}…`;
}

/** A column that takes at least `least`, and more of what is left over up to `most`. */
export interface Width {
  readonly least: number;
  readonly most: number;
  /** Given up where there is no room, the highest first; 0 never. */
  readonly sparing: number;
}

/** Columns that fit, each with its width; of those that cannot be given up, the first ones. */
export function fitColumns<C extends Width>(
  columns: readonly C[],
  width: number,
): readonly (C & { readonly width: number })[] {
  let kept = columns;
  const total = () => kept.reduce((sum, { least }) => sum + least, 0);
  while (total() > width) {
    const most = Math.max(...kept.map(({ sparing }) => sparing));
    if (most === 0) break;
    kept = kept.filter(({ sparing }) => sparing !== most);
  }
  let spare = Math.max(0, width - total());
  let left = width;
  return kept.flatMap((column) => {
    const more = Math.min(spare, Math.max(0, column.most - column.least));
    spare -= more;
    const own = Math.min(column.least + more, left);
    left -= own;
    return own > 1 ? [{ ...column, width: own }] : [];
  });
}
