import { CloudError } from "../error.ts";
import { fieldsOf, UNREADABLE } from "./errors.ts";

/*
 * Answers of the RPC style, member by member. What is not understood whole is no answer: it is
 * `unavailable`, never empty.
 */

type Fields = Readonly<Record<string, unknown>>;

/** The value at the end of the path, through objects and lists (`Items`, `0`); else undefined. */
export function valueAt(answer: unknown, path: readonly string[]): unknown {
  let value = answer;
  for (const name of path) {
    const fields = fieldsOf(value);
    value = Object.hasOwn(fields, name) ? fields[name] : undefined;
  }
  return value;
}

export function rowsAt(
  answer: unknown,
  path: readonly string[],
  operation: string,
): readonly Fields[] {
  const rows = valueAt(answer, path);
  if (!Array.isArray(rows)) throw unreadable(operation);
  return rows.map((row) => {
    if (typeof row !== "object" || row === null) throw unreadable(operation);
    return row as Fields;
  });
}

export function textIn(row: Fields, name: string, operation: string): string {
  const value = row[name];
  if (typeof value !== "string") throw unreadable(operation);
  return value;
}

/** What vendors leave out when it is empty. */
export function optionalTextIn(row: Fields, name: string, operation: string): string {
  return row[name] === undefined || row[name] === null ? "" : textIn(row, name, operation);
}

export function unreadable(operation: string): CloudError {
  return new CloudError("unavailable", UNREADABLE, { operation });
}
