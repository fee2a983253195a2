import type { Ec2Error } from "./ec2-error.ts";

/*
 * The EC2 Query API on the wire: forms in, XML out, as in the EC2 API reference.
 */

export type Awaitable<T> = T | Promise<T>;

/** What is answered to an action, without its envelope; by the action's name. Throws Ec2Error. */
export type Ec2Actions = Readonly<
  Record<string, (form: URLSearchParams, signal: AbortSignal) => Awaitable<string>>
>;

export const OWNER = "000000000000";
const INDEX_MAX = 1_000;

/** The values of `<prefix>.1`, `<prefix>.2` and so on, up to the first that is missing. */
export function numbered(form: URLSearchParams, prefix: string): readonly string[] {
  const values: string[] = [];
  for (let index = 1; index <= INDEX_MAX; index += 1) {
    const value = form.get(`${prefix}.${index}`);
    if (value === null) break;
    values.push(value);
  }
  return values;
}

/** What `read` makes of the prefixes `<prefix>.1`, `<prefix>.2` and so on, up to the first null. */
export function numberedItems<T>(prefix: string, read: (prefix: string) => T | null): readonly T[] {
  const items: T[] = [];
  for (let index = 1; index <= INDEX_MAX; index += 1) {
    const item = read(`${prefix}.${index}`);
    if (item === null) break;
    items.push(item);
  }
  return items;
}

export function numberOf(text: string | null): number | null {
  return text === null || !/^-?\d{1,9}$/.test(text) ? null : Number(text);
}

export function envelope(action: string, requestId: string, content: string): string {
  const body = element("requestId", requestId) + content;
  return `<?xml version="1.0" encoding="UTF-8"?>
<${action}Response xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">${body}</${action}Response>`;
}

export function errorXml(error: Ec2Error, requestId: string): string {
  const detail = element("Code", error.code) + element("Message", error.message);
  return `<?xml version="1.0" encoding="UTF-8"?>
<Response><Errors><Error>${detail}</Error></Errors>${element("RequestID", requestId)}</Response>`;
}

const ESCAPES: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
};

export function element(name: string, text: string): string {
  return `<${name}>${text.replace(/[&<>"]/g, (character) => ESCAPES[character] ?? "")}</${name}>`;
}
