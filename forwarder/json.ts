/** An object of JSON whose members are not known yet. */
export type JsonRecord = Readonly<Record<string, unknown>>;

export function isRecord(value: unknown): value is JsonRecord {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The member as a record; an empty one where it is absent or something else. */
export function recordAt(record: unknown, key: string): JsonRecord {
  const value = isRecord(record) ? record[key] : null;
  return isRecord(value) ? value : {};
}

/** The member as non-empty text, or null. */
export function textAt(record: JsonRecord, key: string): string | null {
  const value = record[key];
  return typeof value === "string" && value !== "" ? value : null;
}
