/*
 * Numbers in answers: they may be longer than a number of JavaScript holds.
 */

// What opens and closes a text, what is escaped in one, and whole numbers. Nothing here matches a
// text as a whole: an expression that does overflows the stack with a long one.
const PIECE = /\\.|"|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/g;
const INTEGER = /^-?\d+$/;

/**
 * `JSON.parse` that rounds no integer: those beyond the safe ones become texts of their digits, as
 * {@link plainOf} makes them of what the SDK reads with json-bigint. What is written with a
 * fraction or an exponent stays a number. Bundles hold this in the place of that package, whose
 * arithmetic nobody needs.
 */
export function parse(text: unknown): unknown {
  let isText = false;
  const quoted = String(text).replace(PIECE, (piece) => {
    if (piece === '"') isText = !isText;
    if (isText || !INTEGER.test(piece) || Number.isSafeInteger(Number(piece))) return piece;
    return `"${piece}"`;
  });
  return JSON.parse(quoted);
}

/**
 * The SDK's objects have no prototype, and its numbers of more than 15 characters are objects, too:
 * those become numbers, but integers that a number may not hold become their digits.
 */
export function plainOf(value: unknown): unknown {
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return value.map(plainOf);
  if ("_isBigNumber" in value) {
    const number = Number(String(value));
    const isRounded = Number.isInteger(number) && !Number.isSafeInteger(number);
    return isRounded ? (value as unknown as BigNumber).toFixed() : number;
  }
  return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, plainOf(one)]));
}

interface BigNumber {
  toFixed(): string;
}
