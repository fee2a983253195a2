/**
 * Order of two resourceVersions of one resource: negative when `a` is older, 0 when they are equal,
 * null when they cannot be compared. Kubernetes promises (KEP-5504) decimal integers of up to 128
 * bits without leading zeros; they are compared as digits, since no number holds them. Anything
 * else,
 * as some aggregated servers give, is equal or incomparable.
 */
export function compareVersions(a: string, b: string): number | null {
  if (a === b) return 0;
  if (!VERSION.test(a) || !VERSION.test(b)) return null;
  if (a.length !== b.length) return a.length - b.length;
  return a < b ? -1 : 1;
}

const VERSION = /^[1-9][0-9]*$/;

/** The later of two; `b` where they cannot be compared. */
export function laterVersion(a: string, b: string): string {
  const order = compareVersions(a, b);
  return order !== null && order > 0 ? a : b;
}
