/*
 * Numbers in answers: they may be longer than a number of JavaScript holds.
 */

// A text, which is left as it is, or the digits of an integer that a number may not hold.
const PIECE = /"(?:[^"\\]|\\.)*"|-?\d{16,}(?![\d.eE])/g;

/**
 * `JSON.parse` that rounds no integer: those beyond the safe ones become texts of their digits, as
 * {@link plainOf} makes them of what the SDK reads with json-bigint. Bundles hold this in the place
 * of that package, whose arithmetic nobody needs.
 */
export function parse(text: unknown): unknown {
  return JSON.parse(
    String(text).replace(PIECE, (piece) =>
      piece.startsWith('"') || Number.isSafeInteger(Number(piece)) ? piece : `"${piece}"`,
    ),
  );
}

/**
 * The SDK's objects have no prototype, and its numbers of more than 15 digits are objects, too:
 * those become numbers where they can be, else their digits.
 */
export function plainOf(value: unknown): unknown {
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return value.map(plainOf);
  if ("_isBigNumber" in value) {
    const number = Number(String(value));
    return Number.isSafeInteger(number) ? number : (value as unknown as BigNumber).toFixed();
  }
  return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, plainOf(one)]));
}

interface BigNumber {
  toFixed(): string;
}
