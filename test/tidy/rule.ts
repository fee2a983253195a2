import { parseSource, type Source } from "./source.ts";

/** All text files of the repository. */
export interface Tree {
  /** Contents by path from the root, with slashes. */
  readonly files: ReadonlyMap<string, string>;
  /** The TypeScript files among them, parsed. */
  readonly sources: readonly Source[];
}

export interface Violation {
  readonly path: string;
  readonly line: number;
  readonly message: string;
}

/** One thing that is kept tidy, with a proof that it would be noticed. */
export interface Rule {
  readonly name: string;
  check(tree: Tree): readonly Violation[];
  /** Files by path, each of which must be reported. */
  readonly bad: Readonly<Record<string, string>>;
  /** Files by path, none of which may be. */
  readonly good: Readonly<Record<string, string>>;
}

export function treeOf(files: Iterable<readonly [string, string]>): Tree {
  const sorted = new Map([...files].toSorted(([a], [b]) => (a < b ? -1 : 1)));
  const sources = [...sorted]
    .filter(([path]) => path.endsWith(".ts"))
    .map(([path, text]) => parseSource(path, text));
  return { files: sorted, sources };
}

/** Every line of every file that matches the path pattern. */
export function linesOf(
  tree: Tree,
  paths: RegExp,
): readonly { readonly path: string; readonly line: number; readonly text: string }[] {
  return [...tree.files]
    .filter(([path]) => paths.test(path))
    .flatMap(([path, text]) =>
      text.split("\n").map((line, index) => ({ path, line: index + 1, text: line })),
    );
}
