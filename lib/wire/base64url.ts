/**
 * The bytes of base64url as JOSE writes it (RFC 7515 §2), or null: without padding, line breaks or
 * characters of plain base64, and of all spellings of the same bytes only the one that encoders
 * give. Node's decoder skips what it does not know, so that two texts could stand for one token.
 */
export function decodeBase64url(text: string): Buffer | null {
  const bytes = Buffer.from(text, "base64url");
  return bytes.toString("base64url") === text ? bytes : null;
}
