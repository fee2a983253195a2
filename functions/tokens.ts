import type { Problem } from "../lib/core/snapshot.ts";

/** The configuration cannot be used; every problem with its path. */
export class ConfigurationError extends Error {
  override readonly name = "ConfigurationError";
  readonly problems: readonly Problem[];

  constructor(problems: readonly Problem[]) {
    super(problems.map(({ path, message }) => `${path}: ${message}`).join("\n"));
    this.problems = problems;
  }
}

// What both kinds of credentials can carry, and nobody guesses.
const TOKEN = /^[\x21-\x7e]{16,512}$/;

/**
 * The bearer tokens that these references stand for, of the status and of feeds alike. Throws a
 * ConfigurationError with all that is wrong with them, which names references and never values.
 */
export function resolveTokens(
  references: readonly string[],
  options: {
    /** Of the references in the configuration. */
    readonly path: string;
    readonly secret: (reference: string) => string;
  },
): readonly string[] {
  const problems: Problem[] = [];
  const tokens = references.flatMap((reference, index) => {
    try {
      return [usable(reference, options.secret(reference))];
    } catch (error) {
      const message = error instanceof Error ? error.message : `Cannot resolve ${reference}`;
      problems.push({ path: `${options.path}[${index}]`, message });
      return [];
    }
  });
  if (problems.length > 0) throw new ConfigurationError(problems);
  return tokens;
}

function usable(reference: string, token: string): string {
  if (TOKEN.test(token)) return token;
  throw new Error(
    `Cannot use ${reference} as a token: expected 16 to 512 visible ASCII characters; ` +
      "make a new one",
  );
}
