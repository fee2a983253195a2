/*
 * One JSON object a line, whatever it is made of. Nobody reads a line that a platform has cut in
 * two or that was never written, so this neither fails nor exceeds its limit.
 */

/** CloudWatch Logs and Function Compute cut lines; the shortest limit of theirs is 256 KiB. */
export const LINE_BYTES_MAX = 256 * 1024;
/** For what is said of the omissions, and for closing what is open. */
const RESERVE_BYTES = 4 * 1024;
const TEXT_CHARS_MAX = 8 * 1024;
const NAME_CHARS_MAX = 256;
const DEPTH_MAX = 10;
const CENSOR = '"[redacted]"';

// The last line of defence: nothing hands secrets to a log, and what is called so never gets
// through if it does, however deep it lies.
const SECRET_NAME = new RegExp(
  [
    "authorization|cookie|credential|passphrase|passw|secret|signature|token",
    "^(?:headers|jwt|keys?|pwd|sig)$",
    "(?:access|api|private|signing).?key",
  ].join("|"),
  "i",
);

// As secrets of ours look wherever they stand: keys, tokens of service accounts, headers, what
// signs a delivery or a URL, and who logs in by one.
const SECRET_TEXT = [
  /whsec_[A-Za-z0-9+/=_-]+/g,
  /\beyJ[\w-]{8,}(?:\.[\w-]*){0,2}/g,
  /(?<=\b(?:bearer|basic) {1,4})[A-Za-z0-9+/=._~-]{16,}/gi,
  /(?<=\bv1,)[A-Za-z0-9+/]{43}=/g,
  /(?<=:\/\/)[^/\s"'@]+(?=@)/g,
  /(?<=(?:credential|key|password|secret|signature|token)=)[^&\s"']+/gi,
];

interface Room {
  bytes: number;
  /** What a value lies in: met again, it would never end. */
  readonly within: Set<object>;
}

/**
 * The text of one line without its end. Members whose names are those of secrets are redacted, and
 * so is what looks like one in a text; errors tell their message and cause, but no stack; bytes are
 * counted; what there is no room for is left out, which the line says.
 */
export function renderLine(fields: Readonly<Record<string, unknown>>): string {
  const room = { bytes: LINE_BYTES_MAX - RESERVE_BYTES, within: new Set<object>() };
  try {
    return textOf(fields, room) ?? "{}";
  } catch {
    return '{"level":"ERROR","message":"Cannot write a line of the log"}';
  }
}

/** Undefined for what JSON knows no words for. */
function textOf(value: unknown, room: Room): string | undefined {
  // The comma. What is left out costs as well, or many of it would take for ever.
  room.bytes -= 1;
  switch (typeof value) {
    case "string":
      return spend(quoted(value), room);
    case "number":
      return spend(Number.isFinite(value) ? String(value) : `"${value}"`, room);
    case "boolean":
      return spend(String(value), room);
    case "bigint":
      return spend(quoted(String(value)), room);
    case "object":
      return value === null ? spend("null", room) : inside(value, room);
    default:
      return undefined;
  }
}

function spend(text: string, room: Room): string {
  room.bytes -= Buffer.byteLength(text);
  return room.bytes < 0 ? '"[left out]"' : text;
}

function quoted(text: string): string {
  const over = text.length - TEXT_CHARS_MAX;
  const cut = over > 0 ? `${text.slice(0, TEXT_CHARS_MAX)}… (${over} more)` : text;
  const clean = SECRET_TEXT.reduce((left, pattern) => left.replace(pattern, "[redacted]"), cut);
  return JSON.stringify(clean);
}

function inside(value: object, room: Room): string {
  room.bytes -= "{}".length;
  if (room.within.has(value)) return spend('"[circular]"', room);
  if (room.within.size >= DEPTH_MAX) return spend('"[too deep]"', room);
  room.within.add(value);
  try {
    if (ArrayBuffer.isView(value)) return spend(`"[${value.byteLength} bytes]"`, room);
    if (value instanceof Date) return spend(dateText(value), room);
    if (Array.isArray(value)) return arrayText(value, room);
    return membersText(value, value instanceof Error ? ERROR_NAMES : Object.keys(value), room);
  } catch {
    // A proxy or a getter of somebody else's.
    return spend('"[unreadable]"', room);
  } finally {
    room.within.delete(value);
  }
}

function dateText(value: Date): string {
  return Number.isNaN(value.getTime()) ? '"[no date]"' : `"${value.toISOString()}"`;
}

function arrayText(values: readonly unknown[], room: Room): string {
  const texts: string[] = [];
  for (const [index, value] of values.entries()) {
    if (room.bytes <= 0) {
      texts.push(`"[${values.length - index} more]"`);
      break;
    }
    texts.push(textOf(value, room) ?? spend("null", room));
  }
  return `[${texts.join(",")}]`;
}

/** An error's own members may be whole requests, and its stack names files. */
const ERROR_NAMES: readonly string[] = ["name", "code", "message", "cause"];

function membersText(value: object, names: readonly string[], room: Room): string {
  const texts: string[] = [];
  for (const name of names) {
    if (room.bytes <= 0) {
      texts.push('"cut":true');
      break;
    }
    const label = spend(quoted(name.slice(0, NAME_CHARS_MAX)), room);
    const text = SECRET_NAME.test(name) ? spend(CENSOR, room) : memberText(value, name, room);
    room.bytes -= ":".length;
    if (text !== undefined) texts.push(`${label}:${text}`);
  }
  return `{${texts.join(",")}}`;
}

function memberText(value: object, name: string, room: Room): string | undefined {
  let member: unknown;
  try {
    member = (value as Readonly<Record<string, unknown>>)[name];
  } catch {
    return spend('"[unreadable]"', room);
  }
  return textOf(member, room);
}
